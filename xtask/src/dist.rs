//! `cargo xtask dist`: builds the extension and the command, and packs them three ways.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use crate::archive::{self, Moment};
use crate::bundle::{Bundle, File};
use crate::cargo::{self, Built, Workspace};
use crate::platform::Platform;
use crate::{npm, wheel};

/// What to build, and where to put it.
#[derive(Args)]
pub(crate) struct Options {
    /// Folder for the packages; without it `dist` in cargo's target folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Cargo's profile to build with
    #[arg(long, default_value = "release")]
    profile: String,
    /// Target to build for; without it this machine's
    #[arg(long, value_name = "TRIPLE", env = "CARGO_BUILD_TARGET")]
    target: Option<String>,
}

/// Builds and packs, and says what was made.
pub(crate) fn run(options: &Options) -> Result<()> {
    // What can fail at once does so before the build.
    let moment = Moment::of_the_source()?;
    let triple = match &options.target {
        Some(target) => target.clone(),
        None => cargo::host()?,
    };
    let platform = Platform::of(&triple)?;
    let workspace = Workspace::find()?;
    let out = options.out.clone();
    let out = out.unwrap_or_else(|| workspace.target.join("dist"));
    prepare(&out)?;

    let built = cargo::build(&workspace, &options.profile, options.target.as_deref())?;
    let mut packages = Bundle::default();
    for (name, bytes) in [
        binaries(&workspace, &built, &triple, moment)?,
        wheel::pack(&workspace, &built, platform, moment)?,
        npm::pack(&workspace, &built, platform, moment)?,
    ] {
        packages.insert(name, File::plain(bytes));
    }
    packages.insert("SHA256SUMS", File::plain(packages.sums()));

    println!("In {}:", out.display());
    for (name, file) in packages.iter() {
        let path = out.join(name);
        fs::write(&path, &file.bytes).with_context(|| cannot_write(&path))?;
        println!("{:>12}  {name}", size(file.bytes.len()));
    }
    Ok(())
}

/// Makes the folder, and finds out that it can be written.
fn prepare(out: &Path) -> Result<()> {
    fs::create_dir_all(out).with_context(|| cannot_write(out))?;
    let sums = out.join("SHA256SUMS");
    fs::write(&sums, "").with_context(|| cannot_write(&sums))
}

fn cannot_write(path: &Path) -> String {
    format!(
        "cannot write {}: give another folder with --out",
        path.display()
    )
}

/// The archive for those who use neither Python nor Node.
fn binaries(
    workspace: &Workspace,
    built: &Built,
    triple: &str,
    moment: Moment,
) -> Result<(String, Vec<u8>)> {
    let mut bundle = Bundle::default();
    for binary in [&built.library, &built.command] {
        bundle.insert(&*binary.name, File::executable(&*binary.bytes));
    }
    let root = &workspace.root;
    bundle.insert_folder(&root.join("docs"), "docs")?;
    for file in [
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "README.md",
        // The README links to these.
        "bench/results/ratios.svg",
        "vfs/examples/quickstart.rs",
    ] {
        bundle.insert_from(root, file, file)?;
    }
    bundle.insert("SHA256SUMS", File::plain(bundle.sums()));

    let top = format!("verso-{}-{triple}", workspace.version);
    let packed = archive::tar_gz(&top, &bundle, moment)?;
    Ok((format!("{top}.tar.gz"), packed))
}

/// A size for people, rounded up, in units of 1000 bytes as disks have them.
fn size(bytes: usize) -> String {
    let (tenth, unit) = if bytes < 1_000_000 {
        (100, "kB")
    } else {
        (100_000, "MB")
    };
    let tenths = bytes.div_ceil(tenth);
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit() {
        assert_eq!(size(310), "0.4 kB");
        assert_eq!(size(999_870), "999.9 kB");
        assert_eq!(size(12_345_678), "12.4 MB");
    }
}
