//! Pragmas that the VFS answers or watches.

use std::ffi::{CStr, CString};
use std::fmt;
use std::time::Duration;

use verso_pagestore::Durability;

use crate::error::VfsError;

/// What to do with a pragma.
#[derive(Debug)]
pub(crate) enum PragmaAnswer {
    /// SQLite goes on with it.
    PassOn,
    /// The VFS answers it with one row of one column.
    Row(CString),
    /// The VFS answers it, and has nothing to tell.
    NoRow,
    /// It fails, for this reason.
    Failure(VfsError),
}

/// How the write transactions of a connection meet those of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Writers {
    /// They run at once, and of two that conflict one is refused at its commit.
    #[default]
    Concurrent,
    /// Each takes the writer lease at its first write, so that its commit is not refused.
    Queued,
}

impl Writers {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "concurrent" => Some(Self::Concurrent),
            "queued" => Some(Self::Queued),
            _ => None,
        }
    }

    /// What to say of a text that is none.
    pub(crate) fn unknown(text: &str) -> VfsError {
        VfsError::Setting {
            setting: "writers",
            choices: "concurrent or queued",
            text: text.to_owned(),
        }
    }

    pub(crate) const fn name(self) -> &'static CStr {
        match self {
            Self::Concurrent => c"concurrent",
            Self::Queued => c"queued",
        }
    }
}

/// How new the snapshot of a transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Freshness {
    /// It has every commit that was acknowledged before the transaction began.
    #[default]
    Strict,
    /// It may lack commits of others that are not older than this.
    Bounded(Duration),
}

impl Freshness {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        if text == "strict" {
            return Some(Self::Strict);
        }
        let millis: u32 = text.strip_prefix("bounded:")?.parse().ok()?;
        Some(Self::Bounded(Duration::from_millis(millis.into())))
    }

    /// What to say of a text that is none.
    pub(crate) fn unknown(text: &str) -> VfsError {
        VfsError::Setting {
            setting: "freshness",
            choices: "strict or bounded:MILLISECONDS",
            text: text.to_owned(),
        }
    }
}

impl fmt::Display for Freshness {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Strict => formatter.write_str("strict"),
            Self::Bounded(age) => write!(formatter, "bounded:{}", age.as_millis()),
        }
    }
}

/// What a connection's pragmas have set.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    /// What the connection's commits must survive.
    pub(crate) durability: Durability,
    /// Whether the connection asked for WAL mode. There is no write-ahead log here, but
    /// what applications want of it (readers and writers do not block each other) holds.
    claims_wal: bool,
    /// Whether the connection has switched its rollback journal off.
    is_off: bool,
    /// Whether the connection has ever looked at `PRAGMA data_version`, or FTS5 has for it.
    pub(crate) watches_data_version: bool,
    /// How its write transactions meet those of others.
    pub(crate) writers: Writers,
    /// How new the snapshots of its transactions are.
    pub(crate) freshness: Freshness,
}

impl Settings {
    pub(crate) fn new(writers: Writers, freshness: Freshness) -> Self {
        Self {
            writers,
            freshness,
            ..Self::default()
        }
    }

    /// Handles `PRAGMA name = value`. `in_transaction` says that SQLite will refuse to
    /// change `synchronous` now.
    pub(crate) fn pragma(
        &mut self,
        name: &str,
        value: Option<&str>,
        in_transaction: bool,
    ) -> PragmaAnswer {
        match name.to_ascii_lowercase().as_str() {
            "journal_mode" => self.journal_mode(value),
            // In exclusive mode SQLite never unlocks, and would keep its first snapshot forever.
            "locking_mode" => match value {
                Some(mode) if mode.eq_ignore_ascii_case("exclusive") => row(c"normal"),
                _ => PragmaAnswer::PassOn,
            },
            "synchronous" => {
                if let Some(level) = value.filter(|_| !in_transaction) {
                    self.durability = durability(level);
                }
                PragmaAnswer::PassOn
            }
            "verso_writers" => {
                if let Some(text) = value {
                    match Writers::parse(text) {
                        Some(writers) => self.writers = writers,
                        None => return PragmaAnswer::Failure(Writers::unknown(text)),
                    }
                }
                row(self.writers.name())
            }
            "verso_freshness" => {
                if let Some(text) = value {
                    match Freshness::parse(text) {
                        Some(freshness) => self.freshness = freshness,
                        None => return PragmaAnswer::Failure(Freshness::unknown(text)),
                    }
                }
                PragmaAnswer::Row(CString::new(self.freshness.to_string()).unwrap_or_default())
            }
            "data_version" => {
                self.watches_data_version = true;
                PragmaAnswer::PassOn
            }
            // SQLite answers one that it does not know with silence.
            unknown if unknown.starts_with("verso_") => {
                PragmaAnswer::Failure(VfsError::UnknownPragma(unknown.to_owned()))
            }
            _ => PragmaAnswer::PassOn,
        }
    }

    /// SQLite must not enter WAL mode: in combination with exclusive locking it would keep a
    /// log in memory and mark the database as one that only it can read.
    fn journal_mode(&mut self, value: Option<&str>) -> PragmaAnswer {
        match value {
            // Without a journal SQLite undoes nothing, which nobody expects of WAL mode. SQLite
            // finds that it cannot enter it, and answers with the mode that it stays in.
            Some(mode) if mode.eq_ignore_ascii_case("wal") && !self.is_off => {
                self.claims_wal = true;
                row(c"wal")
            }
            None if self.claims_wal => row(c"wal"),
            Some(mode) => {
                self.claims_wal = false;
                self.is_off = mode.eq_ignore_ascii_case("off")
                    || (self.is_off && mode.eq_ignore_ascii_case("wal"));
                PragmaAnswer::PassOn
            }
            None => PragmaAnswer::PassOn,
        }
    }
}

