//! Programs in Python, from `tests/python`. Their SQLite is the system's `libsqlite3`, and
//! the VFS comes into it from this crate as a shared library.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The system's Python, since another one may bring an SQLite of its own.
const PYTHON: &str = "/usr/bin/python3";
const LIBRARY: &str = "VERSO_LIBRARY";
/// A program that takes longer hangs.
const LIMIT: Duration = Duration::from_mins(5);

/// The shared library that cargo makes of this crate, beside the test programs.
#[must_use]
pub fn library() -> PathBuf {
    let program = std::env::current_exe().expect("the test program has a path");
    let file = format!(
        "{}verso_tests{}",
        std::env::consts::DLL_PREFIX,
        std::env::consts::DLL_SUFFIX
    );
    let library = program.with_file_name(file);
    assert!(
        library.exists(),
        "{} is missing: `cargo test -p verso-tests` makes it",
        library.display()
    );
    library
}

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    limit: Duration,
    deadline: Instant,
    output: Option<JoinHandle<String>>,
    errors: Option<JoinHandle<String>>,
}

impl Program {
    /// Starts a program of `tests/python` on the store at a path.
    #[must_use]
    pub fn start(name: &str, store: &Path, arguments: &[&str]) -> Self {
        Self::start_limited(name, store, arguments, LIMIT)
    }

    /// Starts a program that may take so long.
    #[must_use]
    pub fn start_limited(name: &str, store: &Path, arguments: &[&str], limit: Duration) -> Self {
        require_python();
        let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("python");
        let mut child = python()
            .arg(programs.join(name))
            .arg(store)
            .args(arguments)
            .env(LIBRARY, library())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{PYTHON}: {error}"));
        Self {
            name: name.to_owned(),
            output: child.stdout.take().map(collect),
            errors: child.stderr.take().map(collect),
            child,
            limit,
            deadline: Instant::now() + limit,
        }
    }

    /// Waits until it has ended, and returns the lines of its standard output.
    ///
    /// # Errors
    /// What it wrote, if it failed or took too long. It does not run any more then.
    pub fn outcome(mut self) -> Result<Vec<String>, String> {
        let status = self.wait();
        if status.is_none() {
            self.kill();
        }
        let output = text(self.output.take());
        let errors = text(self.errors.take());
        let ended = match status {
            Some(status) if status.success() => {
                return Ok(output.lines().map(str::to_owned).collect());
            }
            Some(status) => status.to_string(),
            None => format!("killed after {:?}", self.limit),
        };
        Err(format!("{}: {ended}\n{output}{errors}", self.name))
    }

    /// Waits until it has ended well, and returns the lines of its standard output.
    #[must_use]
    pub fn finish(self) -> Vec<String> {
        self.outcome().unwrap_or_else(|failure| panic!("{failure}"))
    }

    /// How it ended; `None` if it did not in time.
    fn wait(&mut self) -> Option<ExitStatus> {
        loop {
            let status = self.child.try_wait().expect("a child can be waited for");
            if status.is_some() || Instant::now() >= self.deadline {
                return status;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn kill(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Python without the user's settings, and without files of bytecode beside the programs.
fn python() -> Command {
    let mut command = Command::new(PYTHON);
    command.args(["-E", "-s", "-B"]);
    command
}

/// Fails the test if there is no Python with an SQLite.
fn require_python() {
    static WORKS: OnceLock<bool> = OnceLock::new();
    let works = *WORKS.get_or_init(|| {
        let check = python().args(["-c", "import sqlite3"]).output();
        check.is_ok_and(|output| output.status.success())
    });
    assert!(
        works,
        "{PYTHON} with its module sqlite3 is missing: apt-get install python3"
    );
}

/// Reads all output while the program runs, which would stop at a full pipe.
fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What could be read until then is worth showing.
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn text(reader: Option<JoinHandle<String>>) -> String {
    let reader = reader.expect("its output is piped, and collected once");
    reader.join().expect("the reader does not panic")
}
