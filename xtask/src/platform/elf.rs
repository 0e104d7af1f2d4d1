//! What an ELF library needs of a Linux: the version of glibc, by its version requirements.

use anyhow::{Context, Result, bail, ensure};
use object::Endianness;
use object::elf::{DT_NEEDED, EM_AARCH64, EM_X86_64, FileHeader64};
use object::read::elf::FileHeader;

use super::Cpu;

/// `manylinux` lets a library need these of the system, and Rust's standard library needs no other.
const OF_EVERY_LINUX: [&str; 7] = [
    "libc.so.6",
    "libdl.so.2",
    "libgcc_s.so.1",
    "libm.so.6",
    "libpthread.so.0",
    "librt.so.1",
    "libutil.so.1",
];

/// The oldest glibc that Rust supports; pip knows no older tag on most processors.
const OLDEST: (u32, u32) = (2, 17);

/// The oldest glibc that has every symbol that the library takes from it.
pub(super) fn glibc(library: &[u8], cpu: Cpu) -> Result<(u32, u32)> {
    let needs =
        Needs::read(library, cpu).context("cannot tell what the library needs of a Linux")?;
    for name in &needs.libraries {
        let known = OF_EVERY_LINUX.contains(&name.as_str()) || name.starts_with("ld-linux");
        ensure!(
            known,
            "the library needs {name}, which not every Linux has: link it statically"
        );
    }
    newest(&needs.versions)
}

/// The newest of some version requirements, those of other libraries than glibc aside.
fn newest(versions: &[String]) -> Result<(u32, u32)> {
    let mut newest = OLDEST;
    for version in versions {
        let Some(number) = version.strip_prefix("GLIBC_") else {
            continue;
        };
        let parsed = match number {
            // Relative relocations, which the dynamic linker understands since then.
            "ABI_DT_RELR" => Some((2, 36)),
            _ => parse(number),
        };
        match parsed {
            Some(parsed) => newest = newest.max(parsed),
            None => bail!("the library needs {version}, of which no version of glibc can be told"),
        }
    }
    Ok(newest)
}

/// `2.34` or `2.2.5`, of which a tag has the first two numbers.
fn parse(number: &str) -> Option<(u32, u32)> {
    let mut parts = number.split('.').map(str::parse);
    match (parts.next()?, parts.next()?) {
        (Ok(major), Ok(minor)) => Some((major, minor)),
        _ => None,
    }
}

/// What the dynamic linker must find.
struct Needs {
    /// Such as `libm.so.6`.
    libraries: Vec<String>,
    /// Such as `GLIBC_2.29`.
    versions: Vec<String>,
}

impl Needs {
    fn read(library: &[u8], cpu: Cpu) -> Result<Self> {
        let header = FileHeader64::<Endianness>::parse(library)?;
        let endian = header.endian()?;
        let machine = match cpu {
            Cpu::X86_64 => EM_X86_64,
            Cpu::Aarch64 => EM_AARCH64,
        };
        ensure!(
            header.e_machine(endian) == machine,
            "it is for another processor"
        );
        let sections = header.sections(endian, library)?;

        let table = sections.dynamic_table(endian, library)?;
        let mut libraries = Vec::new();
        for entry in &table {
            if entry.tag == DT_NEEDED {
                libraries.push(text(table.string(entry)?)?);
            }
        }

        let mut versions = Vec::new();
        if let Some((files, strings)) = sections.gnu_verneed(endian, library)? {
            let strings = sections.strings(endian, library, strings)?;
            for file in files {
                let (_, needed) = file?;
                for version in needed {
                    versions.push(text(version?.name(endian, strings)?)?);
                }
            }
        }
        ensure!(!versions.is_empty(), "it has no versions of symbols");
        Ok(Self {
            libraries,
            versions,
        })
    }
}

fn text(bytes: &[u8]) -> Result<String> {
    let text = str::from_utf8(bytes).context("a name that is not UTF-8")?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newest_of(versions: &[&str]) -> Result<(u32, u32)> {
        let versions: Vec<_> = versions.iter().map(|&one| one.to_owned()).collect();
        newest(&versions)
    }

    #[test]
    fn versions_compare_as_numbers() {
        let needed = ["GCC_4.2.0", "GLIBC_2.2.5", "GLIBC_2.34", "GLIBC_2.4"];
        assert_eq!(newest_of(&needed).expect("a version"), (2, 34));
        assert_eq!(newest_of(&["GLIBC_2.2.5"]).expect("a version"), OLDEST);
        let relative = ["GLIBC_2.34", "GLIBC_ABI_DT_RELR"];
        assert_eq!(newest_of(&relative).expect("a version"), (2, 36));
    }

    #[test]
    fn a_private_symbol_is_refused() {
        let error = newest_of(&["GLIBC_PRIVATE"]).expect_err("it is refused");
        assert!(error.to_string().contains("GLIBC_PRIVATE"), "{error}");
    }

    /// The test program is itself of that kind.
    #[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
    #[test]
    fn a_program_says_what_it_needs() {
        let program = std::env::current_exe().expect("the test program has a path");
        let program = std::fs::read(program).expect("it is read");
        let (major, minor) = glibc(&program, Cpu::X86_64).expect("a version");
        assert!(major == 2 && minor >= 17, "{major}.{minor}");

        let error = glibc(&program, Cpu::Aarch64).expect_err("another processor");
        assert!(
            format!("{error:#}").contains("another processor"),
            "{error:#}"
        );
    }

    #[test]
    fn what_is_no_library_is_refused() {
        let error = glibc(b"#!/bin/sh\n", Cpu::X86_64).expect_err("it is refused");
        assert!(error.to_string().contains("needs of a Linux"), "{error}");
    }
}
