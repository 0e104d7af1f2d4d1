//! The rollback journal: private to its connection and never recovered, so it stays in
//! memory until it is large, and then moves to a temporary file.

use std::io::{self, Read, Seek, SeekFrom, Write};

use tempfile::SpooledTempFile;

/// Journals up to this size stay in memory, in bytes.
const IN_MEMORY: usize = 4 << 20;

pub(crate) struct Journal {
    file: SpooledTempFile,
    length: u64,
}

impl Journal {
    pub(crate) fn new() -> Self {
        Self {
            file: SpooledTempFile::new(IN_MEMORY),
            length: 0,
        }
    }

    /// Fills `buffer` from `offset`; what lies beyond the end is zero. Returns how many
    /// bytes were there.
    pub(crate) fn read(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let available = self.length.saturating_sub(offset);
        let length = usize::try_from(available)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let (present, absent) = buffer.split_at_mut(length);
        self.file.seek(SeekFrom::Start(offset))?;
        self.file.read_exact(present)?;
        absent.fill(0);
        Ok(length)
    }

    pub(crate) fn write(&mut self, data: &[u8], offset: u64) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(offset))?;
        self.file.write_all(data)?;
        self.length = self.length.max(offset + data.len() as u64);
        Ok(())
    }

    pub(crate) fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)?;
        self.length = length;
        Ok(())
    }

    pub(crate) const fn length(&self) -> u64 {
        self.length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behaves_like_a_file_in_memory_and_on_disk() {
        let mut journal = Journal::new();
        for base in [0, IN_MEMORY as u64 * 2] {
            journal.write(b"hello", base + 3).unwrap();
            let mut buffer = [9; 10];
            assert_eq!(journal.read(&mut buffer, base).unwrap(), 8);
            assert_eq!(&buffer, b"\0\0\0hello\0\0");
            assert_eq!(journal.length(), base + 8);
        }
        journal.truncate(4).unwrap();
        let mut buffer = [9; 4];
        assert_eq!(journal.read(&mut buffer, 2).unwrap(), 2);
        assert_eq!(&buffer, b"\0h\0\0");
        assert_eq!(journal.read(&mut buffer, 100).unwrap(), 0);
    }
}
