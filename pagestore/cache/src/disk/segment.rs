//! Segments: a file of pages and an index file that says what is in it.
//!
//! Both only grow, and the pages are written before what the index says of them. One process at a
//! time appends to a segment, with the index file locked; any number read it. Files are read and
//! written at positions that are named, so that processes that inherit a file share nothing.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::record::{MAGIC, Place};

/// What the name of every file begins with.
const PREFIX: &str = "verso-";
const INDEX: &str = "index";
const PAGES: &str = "pages";

/// The two files of a segment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Paths {
    pub(super) index: PathBuf,
    pub(super) pages: PathBuf,
}

impl Paths {
    /// Those of a new segment. They are in the order in which they were made.
    pub(super) fn new(folder: &Path, milliseconds: u64, process: u32) -> Self {
        Self::of(
            folder,
            &format!("{PREFIX}{milliseconds:012x}-{process:08x}"),
        )
    }

    /// Those of the segment that a file with this name belongs to, if it is one of ours.
    pub(super) fn of_file(folder: &Path, name: &str) -> Option<Self> {
        let (stem, extension) = name.rsplit_once('.')?;
        let ours = stem.starts_with(PREFIX) && [INDEX, PAGES].contains(&extension);
        ours.then(|| Self::of(folder, stem))
    }

    fn of(folder: &Path, stem: &str) -> Self {
        Self {
            index: folder.join(format!("{stem}.{INDEX}")),
            pages: folder.join(format!("{stem}.{PAGES}")),
        }
    }

    /// How many bytes the files have. One that is not there has none.
    pub(super) fn bytes(&self) -> u64 {
        let length = |path| std::fs::metadata(path).map_or(0, |file: std::fs::Metadata| file.len());
        length(&self.index) + length(&self.pages)
    }

    /// Removes the segment, unless a process appends to it. Says whether it is gone.
    pub(super) fn remove(&self) -> bool {
        let _index = match lock(&self.index) {
            Ok(Some(index)) => Some(index),
            // Only the pages are left.
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Ok(None) | Err(_) => return false,
        };
        // Those who have the pages open must not keep their place on the disk taken.
        if let Ok(pages) = OpenOptions::new().write(true).open(&self.pages) {
            let _ = pages.set_len(0);
        }
        let is_gone = |path| match std::fs::remove_file(path) {
            Ok(()) => true,
            Err(error) => error.kind() == ErrorKind::NotFound,
        };
        is_gone(&self.pages) && is_gone(&self.index)
    }
}

/// Opens an index file and locks it; `None` if another process has locked it. Where there are no
/// locks, it is open to everybody.
fn lock(index: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new().read(true).write(true).open(index)?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) if error.kind() != ErrorKind::Unsupported => Err(error),
        Ok(()) | Err(TryLockError::Error(_)) => Ok(Some(file)),
    }
}

/// A segment that others may append to.
#[derive(Debug)]
pub(super) struct Segment {
    paths: Paths,
    /// `None` inside if it cannot be opened.
    pages: OnceLock<Option<File>>,
}

impl Segment {
    pub(super) const fn new(paths: Paths) -> Self {
        Self {
            paths,
            pages: OnceLock::new(),
        }
    }

    /// What is at a place; `None` if it is not there.
    pub(super) fn read(&self, place: &Place) -> Option<Vec<u8>> {
        let pages = self
            .pages
            .get_or_init(|| File::open(&self.paths.pages).ok());
        let mut content = vec![0; usize::try_from(place.length).ok()?];
        read_exact_at(pages.as_ref()?, &mut content, place.offset.into()).ok()?;
        (xxhash_rust::xxh3::xxh3_64(&content) == place.checksum).then_some(content)
    }

    /// Whether nobody will find it any more.
    pub(super) fn is_removed(&self) -> bool {
        match self.pages.get() {
            Some(Some(pages)) => !pages.metadata().is_ok_and(|pages| is_linked(&pages)),
            Some(None) => true,
            None => !self.paths.pages.exists(),
        }
    }
}

/// A segment that this process appends to.
#[derive(Debug)]
pub(super) struct Appender {
    index: File,
    pages: File,
    index_length: u64,
    pages_length: u64,
}

impl Appender {
    /// Makes a new segment; an error of kind `AlreadyExists` if there is one of this name.
    pub(super) fn create(paths: &Paths) -> io::Result<Self> {
        let index = options().create_new(true).open(&paths.index)?;
        if index.try_lock().is_err() {
            tracing::debug!(path = %paths.index.display(), "it cannot be locked");
        }
        let pages = options().create(true).truncate(true).open(&paths.pages)?;
        write_all_at(&index, &MAGIC, 0)?;
        Ok(Self {
            index,
            pages,
            index_length: MAGIC.len() as u64,
            pages_length: 0,
        })
    }

    /// Goes on with a segment that no process appends to, if it is one. `read` makes something of
    /// the content of the index, and says where its records end.
    pub(super) fn resume<T>(
        paths: &Paths,
        read: impl FnOnce(&[u8]) -> Option<(T, usize)>,
    ) -> io::Result<Option<(Self, T)>> {
        let Some(index) = lock(&paths.index)? else {
            return Ok(None);
        };
        let pages = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&paths.pages)?;
        let mut appender = Self {
            index_length: 0,
            pages_length: pages.metadata()?.len(),
            index,
            pages,
        };
        // What was removed meanwhile is nobody's any more.
        if !appender.is_in_place()? {
            return Ok(None);
        }
        let Some((content, end)) = read(&std::fs::read(&paths.index)?) else {
            return Ok(None);
        };
        appender.index_length = end as u64;
        appender.index.set_len(appender.index_length)?;
        Ok(Some((appender, content)))
    }

    /// How many bytes the files have.
    pub(super) const fn bytes(&self) -> u64 {
        self.index_length + self.pages_length
    }

    /// Whether nothing has been written yet.
    pub(super) const fn is_empty(&self) -> bool {
        self.bytes() == MAGIC.len() as u64
    }

    /// Where the next page will be.
    pub(super) const fn pages_length(&self) -> u64 {
        self.pages_length
    }

    /// Whether nobody has removed or cut off the files.
    pub(super) fn is_in_place(&self) -> io::Result<bool> {
        let (index, pages) = (self.index.metadata()?, self.pages.metadata()?);
        let is_whole = index.len() >= self.index_length && pages.len() >= self.pages_length;
        Ok(is_whole && is_linked(&index) && is_linked(&pages))
    }

    /// Appends pages, and then what the index says of them.
    pub(super) fn append(&mut self, pages: &[u8], records: &[u8]) -> io::Result<()> {
        write_all_at(&self.pages, pages, self.pages_length)?;
        self.pages_length += pages.len() as u64;
        write_all_at(&self.index, records, self.index_length)?;
        self.index_length += records.len() as u64;
        Ok(())
    }
}

#[cfg(unix)]
fn options() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = OpenOptions::new();
    // Who may read the pages is the store's to say.
    options.read(true).write(true).mode(0o600);
    options
}

#[cfg(unix)]
fn is_linked(file: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    file.nlink() > 0
}

#[cfg(unix)]
fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(unix)]
fn write_all_at(file: &File, buffer: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, buffer, offset)
}

#[cfg(not(unix))]
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    options
}

#[cfg(not(unix))]
fn is_linked(_: &std::fs::Metadata) -> bool {
    true
}

#[cfg(not(unix))]
fn read_exact_at(_: &File, _: &mut [u8], _: u64) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

#[cfg(not(unix))]
fn write_all_at(_: &File, _: &[u8], _: u64) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}
