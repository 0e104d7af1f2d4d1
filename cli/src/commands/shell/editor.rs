//! The shell on a terminal: line editing and history.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::Context as _;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Config, Editor, Helper};
use verso_pagestore::DatabaseName;

use super::{Flow, Shell, complete};

/// Lets the editor go on to the next line while a statement lacks its end.
struct Statements;

impl Validator for Statements {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let input = context.input();
        let whole =
            input.starts_with('.') || complete::is_empty(input) || complete::is_complete(input);
        Ok(if whole {
            ValidationResult::Valid(None)
        } else {
            ValidationResult::Incomplete
        })
    }
}

impl Completer for Statements {
    type Candidate = String;
}

impl Hinter for Statements {
    type Hint = String;
}

impl Highlighter for Statements {}
impl Helper for Statements {}

/// Reads and runs until the user has had enough.
pub(super) fn run(shell: &mut Shell<'_>, database: &DatabaseName) -> anyhow::Result<()> {
    let config = Config::builder()
        .max_history_size(10_000)?
        .auto_add_history(true)
        .build();
    let mut editor: Editor<Statements, FileHistory> =
        Editor::with_config(config).context("the terminal cannot be used")?;
    editor.set_helper(Some(Statements));
    let history = history_file();
    if let Some(path) = &history {
        // There is none yet at the first start.
        let _ = editor.load_history(path);
    }
    writeln!(
        shell.out,
        "verso {}, SQLite {}: .help shows the commands, .quit leaves",
        env!("CARGO_PKG_VERSION"),
        rusqlite::version()
    )?;
    let prompt = format!("{}> ", crate::output::printable(database.as_str()));
    let ended = read_loop(shell, &mut editor, &prompt);
    if let Some(path) = &history {
        save_history(&mut editor, path);
    }
    ended
}

fn read_loop(
    shell: &mut Shell<'_>,
    editor: &mut Editor<Statements, FileHistory>,
    prompt: &str,
) -> anyhow::Result<()> {
    loop {
        shell.out.flush()?;
        let mut line = match editor.readline(prompt) {
            Ok(line) => line,
            // Ctrl-C throws the typed text away.
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(error).context("the terminal cannot be read"),
        };
        line.push('\n');
        if let Some(interrupt) = &shell.interrupt {
            interrupt.forget();
        }
        match shell.line(&line) {
            Ok(Flow::Continue) => {}
            Ok(Flow::Quit) => return Ok(()),
            Err(error) => shell.report(&error)?,
        }
    }
}

fn save_history(editor: &mut Editor<Statements, FileHistory>, path: &Path) {
    // A history that cannot be kept is no reason to complain at every end.
    let _ = editor.append_history(path);
}

/// `verso/history` in the directory for state, if there is one, else `~/.verso_history`.
fn history_file() -> Option<PathBuf> {
    let home = env::home_dir().filter(|home| home.is_absolute());
    let state = env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| home.as_ref().map(|home| home.join(".local/state")))
        .filter(|path| path.is_dir())
        .map(|path| path.join("verso"));
    match state {
        Some(folder) if fs::create_dir_all(&folder).is_ok() => Some(folder.join("history")),
        Some(_) | None => home.map(|home| home.join(".verso_history")),
    }
}
