//! Pragmas that the VFS answers or watches.

use std::ffi::CString;

use verso_pagestore::Durability;

/// What to do with a pragma.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PragmaAnswer {
    /// SQLite goes on with it.
    PassOn,
    /// The VFS answers it with one row of one column.
    Row(CString),
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
}

impl Settings {
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
            "data_version" => {
                self.watches_data_version = true;
                PragmaAnswer::PassOn
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

fn row(text: &std::ffi::CStr) -> PragmaAnswer {
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
            let answer = settings.pragma("Synchronous", Some(text), false);
            assert_eq!(
                (answer, settings.durability),
                (PragmaAnswer::PassOn, expected),
                "{text}"
            );
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
        assert_eq!(
            settings.pragma("journal_mode", None, false),
            PragmaAnswer::PassOn
        );
        assert_eq!(
            settings.pragma("journal_mode", Some("WAL"), false),
            row(c"wal")
        );
        assert_eq!(settings.pragma("journal_mode", None, false), row(c"wal"));
        assert_eq!(
            settings.pragma("journal_mode", Some("delete"), false),
            PragmaAnswer::PassOn
        );
        assert_eq!(
            settings.pragma("journal_mode", None, false),
            PragmaAnswer::PassOn
        );
    }

    #[test]
    fn exclusive_locking_is_declined() {
        let mut settings = Settings::default();
        assert_eq!(
            settings.pragma("locking_mode", Some("EXCLUSIVE"), false),
            row(c"normal")
        );
        assert_eq!(
            settings.pragma("locking_mode", Some("normal"), false),
            PragmaAnswer::PassOn
        );
    }
}
