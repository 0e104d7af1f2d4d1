//! The folder: which segments it has, which one to append to, and which ones to remove.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::segment::{Appender, Paths};

/// The folder holds at most so many segments. Each has this part of all bytes at most, so that
/// together they keep to the limit whoever appends to them.
pub(super) const MOST_SEGMENTS: usize = 64;

/// A segment with less room is not worth to be gone on with: less than the largest page needs.
const LEAST_ROOM: u64 = 80 << 10;

/// A folder of segments.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    bytes: u64,
}

/// What to append to.
pub(super) struct Opened<T> {
    pub(super) paths: Paths,
    pub(super) appender: Appender,
    /// What the index has so far.
    pub(super) content: T,
}

impl Folder {
    pub(super) const fn new(path: PathBuf, bytes: u64) -> Self {
        Self { path, bytes }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Most bytes of a segment, whose places are numbers of 32 bits.
    pub(super) fn segment_bytes(&self) -> u64 {
        (self.bytes / MOST_SEGMENTS as u64).min(u32::MAX.into())
    }

    /// The segments, oldest first. None if there is no folder yet.
    pub(super) fn segments(&self) -> io::Result<Vec<Paths>> {
        let files = match std::fs::read_dir(&self.path) {
            Ok(files) => files,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut segments = Vec::new();
        for file in files {
            let name = file?.file_name();
            segments.extend(Paths::of_file(&self.path, &name.to_string_lossy()));
        }
        segments.sort_unstable();
        segments.dedup();
        Ok(segments)
    }

    /// A segment to append to: one that has room, or else a new one, for which old ones are
    /// removed. `read` makes something of an index, and says where its records end. The answer is
    /// `None` if other processes append to all segments that there may be.
    pub(super) fn open<T: Default>(
        &self,
        mut read: impl FnMut(&[u8]) -> Option<(T, usize)>,
    ) -> io::Result<Option<Opened<T>>> {
        self.create()?;
        for paths in self.segments()?.into_iter().rev() {
            if paths.bytes() + LEAST_ROOM > self.segment_bytes() {
                continue;
            }
            // One that has vanished or is damaged is no reason to give up.
            if let Ok(Some((appender, content))) = Appender::resume(&paths, &mut read) {
                return Ok(Some(Opened {
                    paths,
                    appender,
                    content,
                }));
            }
        }
        if !self.make_room(1)? {
            return Ok(None);
        }
        let (paths, appender) = self.create_segment()?;
        // Others may have made one at the same time.
        self.make_room(0)?;
        Ok(Some(Opened {
            paths,
            appender,
            content: T::default(),
        }))
    }

    fn create(&self) -> io::Result<()> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&self.path)
    }

    fn create_segment(&self) -> io::Result<(Paths, Appender)> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_millis();
        let mut milliseconds = u64::try_from(now).unwrap_or(u64::MAX);
        loop {
            let paths = Paths::new(&self.path, milliseconds, std::process::id());
            match Appender::create(&paths) {
                Ok(appender) => return Ok((paths, appender)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => milliseconds += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Removes the oldest segments until there is room for so many more. Says whether there is.
    fn make_room(&self, more: u64) -> io::Result<bool> {
        let segments = self.segments()?;
        let mut count = segments.len();
        let mut bytes: u64 = segments.iter().map(Paths::bytes).sum();
        let reserved = more * self.segment_bytes();
        let is_enough = |count: usize, bytes: u64| {
            count as u64 + more <= MOST_SEGMENTS as u64 && bytes + reserved <= self.bytes
        };
        for segment in segments {
            if is_enough(count, bytes) {
                break;
            }
            let length = segment.bytes();
            if segment.remove() {
                count -= 1;
                bytes -= length.min(bytes);
            }
        }
        Ok(is_enough(count, bytes))
    }
}
