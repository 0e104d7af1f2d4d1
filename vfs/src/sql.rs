//! The little that the VFS must know of SQL text: how a statement begins.

/// Whether the first word of a statement, behind all that SQLite skips, is this keyword, in
/// any case.
pub(crate) fn begins_with_keyword(statement: &[u8], keyword: &[u8]) -> bool {
    let rest = skip_to_word(statement);
    let Some((word, after)) = rest.split_at_checked(keyword.len()) else {
        return false;
    };
    let ends = after.first().is_none_or(|&next| !is_identifier(next));
    ends && word.eq_ignore_ascii_case(keyword)
}

/// Whether a word stands anywhere in a text, in any case.
pub(crate) fn contains_ignoring_case(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len())
        .any(|part| part.eq_ignore_ascii_case(word))
}

/// Whether a text may call a function of this name, or of one that ends so.
pub(crate) fn calls_function(text: &[u8], name: &[u8]) -> bool {
    // What may stand between a name, quoted or not, and its parenthesis. Of comments, the
    // first character is enough.
    let is_between = |byte: u8| byte.is_ascii_whitespace() || b"\"`]".contains(&byte);
    let is_called = |begin: usize| {
        let after = text.get(begin + name.len()..).unwrap_or_default();
        let next = after.iter().find(|byte| !is_between(**byte));
        next.is_some_and(|next| b"(/-".contains(next))
    };
    let first = name.first().map(u8::to_ascii_lowercase);
    let starts = text.iter().enumerate();
    let mut starts = starts.filter(|(_, byte)| Some(byte.to_ascii_lowercase()) == first);
    starts.any(|(begin, _)| {
        let part = text.get(begin..begin + name.len());
        part.is_some_and(|part| part.eq_ignore_ascii_case(name)) && is_called(begin)
    })
}

/// A byte order mark, which SQLite takes for white space.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The text from its first word on: behind white space, comments and empty statements.
fn skip_to_word(mut text: &[u8]) -> &[u8] {
    loop {
        text = text.trim_ascii_start();
        let end = if text.starts_with(b";") {
            Some(1)
        } else if text.starts_with(BYTE_ORDER_MARK) {
            Some(BYTE_ORDER_MARK.len())
        } else if text.starts_with(b"--") {
            text.iter()
                .position(|&byte| byte == b'\n')
                .map(|newline| newline + 1)
        } else if text.starts_with(b"/*") {
            let inside = text.get(2..).unwrap_or_default();
            inside
                .windows(2)
                .position(|pair| pair == b"*/")
                .map(|close| close + 4)
        } else {
            return text;
        };
        text = end.and_then(|end| text.get(end..)).unwrap_or_default();
    }
}

fn is_identifier(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || !byte.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_case_do_not_matter() {
        for text in [
            "RELEASE s",
            "release",
            " \n\tRelease\"s\"",
            "-- why\n-- and\nRELEASE s",
            "/* a */ /**/ /* * / */release s",
            ";RELEASE s",
            " ; ;; -- x\n ;RELEASE s",
            "\u{feff}RELEASE s",
        ] {
            assert!(begins_with_keyword(text.as_bytes(), b"RELEASE"), "{text}");
        }
        for text in [
            "",
            "RELEAS",
            "RELEASED",
            "release_s",
            "-- RELEASE s",
            "/* RELEASE */",
            "/*",
            "/*/",
        ] {
            assert!(!begins_with_keyword(text.as_bytes(), b"RELEASE"), "{text}");
        }
    }
}
