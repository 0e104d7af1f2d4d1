//! Written pages of a transaction that take more memory than it may have: in a temporary file.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use verso_pagestore::{PageNumber, PageWrite};

/// A temporary file without a name. A place in it is written once, so its clones may each know
/// other places.
#[derive(Debug, Clone)]
pub(crate) struct Spill(Arc<Mutex<Pages>>);

#[derive(Debug)]
struct Pages {
    file: File,
    length: u64,
}

/// Where a page is in the file, in bytes from its begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    offset: u64,
    length: usize,
}

impl Spill {
    /// A new file in the folder for temporary files.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(crate) fn new() -> io::Result<Self> {
        let file = tempfile::tempfile()?;
        Ok(Self(Arc::new(Mutex::new(Pages { file, length: 0 }))))
    }

    /// Writes a page behind all others.
    ///
    /// # Errors
    /// If the disk is full or fails.
    pub(crate) fn write(&self, page: &[u8]) -> io::Result<Place> {
        let mut pages = self.0.lock();
        let offset = pages.length;
        pages.file.seek(SeekFrom::Start(offset))?;
        pages.file.write_all(page)?;
        pages.length = offset + page.len() as u64;
        let length = page.len();
        Ok(Place { offset, length })
    }

    /// Reads a page.
    ///
    /// # Errors
    /// If the disk fails.
    pub(crate) fn read(&self, place: Place) -> io::Result<Bytes> {
        let mut page = vec![0; place.length];
        let mut pages = self.0.lock();
        pages.file.seek(SeekFrom::Start(place.offset))?;
        pages.file.read_exact(&mut page)?;
        Ok(page.into())
    }
}

/// The spilled pages of a commit.
#[derive(Debug, Clone)]
pub(crate) struct SpilledPages {
    pub(crate) spill: Spill,
    pub(crate) pages: Vec<(PageNumber, Place)>,
}

impl SpilledPages {
    /// Numbers of the pages.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        self.pages.iter().map(|(number, _)| number.get())
    }

    /// The pages in parts of at most so many bytes, or of one page.
    pub(crate) fn parts(
        &self,
        bytes: usize,
    ) -> impl Iterator<Item = io::Result<Vec<PageWrite>>> + '_ {
        let length = self.pages.first().map_or(1, |(_, place)| place.length);
        self.pages.chunks((bytes / length).max(1)).map(|part| {
            part.iter()
                .map(|&(number, place)| {
                    let page = self.spill.read(place)?;
                    Ok(PageWrite { number, page })
                })
                .collect()
        })
    }
}
