//! SQL values as text: for people, as JSON, and as literals that SQLite reads back.

use std::borrow::Cow;
use std::fmt::Write as _;

use rusqlite::types::ValueRef;

/// A value as plain text: NULL is empty, a blob is an `X'..'` literal.
pub(crate) fn text(value: ValueRef<'_>) -> Cow<'_, str> {
    match value {
        ValueRef::Null => Cow::Borrowed(""),
        ValueRef::Integer(number) => Cow::Owned(number.to_string()),
        ValueRef::Real(number) => Cow::Owned(real(number)),
        ValueRef::Text(bytes) => String::from_utf8_lossy(bytes),
        ValueRef::Blob(bytes) => Cow::Owned(blob_literal(bytes)),
    }
}

/// A value as JSON: a blob is a string that holds its `X'..'` literal.
pub(crate) fn json(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "null".to_owned(),
        ValueRef::Integer(number) => number.to_string(),
        // JSON knows no infinity; this number is one to everyone who reads doubles.
        ValueRef::Real(number) if number.is_infinite() => {
            if number > 0.0 { "1e999" } else { "-1e999" }.to_owned()
        }
        ValueRef::Real(number) => real(number),
        ValueRef::Text(bytes) => json_string(&String::from_utf8_lossy(bytes)),
        ValueRef::Blob(bytes) => json_string(&blob_literal(bytes)),
    }
}

/// A text as a JSON string.
pub(crate) fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Appends a literal that any SQLite reads back as exactly this value.
pub(crate) fn literal(value: ValueRef<'_>, into: &mut String) {
    match value {
        ValueRef::Null => into.push_str("NULL"),
        ValueRef::Integer(number) => into.push_str(&number.to_string()),
        // Too large for a double, so read as infinity.
        ValueRef::Real(number) if number.is_infinite() => {
            into.push_str(if number > 0.0 {
                "9.0e+999"
            } else {
                "-9.0e+999"
            });
        }
        ValueRef::Real(number) => into.push_str(&real(number)),
        ValueRef::Text(bytes) => text_literal(bytes, into),
        ValueRef::Blob(bytes) => into.push_str(&blob_literal(bytes)),
    }
}

/// A string literal ends at a NUL for every SQLite, so NULs are joined in.
fn text_literal(bytes: &[u8], into: &mut String) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        // Only a database in UTF-8 can hold such a text, and for it this is exact.
        let _ = write!(into, "CAST({} AS TEXT)", blob_literal(bytes));
        return;
    };
    if !text.contains('\0') {
        quote(text, into);
        return;
    }
    into.push('(');
    for (index, part) in text.split('\0').enumerate() {
        if index > 0 {
            into.push_str("||char(0)||");
        }
        quote(part, into);
    }
    into.push(')');
}

/// Appends a string literal.
pub(crate) fn quote(text: &str, into: &mut String) {
    into.push('\'');
    into.push_str(&text.replace('\'', "''"));
    into.push('\'');
}

/// Appends a name, quoted only if it must be.
pub(crate) fn quote_name(name: &str, into: &mut String) {
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    let plain = name.bytes().next().is_some_and(letter)
        && name
            .bytes()
            .all(|byte| letter(byte) || byte.is_ascii_digit())
        && KEYWORDS
            .binary_search(&name.to_ascii_uppercase().as_str())
            .is_err();
    if plain {
        into.push_str(name);
        return;
    }
    into.push('"');
    into.push_str(&name.replace('"', "\"\""));
    into.push('"');
}

fn blob_literal(bytes: &[u8]) -> String {
    let mut literal = String::with_capacity(bytes.len() * 2 + 3);
    literal.push_str("X'");
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(literal, "{byte:02X}");
    }
    literal.push('\'');
    literal
}

/// <https://www.sqlite.org/lang_keywords.html>, sorted.
#[rustfmt::skip]
const KEYWORDS: &[&str] = &[
    "ABORT", "ACTION", "ADD", "AFTER", "ALL", "ALTER", "ALWAYS", "ANALYZE", "AND", "AS", "ASC",
    "ATTACH", "AUTOINCREMENT", "BEFORE", "BEGIN", "BETWEEN", "BY", "CASCADE", "CASE", "CAST",
    "CHECK", "COLLATE", "COLUMN", "COMMIT", "CONFLICT", "CONSTRAINT", "CREATE", "CROSS",
    "CURRENT", "CURRENT_DATE", "CURRENT_TIME", "CURRENT_TIMESTAMP", "DATABASE", "DEFAULT",
    "DEFERRABLE", "DEFERRED", "DELETE", "DESC", "DETACH", "DISTINCT", "DO", "DROP", "EACH",
    "ELSE", "END", "ESCAPE", "EXCEPT", "EXCLUDE", "EXCLUSIVE", "EXISTS", "EXPLAIN", "FAIL",
    "FILTER", "FIRST", "FOLLOWING", "FOR", "FOREIGN", "FROM", "FULL", "GENERATED", "GLOB",
    "GROUP", "GROUPS", "HAVING", "IF", "IGNORE", "IMMEDIATE", "IN", "INDEX", "INDEXED",
    "INITIALLY", "INNER", "INSERT", "INSTEAD", "INTERSECT", "INTO", "IS", "ISNULL", "JOIN",
    "KEY", "LAST", "LEFT", "LIKE", "LIMIT", "MATCH", "MATERIALIZED", "NATURAL", "NO", "NOT",
    "NOTHING", "NOTNULL", "NULL", "NULLS", "OF", "OFFSET", "ON", "OR", "ORDER", "OTHERS",
    "OUTER", "OVER", "PARTITION", "PLAN", "PRAGMA", "PRECEDING", "PRIMARY", "QUERY", "RAISE",
    "RANGE", "RECURSIVE", "REFERENCES", "REGEXP", "REINDEX", "RELEASE", "RENAME", "REPLACE",
    "RESTRICT", "RETURNING", "RIGHT", "ROLLBACK", "ROW", "ROWS", "SAVEPOINT", "SELECT", "SET",
    "TABLE", "TEMP", "TEMPORARY", "THEN", "TIES", "TO", "TRANSACTION", "TRIGGER", "UNBOUNDED",
    "UNION", "UNIQUE", "UPDATE", "USING", "VACUUM", "VALUES", "VIEW", "VIRTUAL", "WHEN",
    "WHERE", "WINDOW", "WITH", "WITHIN", "WITHOUT",
];

