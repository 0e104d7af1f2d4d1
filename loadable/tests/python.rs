//! Goal: the extension in Python, as an application there uses it: the module `sqlite3`,
//! `SQLAlchemy` and Django.
//! Method: programs in `hosts/`, run by Debian's `/usr/bin/python3`, print what they found, one
//! at a time and two processes at once. The lines that `docs/hosts/` gives are lines of these.
#![cfg(unix)]

mod common;
mod hosts;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{folder, library};

/// Debian's, whose SQLite is the system's.
const PYTHON: &str = "/usr/bin/python3";

/// A program of `hosts/`, and where its database is.
struct Host<'a> {
    python: PathBuf,
    program: &'a str,
    folder: &'a Path,
}

impl Host<'_> {
    /// What a step prints, which must succeed.
    fn run(&self, step: &[&str]) -> String {
        let mut command = Command::new(&self.python);
        if self.python == Path::new("valgrind") {
            // Python's own allocator would hide what is used after it was freed.
            command
                .args(["-q", "--error-exitcode=9", "--leak-check=no", PYTHON])
                .env("PYTHONMALLOC", "malloc");
        }
        let output = command
            .arg("-W")
            .arg("error::ResourceWarning")
            .arg(source("loadable/tests/hosts").join(self.program))
            .arg(library())
            .arg(self.folder.join("store.db"))
            .args(step)
            .current_dir(self.folder)
            .env_remove("VERSO_STORE")
            .env_remove("VERSO_WRITERS")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}", self.python.display()));
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.success() && told.is_empty(),
            "{} {step:?}: {told}",
            self.program
        );
        String::from_utf8(output.stdout).expect("text")
    }

    /// Two processes with the same step, each told its name, at once.
    fn run_two(&self, step: &str, count: &str) {
        std::thread::scope(|scope| {
            for writer in ["first", "second"] {
                scope.spawn(move || self.run(&[step, writer, count]));
            }
        });
    }
}

/// A file of the repository.
fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
        .join(path)
}

fn module(folder: &Path) -> Host<'_> {
    Host {
        python: PYTHON.into(),
        program: "module.py",
        folder,
    }
}

/// The Python that `hosts/setup.sh` made. Without it the test is skipped, unless that is forbidden.
fn installed<'a>(package: &str, program: &'a str, folder: &'a Path) -> Option<Host<'a>> {
    let python = hosts::folder().join("python/bin/python");
    if python.exists() {
        return Some(Host {
            python,
            program,
            folder,
        });
    }
    let told = format!("{package} is not installed (run loadable/tests/hosts/setup.sh)");
    hosts::missing("python", &told);
    None
}

fn sqlalchemy(folder: &Path) -> Option<Host<'_>> {
    installed("SQLAlchemy", "alchemy.py", folder)
}

fn django(folder: &Path) -> Option<Host<'_>> {
    installed("Django", "django_orm.py", folder)
}

/// Each block of Python of a page must be lines of a file that a test runs.
fn shows_what_runs(page: &str, programs: &[&str]) {
    let read = |path: &str| std::fs::read_to_string(source(path)).expect(path);
    let page = read(&format!("docs/hosts/{page}"));
    let programs: Vec<_> = programs
        .iter()
        .map(|name| read(&format!("loadable/tests/hosts/{name}")))
        .collect();
    let blocks: Vec<_> = page
        .split("```python\n")
        .skip(1)
        .filter_map(|rest| rest.split_once("```"))
        .map(|(block, _)| block)
        .collect();
    assert!(!blocks.is_empty(), "no block of Python");
    for block in blocks {
        let is_run = programs.iter().any(|program| program.contains(block));
        assert!(is_run, "no test runs these lines:\n{block}");
    }
}

#[test]
fn module_conflicts_are_run_again() {
    let folder = folder();
    let host = module(folder.path());
    assert_eq!(host.run(&["create"]), "2\n");
    assert_eq!(host.run(&["rollback"]), "0\n");
    assert_eq!(host.run(&["conflict"]), "517 False\n2 21\n");
    assert_eq!(host.run(&["statement"]), "2 32\n");
    assert_eq!(host.run(&["show"]), "32 0 []\n");
}

#[test]
fn module_opens_the_past() {
    let folder = folder();
    let host = module(folder.path());
    host.run(&["create"]);
    let refused = "attempt to write a readonly database";
    assert_eq!(host.run(&["past"]), format!("0 5\n{refused}\n"));
}

#[test]
fn module_writes_from_two_processes() {
    let folder = folder();
    let host = module(folder.path());
    host.run(&["create"]);
    host.run_two("work", "100");
    let notes = "[('first', 100), ('second', 100)]";
    assert_eq!(host.run(&["show"]), format!("200 200 {notes}\n"));
}

