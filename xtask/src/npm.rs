//! The npm package: the library in a folder `package`, with the modules that tell its path.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::archive::{self, Moment};
use crate::bundle::{Bundle, File, read};
use crate::cargo::{Built, Workspace};
use crate::platform::Platform;

/// The package's file name and bytes.
pub(crate) fn pack(
    workspace: &Workspace,
    built: &Built,
    platform: Platform,
    moment: Moment,
) -> Result<(String, Vec<u8>)> {
    let templates = workspace.root.join("packaging/npm");
    let version = workspace.version.as_str();
    let template = read(&templates.join("package.json"))?;
    let manifest = manifest(&template, version, platform, &built.library.name)
        .context("packaging/npm/package.json cannot be filled in")?;

    let mut bundle = Bundle::default();
    bundle.insert("package.json", File::plain(manifest));
    for file in ["README.md", "index.cjs", "index.d.ts", "index.mjs"] {
        bundle.insert_from(&templates, file, file)?;
    }
    for licence in ["LICENSE-APACHE", "LICENSE-MIT"] {
        bundle.insert_from(&workspace.root, licence, licence)?;
    }
    let library = File::executable(built.library.bytes.as_slice());
    bundle.insert(built.library.name.as_str(), library);

    let packed = archive::tar_gz("package", &bundle, moment)?;
    Ok((format!("verso-{version}.tgz"), packed))
}

/// The template with what depends on the version and on the platform.
fn manifest(template: &[u8], version: &str, platform: Platform, library: &str) -> Result<String> {
    let mut manifest: Value = serde_json::from_slice(template)?;
    let fields = manifest.as_object_mut().context("it is no object")?;
    fields.insert("version".into(), version.into());
    fields.insert("os".into(), json!([platform.node_os()]));
    fields.insert("cpu".into(), json!([platform.node_cpu()]));
    if let Some(libc) = platform.node_libc() {
        fields.insert("libc".into(), json!([libc]));
    }
    let files = fields.get_mut("files").and_then(Value::as_array_mut);
    files
        .context("it has no list of files")?
        .push(library.into());
    Ok(serde_json::to_string_pretty(&manifest)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_says_where_it_runs() {
        let template = br#"{"name": "n", "version": "0.0.0", "files": ["index.cjs"]}"#;
        let platform = Platform::of("x86_64-unknown-linux-gnu").expect("a platform");
        let filled = manifest(template, "1.2.3-rc.1", platform, "libverso.so").expect("filled");
        let filled: Value = serde_json::from_str(&filled).expect("JSON");
        let expected = json!({
            "name": "n", "version": "1.2.3-rc.1", "files": ["index.cjs", "libverso.so"],
            "os": ["linux"], "cpu": ["x64"], "libc": ["glibc"],
        });
        assert_eq!(filled, expected);
    }

    #[test]
    fn a_template_without_files_is_refused() {
        let platform = Platform::of("aarch64-apple-darwin").expect("a platform");
        let error = manifest(b"{}", "1.0.0", platform, "libverso.dylib").expect_err("refused");
        assert_eq!(error.to_string(), "it has no list of files");
    }
}
