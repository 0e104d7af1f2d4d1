//! Which folder has pages on local disk, and how large it may be.

use std::path::PathBuf;

use verso_cache::DiskCache;
use verso_pagestore::parse_bytes;

use crate::Options;
use crate::error::VfsError;
use crate::open::{Parameters, environment};

/// The environment variable that names the folder.
const FOLDER_ENVIRONMENT_VARIABLE: &str = "VERSO_CACHE_DIR";

/// The environment variable that says how large it may be.
const SIZE_ENVIRONMENT_VARIABLE: &str = "VERSO_CACHE_DIR_SIZE";

/// How large it may be where nothing says it.
const DEFAULT_BYTES: u64 = 1 << 30;

/// A folder for pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CacheFolder {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
}

impl CacheFolder {
    /// The folder of a database that is opened, if it has one.
    pub(crate) fn chosen(
        options: &Options,
        parameters: &Parameters,
    ) -> Result<Option<Self>, VfsError> {
        let bytes = bytes(options, parameters)?;
        let path = match (&parameters.cache_dir, &options.cache_dir) {
            (Some(path), _) => Some(path.into()),
            (None, Some(path)) => Some(path.clone()),
            (None, None) => std::env::var_os(FOLDER_ENVIRONMENT_VARIABLE).map(PathBuf::from),
        };
        let path = path.filter(|path| !path.as_os_str().is_empty());
        Ok(path.map(|path| Self {
            // The working directory may be another one later.
            path: std::path::absolute(&path).unwrap_or(path),
            bytes,
        }))
    }
}

fn bytes(options: &Options, parameters: &Parameters) -> Result<u64, VfsError> {
    if let Some(text) = &parameters.cache_dir_size {
        return parse(text, "cache_dir_size= of the URI");
    }
    if let Some(bytes) = options.cache_dir_bytes {
        return Ok(bytes.max(DiskCache::LEAST_BYTES));
    }
    match environment(SIZE_ENVIRONMENT_VARIABLE) {
        Some(text) => parse(&text, "the environment variable VERSO_CACHE_DIR_SIZE"),
        None => Ok(DEFAULT_BYTES),
    }
}

fn parse(text: &str, place: &'static str) -> Result<u64, VfsError> {
    let bytes = parse_bytes(text).ok();
    let bytes = bytes.filter(|bytes| *bytes >= DiskCache::LEAST_BYTES);
    bytes.ok_or_else(|| {
        let error = VfsError::Setting {
            setting: "size for a page cache on disk",
            choices: "a number of bytes such as 512MiB or 1GiB, not below 16MiB",
            text: text.to_owned(),
        };
        error.set_by(place)
    })
}

#[cfg(test)]
mod tests {
    use verso_pagestore::StoreError;

    use super::*;

    fn options() -> Options {
        Options::new(|url| {
            Err(StoreError::Unavailable {
                store: url.to_string(),
                reason: "there is none".to_owned(),
            })
        })
    }

    #[test]
    fn the_uri_comes_before_the_options() {
        let mut options = options();
        options.cache_dir = Some("/options".into());
        options.cache_dir_bytes = Some(1);
        let chosen = |folder: Option<&str>, size: Option<&str>| {
            let parameters = Parameters {
                cache_dir: folder.map(str::to_owned),
                cache_dir_size: size.map(str::to_owned),
                ..Parameters::default()
            };
            CacheFolder::chosen(&options, &parameters)
        };
        let folder = chosen(None, None).unwrap().expect("a folder");
        assert_eq!(folder.path, PathBuf::from("/options"));
        assert_eq!(folder.bytes, 16 << 20, "at least");
        let folder = chosen(Some("/uri"), Some("2GiB")).unwrap();
        let folder = folder.expect("a folder");
        assert_eq!(folder.path, PathBuf::from("/uri"));
        assert_eq!(folder.bytes, 2 << 30);
        let folder = chosen(Some("relative"), None).unwrap().expect("a folder");
        assert!(folder.path.is_absolute());
        assert_eq!(chosen(Some(""), None).unwrap(), None, "switched off");
        for wrong in ["", "many", "1GB", "-1", "15MiB"] {
            let error = chosen(None, Some(wrong)).unwrap_err().to_string();
            assert!(error.contains("not below 16MiB"), "{error}");
            assert!(error.contains("cache_dir_size="), "{error}");
        }
    }
}
