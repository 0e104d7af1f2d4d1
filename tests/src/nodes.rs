//! Page-store nodes for the tests: real processes of the command `verso serve`.
//!
//! Test stores are embedded, or in the FoundationDB cluster that `VERSO_TEST_FDB_CLUSTER` names by
//! its cluster file. With `VERSO_TEST_NODES=n` in the environment every test store is served by so
//! many nodes, and is used through them. A file beside the store tells other processes where they
//! are.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// How many nodes serve a test store.
const VARIABLE: &str = "VERSO_TEST_NODES";

/// The cluster file of the FoundationDB cluster that test stores are in.
const CLUSTER_VARIABLE: &str = "VERSO_TEST_FDB_CLUSTER";

/// The command, if it is not where cargo puts it.
const COMMAND_VARIABLE: &str = "VERSO_TEST_COMMAND";

/// A node. Dropping it kills it.
#[derive(Debug)]
pub struct Node {
    process: Child,
    address: String,
}

impl Node {
    /// Starts a node on a test store, at a port of its own choice.
    #[must_use]
    pub fn start(store: &Path) -> Self {
        Self::start_at(store, "127.0.0.1:0", &[])
    }

    /// Starts a node on a test store at an address, with more arguments.
    #[must_use]
    pub fn start_at(store: &Path, address: &str, arguments: &[&str]) -> Self {
        Self::start_on(&direct_url(store), address, arguments)
    }

    /// Starts a node on the store of a URL.
    fn start_on(store: &str, address: &str, arguments: &[&str]) -> Self {
        let mut process = Command::new(command())
            .arg("--store")
            .arg(store)
            .args(["serve", "--listen", address])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the command runs");
        let output = process.stdout.take().expect("it is piped");
        let mut line = String::new();
        BufReader::new(output)
            .read_line(&mut line)
            .expect("a node says where it listens");
        let address = line
            .trim_end()
            .rsplit_once("://")
            .unwrap_or_else(|| panic!("a node did not start: {line:?}"))
            .1
            .to_owned();
        Self { process, address }
    }

    /// Its host and port.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Ends it, as the kernel does when memory is out.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The command `verso`, beside the test programs.
fn command() -> PathBuf {
    if let Some(command) = std::env::var_os(COMMAND_VARIABLE) {
        return command.into();
    }
    let program = std::env::current_exe().expect("the test program has a path");
    // The test programs are in `target/debug/deps`.
    let folder = program.ancestors().nth(2).expect("cargo's folders");
    let command = folder.join("verso");
    assert!(
        command.exists(),
        "{} is missing: cargo build -p verso-cli",
        command.display()
    );
    command
}

/// How many nodes the environment asks for.
fn wanted() -> usize {
    let wanted = std::env::var(VARIABLE).unwrap_or_default();
    if wanted.is_empty() {
        return 0;
    }
    wanted.parse().expect("a number of nodes")
}

/// Whether test stores are served by nodes.
#[must_use]
pub fn are_wanted() -> bool {
    wanted() > 0
}

/// Whether test stores are in a FoundationDB cluster.
#[must_use]
pub fn on_a_cluster() -> bool {
    cluster().is_some()
}

/// The cluster file of the cluster that test stores are in.
fn cluster() -> Option<String> {
    let file = std::env::var(CLUSTER_VARIABLE).ok()?;
    (!file.is_empty()).then_some(file)
}

/// Starts as many nodes on a store as the environment asks for, and writes down how it is used.
pub(crate) fn serve(store: &Path, url: &str) -> Vec<Node> {
    let start = |_| Node::start_on(url, "127.0.0.1:0", &[]);
    let nodes: Vec<_> = (0..wanted()).map(start).collect();
    let addresses: Vec<_> = nodes.iter().map(Node::address).collect();
    if nodes.is_empty() {
        write_down(store, url);
    } else {
        write_down(store, &format!("http://{}", addresses.join(",")));
    }
    nodes
}

/// The file that says by which URL a store is used.
fn note(store: &Path) -> PathBuf {
    store.with_extension("nodes")
}

/// The URL by which a test store is used: that of its nodes, or else its own.
#[must_use]
pub fn url(store: &Path) -> String {
    std::fs::read_to_string(note(store)).unwrap_or_else(|_| direct_url(store))
}

/// The URL of a test store itself.
#[must_use]
pub fn direct_url(store: &Path) -> String {
    match cluster() {
        Some(cluster) => {
            // The folders of test stores have names of their own.
            let folder = store.parent().and_then(Path::file_name);
            let folder = folder.expect("a test store is in a folder");
            let folder = folder.to_string_lossy();
            format!("fdb:{cluster}?prefix=tests/{folder}")
        }
        None => embedded_url(store),
    }
}

pub(crate) fn embedded_url(store: &Path) -> String {
    format!("sqlite:{}", store.display())
}

/// Writes down by which URL a test store is used.
pub(crate) fn write_down(store: &Path, url: &str) {
    std::fs::write(note(store), url).expect("the folder takes a file");
}
