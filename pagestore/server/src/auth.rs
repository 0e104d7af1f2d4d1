//! Tokens: who may do what. They come from a file that holds digests of them, never tokens.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// The SHA-256 of a token.
pub(crate) type Digest = [u8; 32];

/// What a token lets do. Each includes the ones before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Right {
    /// Look at databases.
    Read,
    /// Change and make them.
    Write,
    /// Rename, remove and load them.
    Admin,
}

impl fmt::Display for Right {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        })
    }
}

/// A file of tokens cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// It cannot be read.
    #[error("the tokens in {} cannot be read: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
    /// It does not say what it should.
    #[error("the tokens in {} cannot be used: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where. It quotes nothing of the file but names.
        reason: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    token: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    sha256: String,
    databases: Vec<String>,
    access: Right,
}

/// What one token lets do.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) name: String,
    databases: Vec<String>,
    pub(crate) right: Right,
}

impl Grant {
    /// Whether databases of this name are visible.
    pub(crate) fn covers(&self, name: &str) -> bool {
        self.databases.iter().any(|pattern| matches(pattern, name))
    }
}

struct Known {
    digest: Digest,
    grant: Arc<Grant>,
}

/// The tokens of a file, which can be read again while a node serves.
#[derive(Clone)]
pub struct Tokens {
    path: PathBuf,
    known: Arc<ArcSwap<Vec<Known>>>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Tokens")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Tokens {
    /// Reads a file of tokens.
    ///
    /// # Errors
    /// If it cannot be read, or does not say what it should.
    pub fn read(path: &Path) -> Result<Self, TokensError> {
        let known = read(path)?;
        Ok(Self {
            path: path.to_owned(),
            known: Arc::new(ArcSwap::from_pointee(known)),
        })
    }

    /// Reads the file again. The answer is how many tokens it has.
    ///
    /// # Errors
    /// If the file cannot be used. What it said before stays in force.
    pub fn reload(&self) -> Result<usize, TokensError> {
        let known = read(&self.path)?;
        let count = known.len();
        self.known.store(Arc::new(known));
        Ok(count)
    }

    /// What the token with this digest lets do. All digests are compared, in constant time.
    pub(crate) fn grant(&self, digest: &Digest) -> Option<Arc<Grant>> {
        let known = self.known.load();
        let mut found = None;
        for token in known.iter() {
            if bool::from(token.digest.ct_eq(digest)) {
                found = Some(Arc::clone(&token.grant));
            }
        }
        found
    }
}

pub(crate) fn digest_of(token: &[u8]) -> Digest {
    Sha256::digest(token).into()
}

fn read(path: &Path) -> Result<Vec<Known>, TokensError> {
    let text = fs::read_to_string(path).map_err(|reason| TokensError::Unreadable {
        path: path.to_owned(),
        reason,
    })?;
    parse(&text).map_err(|reason| TokensError::Invalid {
        path: path.to_owned(),
        reason,
    })
}

fn parse(text: &str) -> Result<Vec<Known>, String> {
    // The whole error would quote the line, which may hold a token by mistake.
    let file: File = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(0, |span| {
            text.bytes()
                .take(span.start)
                .filter(|byte| *byte == b'\n')
                .count()
                + 1
        });
        format!(
            "line {line}: it takes [[token]] entries of a name, a sha256, databases (a list) and an \
             access (read, write or admin)"
        )
    })?;
    let mut known: Vec<Known> = Vec::with_capacity(file.token.len());
    for entry in file.token {
        let token = entry.validated()?;
        if let Some(other) = known.iter().find(|other| other.digest == token.digest) {
            let (one, other) = (&token.grant.name, &other.grant.name);
            return Err(format!(
                "{one:?} and {other:?} have one sha256: keep one of them"
            ));
        }
        known.push(token);
    }
    Ok(known)
}

impl Entry {
    fn validated(self) -> Result<Known, String> {
        let name = self.name;
        if self.databases.is_empty() {
            return Err(format!(
                "the token {name:?} has no databases: give it patterns, \"*\" for all"
            ));
        }
        let digest = from_hex(&self.sha256).ok_or_else(|| {
            format!("the sha256 of the token {name:?} is not 64 hexadecimal digits")
        })?;
        if digest == digest_of(b"") {
            return Err(format!("the token {name:?} is empty"));
        }
        Ok(Known {
            digest,
            grant: Arc::new(Grant {
                name,
                databases: self.databases,
                right: self.access,
            }),
        })
    }
}

fn from_hex(text: &str) -> Option<Digest> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut digest = Digest::default();
    for (index, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(digest)
}

/// Whether a name is of a pattern, in which `*` stands for any characters, also none and `/`.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    let Some(mut left) = name
        .strip_prefix(first)
        .and_then(|name| name.strip_suffix(last))
    else {
        return false;
    };
    // The earliest place of each part leaves the most for those behind it.
    for part in middle.split('*') {
        match left.split_once(part) {
            _ if part.is_empty() => {}
            Some((_, behind)) => left = behind,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_matches_any_characters() {
        for (pattern, name, expected) in [
            ("*", "anything/at all", true),
            ("a", "a", true),
            ("a", "ab", false),
            ("a/*", "a/b/c", true),
            ("a/*", "a/", true),
            ("a/*", "a", false),
            ("a/*", "b/a/c", false),
            ("*.db", "x.db", true),
            ("*.db", "x.dbx", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("ä*ö", "ä→ö", true),
            ("a**b", "ab", true),
            ("*bc*bc*", "abcbc", true),
            ("*bc*bc*", "abc", false),
            ("?", "a", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} and {name}");
        }
    }

    fn refusal(text: &str) -> String {
        parse(text).map(|known| known.len()).unwrap_err()
    }

    #[test]
    fn errors_say_what_is_wrong_and_show_no_token() {
        let error = refusal("[[token]]\nname = 'a'\ntoken = 'secret'\n");
        assert!(
            error.contains("line 3") && error.contains("takes [[token]] entries"),
            "{error}"
        );
        assert!(!error.contains("secret"), "{error}");
        let rest = "databases = ['*']\naccess = 'read'\n";
        let error = refusal(&format!("[[token]]\nname = 'a'\nsha256 = 'secret'\n{rest}"));
        assert!(
            error.contains("\"a\" is not 64") && !error.contains("secret"),
            "{error}"
        );
        let one = format!(
            "[[token]]\nname = 'a'\nsha256 = '{}'\n{rest}",
            "0a".repeat(32)
        );
        assert!(parse(&one).is_ok());
        assert!(refusal(&format!("{one}{one}")).contains("one sha256"));
        for secret in ["token = 'secret'", &one.replace("'read'", "'secret'")] {
            let error = refusal(secret);
            assert!(
                error.contains("read, write or admin") && !error.contains("secret"),
                "{error}"
            );
        }
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert!(refusal(&one.replace(&"0a".repeat(32), empty)).contains("is empty"));
        assert!(refusal(&one.replace("['*']", "[]")).contains("no databases"));
    }
}
