//! Goal: every example in docs/sql.md does what the page says.
//! Method: the SQL blocks of the page run in a stock shell, and each answer is compared with
//! the comment behind its statement.
#![cfg(unix)]

mod common;
mod hosts;
mod shells;
mod sqlite_shell;

use common::{folder, library};
use shells::in_every_shell;
use sqlite_shell::shell;

/// What stands between answers in the output.
const MARK: &str = "== end of a statement";

/// A statement of the page, and the lines that it answers.
struct Example {
    statement: String,
    answer: Vec<String>,
}

fn examples(page: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut in_sql = false;
    for line in page.lines() {
        if let Some(fence) = line.strip_prefix("```") {
            in_sql = fence == "sql";
        } else if let (true, Some(answer)) = (in_sql, line.strip_prefix("-- ")) {
            let last = examples.last_mut().expect("a statement comes first");
            last.answer.push(answer.to_owned());
        } else if in_sql {
            examples.push(Example {
                statement: line.to_owned(),
                answer: Vec::new(),
            });
        }
    }
    examples
}

/// Whether a line is as the page says, where `…` stands for anything.
fn fits(line: &str, expected: &str) -> bool {
    let mut parts = expected.split('…');
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else {
        return false;
    };
    let mut is_open = false;
    for part in parts {
        is_open = part.is_empty();
        let Some(found) = rest.find(part) else {
            return false;
        };
        rest = rest.get(found + part.len()..).unwrap_or_default();
    }
    is_open || rest.is_empty()
}

/// A failure as newer shells tell it, which leave out the number that older ones have behind it.
fn without_code(said: &str) -> &str {
    said.strip_suffix(" (8)").unwrap_or(said)
}

in_every_shell! {
    the_page_tells_the_truth,
}

fn the_page_tells_the_truth(sqlite3: &str) {
    let examples = examples(include_str!("../../docs/sql.md"));
    assert!(examples.len() > 20, "the page has examples");
    let folder = folder();
    let mut script = format!(
        ".load {}\n.open file:sql.db?vfs=verso\n",
        library().display()
    );
    let end = format!("\n.print {MARK}\n");
    for example in &examples {
        script.push_str(&example.statement);
        script.push_str(&end);
    }
    // Failures are examples too: they go where the answers go.
    let output = shell(
        folder.path(),
        &format!("{sqlite3} -batch 2>&1"),
        &[],
        &script,
    );
    let printed = String::from_utf8(output.stdout).expect("text");
    let answers: Vec<&str> = printed.split(MARK).collect();
    assert_eq!(answers.len(), examples.len() + 1, "{printed}");
    for (example, answer) in examples.iter().zip(answers) {
        let lines: Vec<&str> = answer.lines().filter(|line| !line.is_empty()).collect();
        let Example { statement, answer } = example;
        let fit = lines.len() == answer.len()
            && lines
                .iter()
                .zip(answer)
                .all(|(line, said)| fits(line, said) || fits(line, without_code(said)));
        assert!(fit, "{statement}\nanswers {lines:?}\ninstead of {answer:?}");
    }
}

#[test]
fn dots_stand_for_anything() {
    assert!(fits("abc", "abc") && fits("abc", "a…c") && fits("abc", "…") && fits("abc", "ab…"));
    assert!(!fits("abc", "ab") && !fits("abc", "b…") && !fits("abcd", "a…c"));
}
