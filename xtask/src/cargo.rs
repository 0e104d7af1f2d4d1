//! Asks cargo: what the workspace is, and to build what is packed.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::bundle::read;

/// The workspace that this program is of.
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    pub(crate) version: String,
}

/// What is read of `cargo metadata`.
#[derive(Deserialize)]
struct Metadata {
    workspace_root: PathBuf,
    target_directory: PathBuf,
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
}

impl Workspace {
    /// As `cargo metadata` tells it.
    pub(crate) fn find() -> Result<Self> {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let output = Command::new(program())
            .args(["metadata", "--format-version", "1", "--no-deps", "--locked"])
            .args(["--manifest-path", manifest])
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run cargo")?;
        ensure!(
            output.status.success(),
            "cargo does not tell about the workspace, see above"
        );
        let told: Metadata =
            serde_json::from_slice(&output.stdout).context("cannot read what cargo tells")?;
        let library = told.packages.into_iter().find(|one| one.name == LIBRARY);
        let library = library.with_context(|| format!("the workspace has no {LIBRARY}"))?;
        Ok(Self {
            root: told.workspace_root,
            target: told.target_directory,
            version: library.version,
        })
    }
}

/// The cargo that runs this program, if one does.
fn program() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

const LIBRARY: &str = "verso-loadable";
const COMMAND: &str = "verso-cli";

/// A file that cargo made: its name, such as `libverso.so`, and its bytes.
pub(crate) struct Binary {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

impl Binary {
    fn read(path: &Path) -> Result<Self> {
        let name = path.file_name().and_then(|name| name.to_str());
        Ok(Self {
            name: name.context("a file without a name")?.to_owned(),
            bytes: read(path)?,
        })
    }
}

/// What is packed.
pub(crate) struct Built {
    pub(crate) library: Binary,
    pub(crate) command: Binary,
}

/// The triple that rustc compiles for when it is not told another.
pub(crate) fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(&rustc)
        .arg("-vV")
        .output()
        .with_context(|| format!("cannot run {}", rustc.display()))?;
    let told = String::from_utf8_lossy(&output.stdout);
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host
        .with_context(|| format!("{} -vV names no host", rustc.display()))?
        .to_owned())
}

/// Builds the library and the command, for the target if one is given.
pub(crate) fn build(workspace: &Workspace, profile: &str, target: Option<&str>) -> Result<Built> {
    let mut build = Command::new(program());
    build
        .args(["build", "--locked", "--profile", profile])
        .args(["--package", LIBRARY, "--package", COMMAND])
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(&workspace.root)
        .stdout(Stdio::piped());
    if let Some(target) = target {
        build.args(["--target", target]);
    }
    let mut child = build.spawn().context("cannot run cargo")?;
    let messages = child.stdout.take().expect("it is piped");
    let found = find(messages);
    let status = child.wait().context("cannot wait for cargo")?;
    ensure!(
        status.success(),
        "cargo could not build what is to be packed, see above"
    );
    let (library, command) = found?;
    Ok(Built {
        library: Binary::read(&library)?,
        command: Binary::read(&command)?,
    })
}

/// What is read of the messages of `cargo build`.
#[derive(Deserialize)]
struct Message {
    reason: String,
    target: Option<Target>,
    #[serde(default)]
    filenames: Vec<PathBuf>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// The message of a line, if it is of something that cargo made.
fn artifact(line: &str) -> Option<Message> {
    let message: Message = serde_json::from_str(line).ok()?;
    (message.reason == "compiler-artifact").then_some(message)
}

/// The paths of the library and of the command, from what cargo tells while it builds.
fn find(messages: impl Read) -> Result<(PathBuf, PathBuf)> {
    let (mut library, mut command) = (None, None);
    for line in BufReader::new(messages).lines() {
        let line = line.context("cannot read what cargo tells")?;
        // Build scripts and linkers may print other lines.
        let Some(made) = artifact(&line) else {
            continue;
        };
        let Some(target) = made.target.filter(|target| target.name == "verso") else {
            continue;
        };
        if target.kind.iter().any(|kind| kind == "cdylib") {
            library = made.filenames.into_iter().find(|path| is_loadable(path));
        } else if target.kind.iter().any(|kind| kind == "bin") {
            command = made.executable;
        }
    }
    match (library, command) {
        (Some(library), Some(command)) => Ok((library, command)),
        (None, _) => bail!(
            "cargo made no library that can be loaded: does {LIBRARY} still have the crate-type cdylib, and its target dynamic libraries?"
        ),
        (_, None) => bail!("cargo made no command: does {COMMAND} still have the binary verso?"),
    }
}

/// Not the library for Rust, that for linking, or debug information.
fn is_loadable(path: &Path) -> bool {
    let suffix = path.extension().and_then(|suffix| suffix.to_str());
    matches!(suffix, Some("so" | "dylib" | "dll"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What cargo tells of one crate, as far as it is read.
    fn message(kind: &str, files: &[&str], executable: Option<&str>) -> String {
        let message = serde_json::json!({
            "reason": "compiler-artifact", "target": { "kind": [kind], "name": "verso" },
            "filenames": files, "executable": executable,
        });
        format!("{message}\n")
    }

    #[test]
    fn the_files_are_found_among_others() {
        let told = message(
            "cdylib",
            &["/t/verso.dll.lib", "/t/verso.dll", "/t/verso.pdb"],
            None,
        ) + "{\"reason\":\"build-finished\",\"success\":true}\n"
            + &message("bin", &["/t/verso.exe"], Some("/t/verso.exe"));
        let (library, command) = find(told.as_bytes()).expect("both");
        assert_eq!(library, Path::new("/t/verso.dll"));
        assert_eq!(command, Path::new("/t/verso.exe"));
    }

    #[test]
    fn a_missing_one_is_named() {
        let told = message("cdylib", &["/t/libverso.rlib"], None)
            + &message("bin", &["/t/verso"], Some("/t/verso"));
        let error = find(told.as_bytes()).expect_err("there is no library");
        assert!(error.to_string().contains("crate-type cdylib"), "{error}");

        let told = message("cdylib", &["/t/libverso.so"], None);
        let error = find(told.as_bytes()).expect_err("there is no command");
        assert!(error.to_string().contains("verso-cli"), "{error}");
    }

    #[test]
    fn a_file_that_is_gone_is_named() {
        let error = Binary::read(Path::new("/no/such/libverso.so"))
            .err()
            .expect("it is gone");
        assert_eq!(error.to_string(), "cannot read /no/such/libverso.so");
    }
}
