//! What a program in another language calls, after it has loaded this crate as a shared
//! library: it registers the VFS with the SQLite library of that program.

#![expect(
    unsafe_code,
    reason = "an interface for C, to libraries found at run time"
)]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::catch_unwind;
use std::ptr::NonNull;
use std::time::Duration;

/// The host's SQLite library, as Debian's programs are linked with it.
const HOST: &CStr = c"libsqlite3.so.0";
const OK: c_int = 0;
const FAILED: c_int = 1;

/// Registers the VFS `verso` with the `libsqlite3.so.0` that is loaded in this process.
/// Writer leases live so many milliseconds, or as long as by default if it is 0. Returns 0, or
/// 1 after a message on standard error. To be called once.
#[unsafe(no_mangle)]
extern "C" fn verso_tests_register(lease_ttl_ms: u64) -> c_int {
    match catch_unwind(|| register(lease_ttl_ms)) {
        Ok(Ok(())) => OK,
        Ok(Err(message)) => {
            eprintln!("verso_tests_register: {message}");
            FAILED
        }
        Err(_) => FAILED,
    }
}

fn register(lease_ttl_ms: u64) -> Result<(), String> {
    // SAFETY: loads nothing: it finds a library that the process has already, and runs no code.
    let host = unsafe { libc::dlopen(HOST.as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD) };
    let host = NonNull::new(host).ok_or("libsqlite3.so.0 is not loaded in this process")?;
    let lease = (lease_ttl_ms != 0).then(|| Duration::from_millis(lease_ttl_ms));
    let options = crate::options(lease);
    // SAFETY: the functions are of the one library, which stays loaded since its handle is
    // never closed. The program that loads this one does not unload it either.
    unsafe { verso_vfs::register_with(|name| symbol(host, name), options) }
        .map_err(|error| error.to_string())
}

fn symbol(library: NonNull<c_void>, name: &CStr) -> Option<NonNull<c_void>> {
    let name: *const c_char = name.as_ptr();
    // SAFETY: the library is open, and the name a C string.
    NonNull::new(unsafe { libc::dlsym(library.as_ptr(), name) })
}
