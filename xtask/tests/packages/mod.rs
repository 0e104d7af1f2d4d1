//! What the tests of the packages share: one run of the dist, and how programs are run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use tempfile::TempDir;

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
}

/// `cargo xtask dist`, without what the environment says about it.
pub(crate) fn xtask() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command
        .arg("dist")
        .env_remove("SOURCE_DATE_EPOCH")
        .env_remove("CARGO_BUILD_TARGET");
    command
}

/// The folder with the packages, which the first who asks has made.
pub(crate) fn dist() -> &'static Path {
    static DIST: LazyLock<PathBuf> = LazyLock::new(|| {
        // A folder that stays, and so does not fill the temporary one.
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dist");
        if out.exists() {
            fs::remove_dir_all(&out).expect("it is ours");
        }
        let told = run(xtask().args(["--profile", "dev"]).arg("--out").arg(&out));
        assert!(told.contains(" MB  verso-"), "{told}");
        out
    });
    &DIST
}

/// The one package whose name ends like that.
pub(crate) fn named(suffix: &str) -> PathBuf {
    let entries = fs::read_dir(dist()).expect("a folder");
    let names = entries.map(|entry| entry.expect("an entry").path());
    let found: Vec<_> = names
        .filter(|path| path.to_str().is_some_and(|path| path.ends_with(suffix)))
        .collect();
    let [found] = found.as_slice() else {
        panic!("no package, or several, that end in {suffix}: {found:?}");
    };
    found.clone()
}

/// What a program prints, which must succeed.
pub(crate) fn run(command: &mut Command) -> String {
    for variable in ["VERSO_STORE", "VERSO_WRITERS", "VERSO_DEFAULT_VFS"] {
        command.env_remove(variable);
    }
    let output = command.output();
    printed(output.unwrap_or_else(|error| panic!("{}: {error}", command.get_program().display())))
}

pub(crate) fn printed(output: Output) -> String {
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}{told}",
        String::from_utf8_lossy(&output.stdout)
    );
    String::from_utf8(output.stdout).expect("text")
}

/// The blocks of a language in a page of the repository.
pub(crate) fn blocks(page: &str, language: &str) -> Vec<String> {
    let text = fs::read_to_string(repository().join(page)).expect(page);
    let start = format!("```{language}\n");
    let rests = text.split(&start).skip(1);
    let blocks: Vec<_> = rests
        .filter_map(|rest| rest.split_once("```"))
        .map(|(block, _)| block.to_owned())
        .collect();
    assert!(!blocks.is_empty(), "{page} has no {language}");
    blocks
}
