//! Opening a database: its name, its store, and the parameters of its URI.

use verso_pagestore::{
    BeginError, Begun, CatalogueError, DatabaseId, DatabaseName, Moment, Snapshot, StoreUrl,
    UnixMillis,
};

use std::time::{Duration, Instant};

use crate::Options;
use crate::cache_folder::CacheFolder;
use crate::database::Disk;
use crate::error::VfsError;
use crate::pragma::{Freshness, Settings, Writers};
use crate::process::StoreHandle;

/// What SQLite asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenFlags {
    pub(crate) create: bool,
    pub(crate) read_only: bool,
}

/// The URI parameters that mean something here.
#[derive(Debug, Default)]
pub(crate) struct Parameters {
    /// `store=URL`
    pub(crate) store: Option<String>,
    /// `at=MOMENT`
    pub(crate) at: Option<String>,
    /// `writers=MODE`
    pub(crate) writers: Option<String>,
    /// `freshness=HOW`
    pub(crate) freshness: Option<String>,
    /// `immutable=1`: SQLite will take no locks, so one snapshot must serve.
    pub(crate) immutable: bool,
    /// `nolock=1`
    pub(crate) no_lock: bool,
    /// `cache=MODE`
    pub(crate) cache: Option<String>,
    /// `cache_dir=FOLDER`
    pub(crate) cache_dir: Option<String>,
    /// `cache_dir_size=BYTES`
    pub(crate) cache_dir_size: Option<String>,
}

/// Which snapshots a connection reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Follow {
    /// The newest one, at each transaction.
    Newest,
    /// Always the same one.
    Pinned(Snapshot),
}

/// An opened database.
pub(crate) struct Opened {
    pub(crate) name: DatabaseName,
    pub(crate) store: StoreHandle,
    pub(crate) follow: Follow,
    /// What was the newest state at a moment, if it follows that.
    pub(crate) newest: Option<(Begun, Instant)>,
    pub(crate) read_only: bool,
    pub(crate) settings: Settings,
    pub(crate) disk: Disk,
    pub(crate) lease_time_to_live: Duration,
}

/// The parameters of a URI that are Verso's, each once at most.
const PARAMETERS: [&str; 6] = [
    "store",
    "at",
    "writers",
    "freshness",
    "cache_dir",
    "cache_dir_size",
];

/// Those that SQLite reads, or that its documentation names.
const PARAMETERS_OF_SQLITE: [&str; 8] = [
    "vfs",
    "mode",
    "cache",
    "psow",
    "nolock",
    "immutable",
    "modeof",
    "8_3_names",
];

/// Looks at the names of all parameters of a URI. One that is misspelt would otherwise be left
/// out unseen, and the database be opened in another store or at another time.
pub(crate) fn check_parameters(names: &[String]) -> Result<(), VfsError> {
    for (index, name) in names.iter().enumerate() {
        let is_ours = PARAMETERS.contains(&name.as_str());
        // Drivers for Go leave theirs in the URI, and begin them all with an underscore.
        let is_others = PARAMETERS_OF_SQLITE.contains(&name.as_str()) || name.starts_with('_');
        if !is_ours && !is_others {
            return Err(VfsError::UnknownParameter {
                name: name.clone(),
                ours: list(&PARAMETERS),
                others: list(&PARAMETERS_OF_SQLITE),
            });
        }
        if is_ours && names.iter().take(index).any(|earlier| earlier == name) {
            return Err(VfsError::RepeatedParameter(name.clone()));
        }
    }
    Ok(())
}

/// Parameters as a message names them.
fn list(names: &[&str]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("{name}=")).collect();
    names.join(", ")
}

/// The environment variable that says how the writers of a process take turns.
const WRITERS_ENVIRONMENT_VARIABLE: &str = "VERSO_WRITERS";

/// The environment variable that says how old a transaction's snapshot may be.
const FRESHNESS_ENVIRONMENT_VARIABLE: &str = "VERSO_FRESHNESS";

/// A shorter time to live would be lost by a holder that is merely slow.
const SHORTEST_TIME_TO_LIVE: Duration = Duration::from_millis(100);

