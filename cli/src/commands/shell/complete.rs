//! Whether a text ends after a whole statement, by the rules of `sqlite3_complete`
//! (<https://www.sqlite.org/c3ref/complete.html>).

use std::iter::Peekable;
use std::str::Chars;

/// The words and signs that matter here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Semicolon,
    Space,
    Other,
    Explain,
    Create,
    Temp,
    Trigger,
    End,
}

/// Where in a statement a text has come to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing but space so far.
    Empty,
    /// After a whole statement.
    Start,
    /// In a statement that is no `CREATE TRIGGER`.
    Normal,
    /// After `EXPLAIN`.
    Explain,
    /// After `CREATE`, perhaps `TEMP`.
    Create,
    /// In a trigger, whose statements end with semicolons of their own.
    Trigger,
    /// In a trigger, after a semicolon.
    TriggerSemicolon,
    /// In a trigger, after a semicolon and `END`.
    TriggerEnd,
}

impl State {
    fn after(self, token: Token) -> Self {
        match (self, token) {
            (state, Token::Space) => state,
            (Self::Trigger | Self::TriggerSemicolon, Token::Semicolon) => Self::TriggerSemicolon,
            (_, Token::Semicolon) => Self::Start,
            (Self::TriggerSemicolon, Token::End) => Self::TriggerEnd,
            (Self::Create, Token::Trigger)
            | (Self::Trigger | Self::TriggerSemicolon | Self::TriggerEnd, _) => Self::Trigger,
            (Self::Empty | Self::Start | Self::Explain, Token::Create)
            | (Self::Create, Token::Temp) => Self::Create,
            (Self::Empty | Self::Start, Token::Explain) | (Self::Explain, Token::Other) => {
                Self::Explain
            }
            (Self::Empty | Self::Start | Self::Normal | Self::Explain | Self::Create, _) => {
                Self::Normal
            }
        }
    }
}

/// Whether the text has no statement in it, complete or not.
pub(crate) fn is_empty(text: &str) -> bool {
    end_state(text) == Some(State::Empty)
}

/// Whether the text ends after a whole statement.
pub(crate) fn is_complete(text: &str) -> bool {
    end_state(text) == Some(State::Start)
}

/// `None` inside a string, a quoted name or a comment.
fn end_state(text: &str) -> Option<State> {
    let mut state = State::Empty;
    let mut characters = text.chars().peekable();
    while let Some(first) = characters.next() {
        state = state.after(token(first, &mut characters)?);
    }
    Some(state)
}

fn token(first: char, rest: &mut Peekable<Chars<'_>>) -> Option<Token> {
    match first {
        ';' => Some(Token::Semicolon),
        ' ' | '\t' | '\r' | '\n' | '\u{c}' => Some(Token::Space),
        '/' if rest.peek() == Some(&'*') => block_comment(rest),
        '-' if rest.peek() == Some(&'-') => {
            // The end of the text ends such a comment too.
            rest.by_ref().find(|&character| character == '\n');
            Some(Token::Space)
        }
        '[' => until(rest, ']'),
        '\'' | '"' | '`' => until(rest, first),
        _ if is_word(first) => Some(word(first, rest)),
        _ => Some(Token::Other),
    }
}

fn until(rest: &mut Peekable<Chars<'_>>, end: char) -> Option<Token> {
    rest.by_ref()
        .find(|&character| character == end)
        .map(|_| Token::Other)
}

fn block_comment(rest: &mut Peekable<Chars<'_>>) -> Option<Token> {
    rest.next();
    loop {
        if rest.next()? == '*' && rest.peek() == Some(&'/') {
            rest.next();
            return Some(Token::Space);
        }
    }
}

fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '$') || !character.is_ascii()
}

fn word(first: char, rest: &mut Peekable<Chars<'_>>) -> Token {
    let mut word = String::from(first);
    while let Some(next) = rest.next_if(|&character| is_word(character)) {
        word.push(next);
    }
    match word.to_ascii_lowercase().as_str() {
        "create" => Token::Create,
        "trigger" => Token::Trigger,
        "temp" | "temporary" => Token::Temp,
        "end" => Token::End,
        "explain" => Token::Explain,
        _ => Token::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_statements_are_complete() {
        for text in [
            ";",
            "SELECT 1;",
            "SELECT 1; -- comment",
            "SELECT 'a;b';",
            "SELECT \"a;\";\n",
            "SELECT 1 /* ; */ ;",
            "CREATE TABLE t(a);",
            "CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END;",
            "create temp trigger x after insert on t begin select 1; end ;",
            "EXPLAIN CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END;",
            "explain query plan select 1;",
            "SELECT 1; SELECT 2;",
            "select [;];",
        ] {
            assert!(is_complete(text), "{text}");
        }
    }

    #[test]
    fn parts_of_statements_are_not() {
        for text in [
            "",
            "  \n",
            "SELECT 1",
            "SELECT 1; SELECT",
            "SELECT 'a;",
            "SELECT 1 /* ;",
            "SELECT 1 -- ;",
            "CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT 1;",
            "CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END",
            "CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT CASE 1 WHEN 1 THEN 2 END;",
            "select [;",
        ] {
            assert!(!is_complete(text), "{text}");
        }
    }

    #[test]
    fn space_and_comments_are_empty() {
        assert!(is_empty(" \n-- nothing"));
        assert!(is_empty("/* nothing */"));
        assert!(!is_empty("x"));
        assert!(!is_empty("/* open"));
    }
}
