//! Where a library runs, in the words of Python's wheels and of npm: by its target, and by what
//! the library itself says that it needs.

mod elf;
mod macho;

use anyhow::{Result, bail};

/// An operating system that packages are made for.
#[derive(Clone, Copy)]
enum System {
    /// With the GNU C library.
    Linux,
    MacOs,
    Windows,
}

/// A processor that packages are made for.
#[derive(Clone, Copy)]
enum Cpu {
    X86_64,
    Aarch64,
}

/// What packages are made for.
#[derive(Clone, Copy)]
pub(crate) struct Platform {
    system: System,
    cpu: Cpu,
}

impl Platform {
    /// That of a target triple.
    pub(crate) fn of(triple: &str) -> Result<Self> {
        let (cpu, rest) = triple.split_once('-').unwrap_or((triple, ""));
        let cpu = match cpu {
            "x86_64" => Cpu::X86_64,
            "aarch64" => Cpu::Aarch64,
            _ => bail!(
                "packages for {triple} are not supported yet: its processor is none of x86_64 and aarch64"
            ),
        };
        let system = match rest {
            "unknown-linux-gnu" => System::Linux,
            "apple-darwin" => System::MacOs,
            "pc-windows-msvc" | "pc-windows-gnu" | "pc-windows-gnullvm" => System::Windows,
            _ => bail!(
                "packages for {triple} are not supported yet: its system is none of Linux with glibc, macOS and Windows"
            ),
        };
        Ok(Self { system, cpu })
    }

    /// The platform tag of a wheel with that library
    /// (<https://packaging.python.org/en/latest/specifications/platform-compatibility-tags/>).
    pub(crate) fn wheel_tag(self, library: &[u8]) -> Result<String> {
        Ok(match (self.system, self.cpu) {
            (System::Linux, cpu) => {
                let (major, minor) = elf::glibc(library, cpu)?;
                let cpu = match cpu {
                    Cpu::X86_64 => "x86_64",
                    Cpu::Aarch64 => "aarch64",
                };
                format!("manylinux_{major}_{minor}_{cpu}")
            }
            (System::MacOs, cpu) => {
                let (major, minor) = macho::macos(library, cpu)?;
                let cpu = match cpu {
                    Cpu::X86_64 => "x86_64",
                    Cpu::Aarch64 => "arm64",
                };
                format!("macosx_{major}_{minor}_{cpu}")
            }
            (System::Windows, Cpu::X86_64) => "win_amd64".to_owned(),
            (System::Windows, Cpu::Aarch64) => "win_arm64".to_owned(),
        })
    }

    /// As Node's `process.platform`.
    pub(crate) fn node_os(self) -> &'static str {
        match self.system {
            System::Linux => "linux",
            System::MacOs => "darwin",
            System::Windows => "win32",
        }
    }

    /// As Node's `process.arch`.
    pub(crate) fn node_cpu(self) -> &'static str {
        match self.cpu {
            Cpu::X86_64 => "x64",
            Cpu::Aarch64 => "arm64",
        }
    }

    /// The C library, where npm tells several of them apart.
    pub(crate) fn node_libc(self) -> Option<&'static str> {
        match self.system {
            System::Linux => Some("glibc"),
            System::MacOs | System::Windows => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_has_words_of_its_own() {
        let words = |triple| {
            let platform = Platform::of(triple).expect(triple);
            (
                platform.node_os(),
                platform.node_cpu(),
                platform.node_libc(),
            )
        };
        let linux = ("linux", "x64", Some("glibc"));
        assert_eq!(words("x86_64-unknown-linux-gnu"), linux);
        assert_eq!(words("aarch64-apple-darwin"), ("darwin", "arm64", None));
        assert_eq!(words("x86_64-pc-windows-msvc"), ("win32", "x64", None));
    }

    #[test]
    fn a_wheel_for_windows_goes_by_the_target() {
        let platform = Platform::of("x86_64-pc-windows-msvc").expect("a platform");
        assert_eq!(platform.wheel_tag(b"MZ").expect("a tag"), "win_amd64");
    }

    #[test]
    fn what_cannot_be_told_is_refused() {
        for triple in [
            "x86_64-unknown-linux-musl",
            "riscv64gc-unknown-linux-gnu",
            "x",
        ] {
            let error = Platform::of(triple).err().expect("refused").to_string();
            assert!(error.contains(triple), "{error}");
            assert!(error.contains("not supported yet"), "{error}");
        }
    }
}
