//! Moments: how people name a point in a database's past.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::{SignedDuration, Timestamp};

use crate::Version;

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(u64);

impl UnixMillis {
    /// The time so many milliseconds after 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn new(milliseconds: u64) -> Self {
        Self(milliseconds)
    }

    /// Now, by the system's clock. A clock before 1970 counts as 1970.
    #[must_use]
    pub fn now() -> Self {
        let elapsed = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for UnixMillis {
    /// RFC 3339 in UTC, such as `2026-01-31T12:00:00.250Z`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let timestamp = i64::try_from(self.0)
            .ok()
            .and_then(|ms| Timestamp::from_millisecond(ms).ok());
        match timestamp {
            Some(timestamp) => write!(formatter, "{timestamp:.3}"),
            None => write!(formatter, "{} ms since 1970", self.0),
        }
    }
}

/// A point in a database's past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Right after the commit of this version.
    Version(Version),
    /// The newest version committed at or before this time. Commits of different processes
    /// that are closer to each other than their clocks agree may be taken in either order;
    /// a version is exact.
    Time(UnixMillis),
    /// What a transaction of the key-value store sees that reads at this version of it: the
    /// same moment for all databases of the store.
    ReadVersion(u64),
}

/// A text does not name a moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseMomentError {
    /// It is neither a version, nor a time, nor a relative time.
    #[error(
        "'{text}' is not a moment: expected a version (20 hex digits), a time such as \
         2026-01-31T12:00:00Z, or a time ago such as -15m, -2h or -1d"
    )]
    NotAMoment {
        /// The text.
        text: String,
    },
    /// It names a time after now.
    #[error("'{text}' is in the future: choose a moment in the past")]
    Future {
        /// The text.
        text: String,
    },
}

impl Moment {
    /// Reads a version, an RFC 3339 time, or a time before `now` such as `-90s`, `-15m`,
    /// `-2h` or `-1d`.
    ///
    /// # Errors
    /// If the text is none of these, or names a time after `now`.
    pub fn parse(text: &str, now: UnixMillis) -> Result<Self, ParseMomentError> {
        let not_a_moment = || ParseMomentError::NotAMoment {
            text: text.to_owned(),
        };
        if let Ok(version) = text.parse() {
            return Ok(Self::Version(version));
        }
        let time = if text.starts_with('-') {
            ago(text, now).ok_or_else(not_a_moment)?
        } else {
            let timestamp: Timestamp = text.parse().map_err(|_| not_a_moment())?;
            // A time before 1970 is before every commit: the oldest time there is.
            UnixMillis(u64::try_from(timestamp.as_millisecond()).unwrap_or(0))
        };
        if time > now {
            return Err(ParseMomentError::Future {
                text: text.to_owned(),
            });
        }
        Ok(Self::Time(time))
    }
}

/// `-15m` before `now`.
fn ago(text: &str, now: UnixMillis) -> Option<UnixMillis> {
    let rest = text.strip_prefix('-')?;
    let unit = rest.chars().last()?;
    let number: i64 = rest.strip_suffix(unit)?.parse().ok()?;
    let seconds_per_unit = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return None,
    };
    let duration = SignedDuration::from_secs(number.checked_mul(seconds_per_unit)?);
    let milliseconds = u64::try_from(duration.as_millis()).ok()?;
    Some(UnixMillis(now.0.saturating_sub(milliseconds)))
}

impl fmt::Display for Moment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => version.fmt(formatter),
            Self::ReadVersion(version) => write!(formatter, "read version {version}"),
            Self::Time(time) => time.fmt(formatter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    #[test]
    fn versions_times_and_relative_times_are_read() {
        assert_eq!(
            Moment::parse("0000000000000001002a", NOW),
            Ok(Moment::Version(Version::from_commit(1, 42)))
        );
        assert_eq!(
            Moment::parse("1970-01-01T00:01:00Z", NOW),
            Ok(Moment::Time(UnixMillis(60_000)))
        );
        assert_eq!(
            Moment::parse("1970-01-01T02:00:00+02:00", NOW),
            Ok(Moment::Time(UnixMillis(0)))
        );
        assert_eq!(
            Moment::parse("-15m", NOW),
            Ok(Moment::Time(UnixMillis(1_800_000_000_000 - 900_000)))
        );
        assert_eq!(
            Moment::parse("-1w", UnixMillis(5)),
            Ok(Moment::Time(UnixMillis(0)))
        );
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            "",
            "-",
            "-m",
            "-15",
            "-15y",
            "--5m",
            "-1é",
            "yesterday",
            "2026-13-01T00:00:00Z",
        ] {
            assert!(
                matches!(
                    Moment::parse(bad, NOW),
                    Err(ParseMomentError::NotAMoment { .. })
                ),
                "{bad}"
            );
        }
        assert!(matches!(
            Moment::parse("2999-01-01T00:00:00Z", NOW),
            Err(ParseMomentError::Future { .. })
        ));
    }

    #[test]
    fn shown_as_rfc_3339() {
        assert_eq!(UnixMillis(1_500).to_string(), "1970-01-01T00:00:01.500Z");
    }
}
