//! Numbers in as few bytes as they need: seven bits a byte, the lowest first; the top bit says that
//! more follow.

/// Appends a number.
pub(crate) fn put(bytes: &mut Vec<u8>, mut value: usize) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            bytes.push(low & 0x7f);
            return;
        }
        bytes.push(low | 0x80);
    }
}

/// Takes a number from the front; `None` if there is none.
pub(crate) fn take(bytes: &mut &[u8]) -> Option<usize> {
    let mut value = 0;
    for shift in (0..usize::BITS).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Appends a length, and so many bytes.
pub(crate) fn put_bytes(bytes: &mut Vec<u8>, value: &[u8]) {
    put(bytes, value.len());
    bytes.extend_from_slice(value);
}

/// Takes what [`put_bytes`] has put there; `None` if there is no such thing.
pub(crate) fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = take(bytes)?;
    take_exactly(bytes, length)
}

/// Takes so many bytes; `None` if there are fewer.
pub(crate) fn take_exactly<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (value, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for value in [0, 1, 127, 128, 300, 16_383, 16_384, 1 << 31, usize::MAX] {
            let mut bytes = Vec::new();
            put(&mut bytes, value);
            assert_eq!(take(&mut &bytes[..]), Some(value));
            bytes.pop();
            assert_eq!(take(&mut &bytes[..]), None);
        }
        let mut bytes = Vec::new();
        put(&mut bytes, 300);
        assert_eq!(bytes, b"\xac\x02");
        assert_eq!(take(&mut &[0xff; 20][..]), None);
    }
}
