//! The macOS that a Mach-O library is for, by its load command `LC_BUILD_VERSION`.

use anyhow::{Context, Result, ensure};
use object::Endianness;
use object::macho::{CPU_TYPE_ARM64, CPU_TYPE_X86_64, MachHeader64};
use object::read::macho::MachHeader;

use super::Cpu;

/// The oldest macOS that the library runs on.
pub(super) fn macos(library: &[u8], cpu: Cpu) -> Result<(u32, u32)> {
    read(library, cpu).context("cannot tell which macOS the library needs")
}

fn read(library: &[u8], cpu: Cpu) -> Result<(u32, u32)> {
    let header = MachHeader64::<Endianness>::parse(library, 0)?;
    let endian = header.endian()?;
    let expected = match cpu {
        Cpu::X86_64 => CPU_TYPE_X86_64,
        Cpu::Aarch64 => CPU_TYPE_ARM64,
    };
    ensure!(
        header.cputype(endian) == expected,
        "it is for another processor"
    );
    let mut commands = header.load_commands(endian, library, 0)?;
    while let Some(command) = commands.next()? {
        if let Some((version, _)) = command.build_version(endian)? {
            return Ok(tag(version.minos.get(endian).0));
        }
    }
    anyhow::bail!("it has no LC_BUILD_VERSION, and older ways to say so are not supported yet")
}

/// From `xxxx.yy.zz` in nibbles. Since macOS 11 a tag has no minor version but 0.
fn tag(version: u32) -> (u32, u32) {
    let (major, minor) = (version >> 16, version >> 8 & 0xff);
    (major, if major > 10 { 0 } else { minor })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header, and one load command that has nothing but a version.
    fn library(cpu: u32, command: u32, version: u32) -> Vec<u8> {
        let header = [0xfeed_facf, cpu, 0, 6, 1, 24, 0, 0];
        let command = [command, 24, 1, version, version, 0];
        let words = header.iter().chain(&command);
        words.flat_map(|word: &u32| word.to_le_bytes()).collect()
    }

    const ARM64: u32 = 0x0100_000c;
    const X86_64: u32 = 0x0100_0007;
    const LC_BUILD_VERSION: u32 = 0x32;
    const LC_UUID: u32 = 0x1b;

    #[test]
    fn the_version_is_that_of_the_load_command() {
        let told = |cpu, given, version| macos(&library(given, LC_BUILD_VERSION, version), cpu);
        assert_eq!(
            told(Cpu::Aarch64, ARM64, 0x000b_0000).expect("told"),
            (11, 0)
        );
        assert_eq!(
            told(Cpu::Aarch64, ARM64, 0x000d_0300).expect("told"),
            (13, 0)
        );
        assert_eq!(
            told(Cpu::X86_64, X86_64, 0x000a_0c00).expect("told"),
            (10, 12)
        );
        told(Cpu::X86_64, ARM64, 0x000b_0000).expect_err("another processor");
    }

    #[test]
    fn a_library_that_does_not_say_is_refused() {
        let error = macos(&library(ARM64, LC_UUID, 0), Cpu::Aarch64).expect_err("it does not say");
        assert!(
            format!("{error:#}").contains("not supported yet"),
            "{error:#}"
        );
    }
}
