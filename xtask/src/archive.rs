//! Archives whose bytes depend on nothing but the files in them and the time that they are given:
//! `.tar.gz` and zip.

use std::io::{Cursor, Write};

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use jiff::Timestamp;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, System, ZipWriter};

use crate::bundle::Bundle;

/// When the files of an archive were changed, by what it says.
#[derive(Clone, Copy)]
pub(crate) struct Moment(Timestamp);

impl Moment {
    /// `SOURCE_DATE_EPOCH` (<https://reproducible-builds.org/specs/source-date-epoch/>), else 1970.
    pub(crate) fn of_the_source() -> Result<Self> {
        match std::env::var("SOURCE_DATE_EPOCH") {
            Ok(seconds) => Self::parse(&seconds),
            Err(_) => Self::parse("0"),
        }
    }

    /// A number of seconds since 1970.
    pub(crate) fn parse(seconds: &str) -> Result<Self> {
        let told = || {
            format!(
                "SOURCE_DATE_EPOCH is {seconds:?}: give the seconds since 1970, or leave it out"
            )
        };
        let seconds: u32 = seconds.parse().with_context(told)?;
        Ok(Self(
            Timestamp::from_second(seconds.into()).with_context(told)?,
        ))
    }

    fn seconds(self) -> u64 {
        self.0.as_second().try_into().expect("it is after 1970")
    }

    /// What zip can say begins at 1980.
    fn for_zip(self) -> DateTime {
        let civil = self.0.to_zoned(jiff::tz::TimeZone::UTC).datetime();
        let small = |number: i8| u8::try_from(number).unwrap_or_default();
        u16::try_from(civil.year())
            .ok()
            .and_then(|year| {
                let (month, day) = (small(civil.month()), small(civil.day()));
                let (hour, minute) = (small(civil.hour()), small(civil.minute()));
                DateTime::from_date_and_time(year, month, day, hour, minute, small(civil.second()))
                    .ok()
            })
            .unwrap_or(DateTime::DEFAULT)
    }
}

/// A compressed tar, with each path below `top`.
pub(crate) fn tar_gz(top: &str, bundle: &Bundle, moment: Moment) -> Result<Vec<u8>> {
    // GzBuilder writes neither a time nor the name of this system.
    let compressed = GzBuilder::new().write(Vec::new(), Compression::best());
    let mut archive = tar::Builder::new(compressed);
    for (path, file) in bundle.iter() {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(file.bytes.len() as u64);
        header.set_mode(file.mode);
        header.set_mtime(moment.seconds());
        header.set_uid(0);
        header.set_gid(0);
        archive
            .append_data(&mut header, format!("{top}/{path}"), file.bytes.as_slice())
            .with_context(|| format!("cannot pack {path}"))?;
    }
    let packed = archive
        .into_inner()
        .and_then(flate2::write::GzEncoder::finish);
    packed.context("cannot finish the archive")
}

/// A zip.
pub(crate) fn zip(bundle: &Bundle, moment: Moment) -> Result<Vec<u8>> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (path, file) in bundle.iter() {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .compression_level(Some(9))
            .system(System::Unix)
            .last_modified_time(moment.for_zip())
            .unix_permissions(file.mode);
        let told = || format!("cannot pack {path}");
        archive.start_file(path, options).with_context(told)?;
        archive.write_all(&file.bytes).with_context(told)?;
    }
    Ok(archive
        .finish()
        .context("cannot finish the zip")?
        .into_inner())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use crate::bundle::File;

    use super::*;

    fn moment() -> Moment {
        Moment::parse("1767225600").expect("the year 2026")
    }

    /// Made in another order each time.
    fn bundle(order: [usize; 2]) -> Bundle {
        let mut bundle = Bundle::default();
        for at in order {
            let (path, file) = match at {
                0 => ("bin/run", File::executable("#!/bin/sh\n")),
                _ => ("README.md", File::plain("# A\n")),
            };
            bundle.insert(path, file);
        }
        bundle
    }

    #[test]
    fn the_same_files_give_the_same_bytes() {
        let packed = [[0, 1], [1, 0]].map(|order| {
            let bundle = bundle(order);
            (
                tar_gz("top", &bundle, moment()).expect("packed"),
                zip(&bundle, moment()).expect("packed"),
            )
        });
        let [first, second] = packed;
        assert_eq!(first, second);
    }

    #[test]
    fn a_tar_has_nothing_of_the_system() {
        let packed = tar_gz("top", &bundle([0, 1]), moment()).expect("packed");
        // RFC 1952: bytes 4 to 7 are the time, byte 9 the system, 255 for unknown.
        assert_eq!(packed[4..8], [0; 4]);
        assert_eq!(packed[9], 255);
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed.as_slice()));
        let entries: Vec<_> = archive
            .entries()
            .expect("a tar")
            .map(|entry| {
                let entry = entry.expect("an entry");
                let header = entry.header();
                assert_eq!(header.uid().expect("a number"), 0);
                assert_eq!(header.gid().expect("a number"), 0);
                assert_eq!(header.mtime().expect("a number"), 1_767_225_600);
                let path = entry.path().expect("a path").display().to_string();
                (path, header.mode().expect("a number"))
            })
            .collect();
        let expected = [("top/README.md", 0o644), ("top/bin/run", 0o755)];
        assert_eq!(
            entries,
            expected.map(|(path, mode)| (path.to_owned(), mode))
        );
    }

    #[test]
    fn a_zip_keeps_modes_and_time() {
        let packed = zip(&bundle([0, 1]), moment()).expect("packed");
        let mut archive = zip::ZipArchive::new(Cursor::new(packed)).expect("a zip");
        let mut file = archive.by_name("bin/run").expect("it is there");
        assert_eq!(file.unix_mode(), Some(0o100_755));
        let time = file.last_modified().expect("a time");
        assert_eq!((time.year(), time.month(), time.day()), (2026, 1, 1));
        let mut text = String::new();
        file.read_to_string(&mut text).expect("text");
        assert_eq!(text, "#!/bin/sh\n");
    }

    #[test]
    fn a_time_before_zips_own_is_its_first() {
        let moment = Moment::parse("0").expect("1970");
        assert_eq!(moment.for_zip().year(), 1980);
    }

    #[test]
    fn a_time_that_is_no_number_is_refused() {
        for given in ["", "yesterday", "-1", "1e9"] {
            let error = Moment::parse(given).err().expect("refused");
            assert!(error.to_string().contains("SOURCE_DATE_EPOCH"), "{error}");
        }
    }
}