/// A number with the fewest digits that read back as the same one, in SQLite's form:
/// always with a point, and with an exponent only where it is very large or very small.
fn real(number: f64) -> String {
    if number.is_nan() {
        return String::new();
    }
    if number.is_infinite() {
        return if number > 0.0 { "Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..17).contains(&exponent) {
        let plain = number.to_string();
        return if plain.contains('.') {
            plain
        } else {
            plain + ".0"
        };
    }
    let point = if digits.contains('.') { "" } else { ".0" };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}{point}e{sign}{:02}", exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;
    use rusqlite::types::Value;

    use super::*;

    fn read_back(connection: &Connection, literal: &str) -> Value {
        connection
            .query_row(&format!("SELECT {literal}"), [], |row| row.get(0))
            .unwrap()
    }

    #[test]
    fn literals_read_back_as_the_same_value() {
        let connection = Connection::open_in_memory().unwrap();
        let values = [
            Value::Null,
            Value::Integer(i64::MIN + 1),
            Value::Integer(i64::MAX),
            Value::Real(0.1 + 0.2),
            Value::Real(-1e300),
            Value::Real(5e-324),
            Value::Real(1e15),
            Value::Real(123_456_789_012_345_680.0),
            Value::Real(f64::MAX),
            Value::Real(f64::INFINITY),
            Value::Real(f64::NEG_INFINITY),
            Value::Text("it's\nso \u{1f980}".into()),
            Value::Text("\0a\0'\0".into()),
            Value::Text(String::new()),
            Value::Blob(vec![]),
            Value::Blob(vec![0, 255, 16]),
        ];
        for value in values {
            let mut written = String::new();
            literal(ValueRef::from(&value), &mut written);
            assert_eq!(read_back(&connection, &written), value, "{written}");
        }
    }

    #[test]
    fn reals_read_back_exactly() {
        let connection = Connection::open_in_memory().unwrap();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let number = f64::from_bits(state);
            if !number.is_finite() {
                continue;
            }
            assert_eq!(read_back(&connection, &real(number)), Value::Real(number));
        }
    }

    #[test]
    fn reals_look_as_in_sqlite() {
        let connection = Connection::open_in_memory().unwrap();
        for number in [
            0.0, 1.0, -2.5, 100.0, 0.1, 1e-4, 1e-5, 1.5e-7, 1e15, 1e16, 1e17, 1e18, 1.25e21, 1e100,
        ] {
            let shown: String = connection
                .query_row("SELECT CAST(?1 AS TEXT)", [number], |row| row.get(0))
                .unwrap();
            assert_eq!(real(number), shown);
        }
    }

    #[test]
    fn text_that_is_not_utf8_stays_itself() {
        let connection = Connection::open_in_memory().unwrap();
        let mut written = String::new();
        literal(ValueRef::Text(b"a\xffb"), &mut written);
        let bytes: Vec<u8> = connection
            .query_row(&format!("SELECT CAST({written} AS BLOB)"), [], |row| {
                row.get(0)
            })
            .unwrap();
        assert_eq!(bytes, b"a\xffb");
    }

    #[test]
    fn names_are_quoted_only_if_they_must_be() {
        assert!(KEYWORDS.is_sorted());
        for (name, expected) in [
            ("t1", "t1"),
            ("Order", "\"Order\""),
            ("a b", "\"a b\""),
            ("1a", "\"1a\""),
            ("", "\"\""),
        ] {
            let mut written = String::new();
            quote_name(name, &mut written);
            assert_eq!(written, expected);
        }
    }

    #[test]
    fn json_is_json() {
        let values = [
            (Value::Null, "null"),
            (Value::Integer(-3), "-3"),
            (Value::Real(1.0), "1.0"),
            (Value::Real(f64::INFINITY), "1e999"),
            (Value::Text("a\"\n\u{1}".into()), r#""a\"\n\u0001""#),
            (Value::Blob(vec![1]), "\"X'01'\""),
        ];
        for (value, expected) in values {
            assert_eq!(json(ValueRef::from(&value)), expected);
        }
    }
}
