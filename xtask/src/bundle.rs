//! The files of a package, in memory: sorted by path, each with its mode; and their checksums.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

/// One file.
pub(crate) struct File {
    pub(crate) bytes: Vec<u8>,
    pub(crate) mode: u32,
}

impl File {
    /// One to be read.
    pub(crate) fn plain(bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            bytes: bytes.into(),
            mode: 0o644,
        }
    }

    /// A program or library.
    pub(crate) fn executable(bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            bytes: bytes.into(),
            mode: 0o755,
        }
    }
}

/// The files of a package by their paths in it, which have `/` between folders.
#[derive(Default)]
pub(crate) struct Bundle(BTreeMap<String, File>);

impl Bundle {
    /// Adds a file, or puts it in the place of one with that path.
    pub(crate) fn insert(&mut self, path: impl Into<String>, file: File) {
        self.0.insert(path.into(), file);
    }

    /// Adds the file `source` of a folder.
    pub(crate) fn insert_from(&mut self, folder: &Path, source: &str, path: &str) -> Result<()> {
        self.insert(path, File::plain(read(&folder.join(source))?));
        Ok(())
    }

    /// Adds all files under a folder, but hidden ones, under a path of the package.
    pub(crate) fn insert_folder(&mut self, folder: &Path, path: &str) -> Result<()> {
        let told = || format!("cannot list {}", folder.display());
        let entries = fs::read_dir(folder).with_context(told)?;
        for entry in entries {
            let entry = entry.with_context(told)?;
            let name = entry.file_name();
            let name = name.to_str().context("a name that is not UTF-8")?;
            let (source, inner) = (entry.path(), format!("{path}/{name}"));
            if name.starts_with('.') || name == "__pycache__" {
                continue;
            }
            if source.is_dir() {
                self.insert_folder(&source, &inner)?;
            } else {
                self.insert(inner, File::plain(read(&source)?));
            }
        }
        Ok(())
    }

    /// The files, by path.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &File)> {
        self.0.iter().map(|(path, file)| (path.as_str(), file))
    }

    /// A line for `sha256sum -c` of each file.
    pub(crate) fn sums(&self) -> String {
        self.iter().fold(String::new(), |mut sums, (path, file)| {
            writeln!(sums, "{}  {path}", hex(&sha256(&file.bytes))).expect("memory takes it");
            sums
        })
    }
}

/// The bytes of a file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The text of a template, in which each of `fields` must occur as `{name}`.
pub(crate) fn fill(path: &Path, fields: &[(&str, &str)]) -> Result<String> {
    let shown = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    fields.iter().try_fold(text, |text, (name, value)| {
        let field = format!("{{{name}}}");
        ensure!(text.contains(&field), "{shown} has no {field}");
        Ok(text.replace(&field, value))
    })
}

/// The SHA-256 of some bytes.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("memory takes it");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_sorted_and_those_of_sha256sum() {
        let mut bundle = Bundle::default();
        bundle.insert("b", File::plain("abc"));
        bundle.insert("a/z", File::executable(""));
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(bundle.sums(), format!("{empty}  a/z\n{abc}  b\n"));
    }

    #[test]
    fn a_template_without_the_field_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("template");
        fs::write(&path, "Version: {version}\n").expect("it is written");
        assert_eq!(
            fill(&path, &[("version", "1.2.3")]).expect("it is filled"),
            "Version: 1.2.3\n"
        );
        let error = fill(&path, &[("name", "verso")]).expect_err("it is refused");
        assert!(error.to_string().ends_with("has no {name}"), "{error}");
    }

    #[test]
    fn hidden_files_are_left_out() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("in")).expect("it is made");
        for name in ["a.md", ".a.md.swp", "in/b.md"] {
            fs::write(folder.path().join(name), name).expect("it is written");
        }
        let mut bundle = Bundle::default();
        bundle
            .insert_folder(folder.path(), "docs")
            .expect("it is read");
        let paths: Vec<_> = bundle.iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["docs/a.md", "docs/in/b.md"]);
    }
}