/// Opens a database, and creates it if it is missing and SQLite asks for that.
pub(crate) fn open(
    options: &Options,
    name: DatabaseName,
    flags: OpenFlags,
    parameters: &Parameters,
) -> Result<Opened, VfsError> {
    if parameters.no_lock {
        return Err(VfsError::NoLock);
    }
    // SQLite finds a shared cache by the name of its file, and ours are names in any store.
    if parameters.cache.as_deref() == Some("shared") {
        return Err(VfsError::SharedCache);
    }
    let settings = Settings::new(writers(parameters)?, freshness(parameters)?);
    let moment = match &parameters.at {
        Some(text) => Some(at(text)?),
        None => None,
    };
    let url = store_url(options, parameters)?.absolute();
    let folder = CacheFolder::chosen(options, parameters)?.filter(|_| is_remote(&url));
    let store = StoreHandle::open(url, options.opener, options.cache_bytes)?;
    let asked = Instant::now();
    let (follow, newest) = if let Some(moment) = moment {
        let pinned = store.pages()?.snapshot_at(&name, moment)?;
        (Follow::Pinned(pinned), None)
    } else {
        let newest = match store.pages()?.begin(&name, None) {
            Err(BeginError::NoSuchDatabase { .. }) if flags.create => {
                let id =
                    DatabaseId::random().map_err(|error| VfsError::Random(error.to_string()))?;
                match store.pages()?.create(&name, id) {
                    // Another process was faster.
                    Ok(()) | Err(CatalogueError::Exists { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
                store.pages()?.begin(&name, None)?
            }
            begun => begun?,
        };
        if parameters.immutable {
            (Follow::Pinned(newest.snapshot), None)
        } else {
            (Follow::Newest, Some((newest, asked)))
        }
    };
    let read_only = flags.read_only || follow != Follow::Newest;
    Ok(Opened {
        name,
        store,
        follow,
        newest,
        read_only,
        settings,
        disk: Disk::new(folder),
        lease_time_to_live: options.lease_time_to_live.max(SHORTEST_TIME_TO_LIVE),
    })
}

fn at(text: &str) -> Result<Moment, VfsError> {
    let moment = Moment::parse(text, UnixMillis::now());
    moment.map_err(|error| VfsError::from(error).set_by("at= of the URI"))
}

fn writers(parameters: &Parameters) -> Result<Writers, VfsError> {
    let parse = |text: &str, place| {
        let writers = Writers::parse(text);
        writers.ok_or_else(|| Writers::unknown(text).set_by(place))
    };
    if let Some(text) = &parameters.writers {
        return parse(text, "writers= of the URI");
    }
    match environment(WRITERS_ENVIRONMENT_VARIABLE) {
        Some(text) => parse(&text, "the environment variable VERSO_WRITERS"),
        None => Ok(Writers::default()),
    }
}

fn freshness(parameters: &Parameters) -> Result<Freshness, VfsError> {
    let parse = |text: &str, place| {
        let freshness = Freshness::parse(text);
        freshness.ok_or_else(|| Freshness::unknown(text).set_by(place))
    };
    if let Some(text) = &parameters.freshness {
        return parse(text, "freshness= of the URI");
    }
    match environment(FRESHNESS_ENVIRONMENT_VARIABLE) {
        Some(text) => parse(&text, "the environment variable VERSO_FRESHNESS"),
        None => Ok(Freshness::default()),
    }
}

/// The value of an environment variable, which says nothing if it is empty. What is not
/// UTF-8 is no value that anything here takes, and is seen to be none.
pub(crate) fn environment(variable: &str) -> Option<String> {
    let value = std::env::var_os(variable).filter(|value| !value.is_empty())?;
    Some(value.to_string_lossy().into_owned())
}

/// Whether reading a local disk is faster than asking the store.
const fn is_remote(url: &StoreUrl) -> bool {
    match url {
        StoreUrl::Nodes(_) | StoreUrl::FoundationDb(_) => true,
        StoreUrl::Sqlite(_) | StoreUrl::Memory(_) => false,
    }
}

fn store_url(options: &Options, parameters: &Parameters) -> Result<StoreUrl, VfsError> {
    match (&parameters.store, &options.store) {
        (None, Some(url)) => Ok(url.clone()),
        (explicit, _) => {
            let place = match explicit {
                Some(_) => "store= of the URI",
                None => "the environment variable VERSO_STORE",
            };
            let url = StoreUrl::resolve(explicit.as_deref());
            url.map_err(|error| VfsError::from(error).set_by(place))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(names: &[&str]) -> Option<String> {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        check_parameters(&names)
            .err()
            .map(|error| error.to_string())
    }

    #[test]
    fn parameters_are_known_or_refused() {
        assert_eq!(refusal(&[]), None);
        assert_eq!(refusal(&["vfs", "store", "at", "writers", "mode"]), None);
        assert_eq!(refusal(&["_busy_timeout", "_fk", "_fk"]), None);
        // What SQLite makes of its own parameters is its business.
        assert_eq!(refusal(&["mode", "mode"]), None);
        for name in ["sotre", "Store", "store ", "key", ""] {
            let told = refusal(&["vfs", name]).expect(name);
            assert!(told.contains(&format!("'{name}'")), "{told}");
            let ours = "store=, at=, writers=, freshness=, cache_dir=, cache_dir_size=";
            assert!(told.contains(ours), "{told}");
        }
        let told = refusal(&["at", "store", "at"]).expect("at is there twice");
        assert!(told.contains("at= twice"), "{told}");
    }
}