#[test]
fn module_takes_turns_in_its_default_mode() {
    let folder = folder();
    let host = module(folder.path());
    host.run(&["create"]);
    host.run_two("default_mode", "50");
    let notes = "[('first', 50), ('second', 50)]";
    assert_eq!(host.run(&["show"]), format!("100 -100 {notes}\n"));
}

/// Memory errors in the library, and in what it makes Python's SQLite do, end Python with 9.
#[test]
fn valgrind_finds_no_error_in_the_module() {
    let folder = folder();
    let host = Host {
        python: "valgrind".into(),
        ..module(folder.path())
    };
    assert_eq!(host.run(&["create"]), "2\n");
    assert_eq!(host.run(&["conflict"]), "517 False\n2 21\n");
    assert_eq!(host.run(&["statement"]), "2 32\n");
    let refused = "attempt to write a readonly database";
    assert_eq!(host.run(&["past"]), format!("32 37\n{refused}\n"));
}

#[test]
fn module_page_shows_what_runs() {
    shows_what_runs("python.md", &["module.py"]);
}

#[test]
fn sqlalchemy_conflicts_are_run_again() {
    let folder = folder();
    let Some(host) = sqlalchemy(folder.path()) else {
        return;
    };
    assert_eq!(host.run(&["create"]), "0\n");
    assert_eq!(host.run(&["rollback"]), "0\n");
    assert_eq!(host.run(&["conflict"]), "517\n2 21\n");
    assert_eq!(host.run(&["statement"]), "2 32\n");
    assert_eq!(host.run(&["show"]), "32 0 []\n");
}

#[test]
fn sqlalchemy_opens_the_past() {
    let folder = folder();
    let Some(host) = sqlalchemy(folder.path()) else {
        return;
    };
    host.run(&["create"]);
    let refused = "attempt to write a readonly database";
    assert_eq!(host.run(&["past"]), format!("0 5\n{refused}\n"));
}

#[test]
fn sqlalchemy_writes_from_two_processes() {
    let folder = folder();
    let Some(host) = sqlalchemy(folder.path()) else {
        return;
    };
    host.run(&["create"]);
    host.run_two("work", "100");
    let notes = "[('first', 100), ('second', 100)]";
    assert_eq!(host.run(&["show"]), format!("200 200 {notes}\n"));
}

#[test]
fn sqlalchemy_takes_turns_in_its_default_mode() {
    let folder = folder();
    let Some(host) = sqlalchemy(folder.path()) else {
        return;
    };
    host.run(&["create"]);
    host.run_two("default_mode", "50");
    let notes = "[('first', 50), ('second', 50)]";
    assert_eq!(host.run(&["show"]), format!("100 -100 {notes}\n"));
}

#[test]
fn sqlalchemy_page_shows_what_runs() {
    shows_what_runs("sqlalchemy.md", &["alchemy.py"]);
}

#[test]
fn django_migrates_and_runs_conflicts_again() {
    let folder = folder();
    let Some(host) = django(folder.path()) else {
        return;
    };
    assert_eq!(host.run(&["migrate"]), "['anna', 'bob']\n");
    assert_eq!(host.run(&["rows"]), "400 100\n");
    assert_eq!(host.run(&["rollback"]), "0\n");
    assert_eq!(host.run(&["conflict"]), "517\n2 21\n");
    assert_eq!(host.run(&["statement"]), "2 32\n");
    assert_eq!(host.run(&["show"]), "32 0 []\n");
}

#[test]
fn django_opens_the_past() {
    let folder = folder();
    let Some(host) = django(folder.path()) else {
        return;
    };
    host.run(&["migrate"]);
    let refused = "attempt to write a readonly database";
    assert_eq!(host.run(&["past"]), format!("0 5\n{refused}\n"));
}

#[test]
fn django_writes_from_two_processes() {
    let folder = folder();
    let Some(host) = django(folder.path()) else {
        return;
    };
    host.run(&["migrate"]);
    host.run_two("work", "100");
    let notes = "[('first', 100), ('second', 100)]";
    assert_eq!(host.run(&["show"]), format!("200 200 {notes}\n"));
}

#[test]
fn django_takes_turns() {
    let folder = folder();
    let Some(host) = django(folder.path()) else {
        return;
    };
    host.run(&["migrate"]);
    host.run_two("queued", "50");
    let notes = "[('first', 50), ('second', 50)]";
    assert_eq!(host.run(&["show"]), format!("100 -100 {notes}\n"));
}

#[test]
fn django_page_shows_what_runs() {
    shows_what_runs("django.md", &["django_orm.py", "shop/settings.py"]);
}
