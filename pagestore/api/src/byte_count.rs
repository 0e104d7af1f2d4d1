//! Numbers of bytes, as people write them.

/// A text is not a number of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a number of bytes: give one such as 4096, 512KiB, 256MiB or 1GiB")]
pub struct ParseBytesError {
    text: String,
}

/// Reads a number of bytes: a whole one, with or without one of the units B, KiB, MiB, GiB and TiB.
///
/// # Errors
/// If it is something else, or 2^64 bytes or more.
pub fn parse_bytes(text: &str) -> Result<u64, ParseBytesError> {
    let error = || ParseBytesError {
        text: text.to_owned(),
    };
    let end = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err(error()),
    };
    let number: u64 = number.parse().map_err(|_| error())?;
    number.checked_mul(unit).ok_or_else(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_powers_of_two() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("7B", 7),
            ("512KiB", 512 << 10),
            ("256 MiB", 256 << 20),
            ("1GiB", 1 << 30),
            ("2TiB", 2 << 40),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "MiB", "1MB", "1mib", "-1", "1.5GiB", "99999999TiB"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }
}
