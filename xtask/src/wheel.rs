//! The wheel: the library in a Python package
//! (<https://packaging.python.org/en/latest/specifications/binary-distribution-format/>).

use std::fmt::Write;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::archive::{self, Moment};
use crate::bundle::{Bundle, File, fill, sha256};
use crate::cargo::{Built, Workspace};
use crate::platform::Platform;

/// A wheel's name and bytes.
pub(crate) fn pack(
    workspace: &Workspace,
    built: &Built,
    platform: Platform,
    moment: Moment,
) -> Result<(String, Vec<u8>)> {
    let root = &workspace.root;
    let version = version(&workspace.version)?;
    let tag = format!("py3-none-{}", platform.wheel_tag(&built.library.bytes)?);
    let templates = root.join("packaging/python");

    let metadata = fill(&templates.join("METADATA"), &[("version", &version)])?;
    let name = name(&metadata)?;
    let mut bundle = Bundle::default();
    bundle.insert_folder(&templates.join("verso"), "verso")?;
    let library = File::executable(built.library.bytes.as_slice());
    bundle.insert(format!("verso/{}", built.library.name), library);

    let info = format!("{name}-{version}.dist-info");
    let readme = fill(&templates.join("README.md"), &[])?;
    let description = format!("{}\n\n{readme}", metadata.trim_end());
    bundle.insert(format!("{info}/METADATA"), File::plain(description));
    bundle.insert(format!("{info}/WHEEL"), File::plain(wheel(&tag)));
    for licence in ["LICENSE-APACHE", "LICENSE-MIT"] {
        bundle.insert_from(root, licence, &format!("{info}/licenses/{licence}"))?;
    }
    let record = record(&bundle, &format!("{info}/RECORD"));
    bundle.insert(format!("{info}/RECORD"), File::plain(record));

    let packed = archive::zip(&bundle, moment)?;
    Ok((format!("{name}-{version}-{tag}.whl"), packed))
}

/// The name in some metadata, as file names of wheels have it.
fn name(metadata: &str) -> Result<String> {
    let name = metadata
        .lines()
        .find_map(|line| line.strip_prefix("Name: "));
    let name = name.context("packaging/python/METADATA has no Name")?;
    Ok(name.to_lowercase().replace(['-', '.'], "_"))
}

/// A version of cargo in Python's spelling: `0.2.0-rc.1` is `0.2.0rc1`.
fn version(version: &str) -> Result<String> {
    let Some((release, pre)) = version.split_once('-') else {
        return Ok(version.to_owned());
    };
    let told = || {
        format!(
            "{version} is no version for Python, whose pre-releases are alpha.N, beta.N and rc.N"
        )
    };
    let (kind, number) = pre.split_once('.').with_context(told)?;
    let number: u32 = number.parse().with_context(told)?;
    let kind = match kind {
        "alpha" => "a",
        "beta" => "b",
        "rc" => "rc",
        _ => anyhow::bail!(told()),
    };
    Ok(format!("{release}{kind}{number}"))
}

/// The file `WHEEL`.
fn wheel(tag: &str) -> String {
    let generator = concat!("verso-xtask ", env!("CARGO_PKG_VERSION"));
    format!("Wheel-Version: 1.0\nGenerator: {generator}\nRoot-Is-Purelib: false\nTag: {tag}\n")
}

/// The file `RECORD`, which lists itself without a checksum.
fn record(bundle: &Bundle, own: &str) -> String {
    let mut record = String::new();
    for (path, file) in bundle.iter() {
        let sum = URL_SAFE_NO_PAD.encode(sha256(&file.bytes));
        writeln!(record, "{path},sha256={sum},{}", file.bytes.len()).expect("memory takes it");
    }
    record + own + ",,\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_spelt_as_python_does() {
        assert_eq!(version("1.20.3").expect("a release"), "1.20.3");
        assert_eq!(version("1.0.0-alpha.2").expect("an alpha"), "1.0.0a2");
        assert_eq!(version("1.0.0-rc.1").expect("a candidate"), "1.0.0rc1");
        for text in ["1.0.0-dev", "1.0.0-rc", "1.0.0-nightly.1", "1.0.0-rc.x"] {
            let error = version(text).expect_err("Python has no such version");
            assert!(error.to_string().contains(text), "{error}");
        }
    }

    #[test]
    fn a_name_has_no_hyphen_in_a_file_name() {
        let metadata = "Metadata-Version: 2.4\nName: Verso-SQLite\n";
        assert_eq!(name(metadata).expect("a name"), "verso_sqlite");
        name("Metadata-Version: 2.4\n").expect_err("no name");
    }

    #[test]
    fn a_record_has_every_file_and_itself() {
        let mut bundle = Bundle::default();
        bundle.insert("verso/py.typed", File::plain(""));
        assert_eq!(
            record(&bundle, "i/RECORD"),
            "verso/py.typed,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\ni/RECORD,,\n"
        );
    }
}