fn row(text: &CStr) -> PragmaAnswer {
    PragmaAnswer::Row(text.to_owned())
}

/// The level that SQLite reads from a text, as `getSafetyLevel` in `pragma.c` does.
fn durability(level: &str) -> Durability {
    let is = |texts: &[&str]| texts.iter().any(|text| text.eq_ignore_ascii_case(level));
    let number = level
        .trim_start()
        .bytes()
        .take_while(u8::is_ascii_digit)
        .fold(0, |number, digit| {
            (number * 10 + u32::from(digit - b'0')) % 256
        });
    if level.starts_with(|first: char| first.is_ascii_digit()) {
        // SQLite keeps three bits of level + 1, and takes 0 for 1.
        match (number + 1) & 7 {
            0 | 1 => Durability::Off,
            2 => Durability::Normal,
            _ => Durability::Full,
        }
    } else if is(&["off", "no", "false"]) {
        Durability::Off
    } else if is(&["full", "extra"]) {
        Durability::Full
    } else {
        Durability::Normal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text of the answer or of the failure; `None` if SQLite goes on with it.
    fn answer(settings: &mut Settings, name: &str, value: Option<&str>) -> Option<String> {
        match settings.pragma(name, value, false) {
            PragmaAnswer::PassOn | PragmaAnswer::NoRow => None,
            PragmaAnswer::Row(text) => Some(text.into_string().unwrap()),
            PragmaAnswer::Failure(error) => Some(error.to_string()),
        }
    }

    #[test]
    fn synchronous_is_read_as_sqlite_reads_it() {
        for (text, expected) in [
            ("0", Durability::Off),
            ("OFF", Durability::Off),
            ("no", Durability::Off),
            ("1", Durability::Normal),
            ("Normal", Durability::Normal),
            ("on", Durability::Normal),
            ("nonsense", Durability::Normal),
            ("2", Durability::Full),
            ("FULL", Durability::Full),
            ("3", Durability::Full),
            ("extra", Durability::Full),
            ("7", Durability::Off),
        ] {
            let mut settings = Settings::default();
            assert_eq!(settings.durability, Durability::Full, "SQLite's default");
            assert_eq!(answer(&mut settings, "Synchronous", Some(text)), None);
            assert_eq!(settings.durability, expected, "{text}");
        }
    }

    #[test]
    fn synchronous_does_not_change_inside_a_transaction_or_by_asking() {
        let mut settings = Settings::default();
        settings.pragma("synchronous", Some("off"), true);
        settings.pragma("synchronous", None, false);
        assert_eq!(settings.durability, Durability::Full);
    }

    #[test]
    fn wal_is_answered_and_remembered() {
        let mut settings = Settings::default();
        let mut mode = |value| answer(&mut settings, "journal_mode", value);
        assert_eq!(mode(None), None);
        assert_eq!(mode(Some("WAL")).as_deref(), Some("wal"));
        assert_eq!(mode(None).as_deref(), Some("wal"));
        assert_eq!(mode(Some("delete")), None);
        assert_eq!(mode(None), None);
    }

    #[test]
    fn exclusive_locking_is_declined() {
        let mut settings = Settings::default();
        let mut mode = |value| answer(&mut settings, "locking_mode", Some(value));
        assert_eq!(mode("EXCLUSIVE").as_deref(), Some("normal"));
        assert_eq!(mode("normal"), None);
    }

    #[test]
    fn writers_are_set_and_told() {
        let mut settings = Settings::default();
        let mut writers = |value| answer(&mut settings, "Verso_Writers", value);
        assert_eq!(writers(None).as_deref(), Some("concurrent"));
        assert_eq!(writers(Some("QUEUED")).as_deref(), Some("queued"));
        assert_eq!(writers(None).as_deref(), Some("queued"));
        let message = writers(Some("none")).unwrap();
        assert!(message.contains("use concurrent or queued"));
        assert_eq!(
            settings.writers,
            Writers::Queued,
            "bad input changes nothing"
        );
    }

    #[test]
    fn freshness_is_set_and_told() {
        let mut settings = Settings::default();
        let mut freshness = |value| answer(&mut settings, "verso_freshness", value);
        assert_eq!(freshness(None).as_deref(), Some("strict"));
        assert_eq!(
            freshness(Some("Bounded:250")).as_deref(),
            Some("bounded:250")
        );
        for bad in [
            "",
            "bounded",
            "bounded:",
            "bounded:-1",
            "bounded:1s",
            "bounded:4294967296",
        ] {
            let message = freshness(Some(bad)).unwrap();
            assert!(
                message.contains("use strict or bounded:MILLISECONDS"),
                "{message}"
            );
        }
        assert_eq!(freshness(None).as_deref(), Some("bounded:250"));
        assert_eq!(freshness(Some("strict")).as_deref(), Some("strict"));
    }

    #[test]
    fn only_pragmas_of_others_may_be_unknown() {
        let mut settings = Settings::default();
        assert_eq!(answer(&mut settings, "writers", Some("queued")), None);
        let message = answer(&mut settings, "verso_writer", Some("queued")).unwrap();
        assert!(message.contains("verso_writers"), "{message}");
    }
}
