//! Goal: what cannot work is a clear error with what to do, and changes nothing.
//! Method: each bad input once, through SQLite; a full disk is a file size limit of a
//! child process.

use std::process::Command;

use rusqlite::Connection;
use verso_pagestore::{DatabaseName, StoreUrl};
use verso_tests::{TestStore, code, integer, open, text};

const CHILD: &str = "VERSO_TEST_FULL_DISK_STORE";

/// Opens a URI, which must fail with this code; returns the message behind it.
fn refused(uri: &str, expected: i32) -> String {
    let failed = open(uri).and_then(|db| db.execute_batch("SELECT * FROM sqlite_schema"));
    let error = failed.expect_err(uri);
    assert_eq!(code(&error) & 0xff, expected, "{uri}: {error}");
    verso_vfs::last_error().expect("the VFS said why")
}

#[test]
fn store_urls_that_cannot_be() {
    let store = TestStore::new();
    for (url, words) in [
        ("redis:x", "unknown scheme 'redis:'"),
        ("verso.db", "is not a store URL"),
        ("sqlite:", "names nothing"),
    ] {
        let message = refused(&format!("file:app.db?vfs=verso&store={url}"), 14);
        assert!(message.contains(words), "{message}");
    }
    let folder = store.folder().display();
    let message = refused(&format!("file:a?vfs=verso&store=sqlite:{folder}"), 14);
    assert!(message.contains(&folder.to_string()), "{message}");
    let message = refused(
        &format!("file:a?vfs=verso&store=sqlite:{folder}/no/such/store"),
        14,
    );
    assert!(message.contains("no/such/store"), "{message}");
}

#[test]
fn files_that_are_no_store_stay_as_they_are() {
    let store = TestStore::new();
    let plain = store.folder().join("plain.db");
    Connection::open(&plain)
        .unwrap()
        .execute_batch("CREATE TABLE t (n)")
        .unwrap();
    let text_file = store.folder().join("text.db");
    std::fs::write(
        &text_file,
        "this is not a database, but it is long enough to look at".repeat(20),
    )
    .unwrap();
    for path in [plain, text_file] {
        let before = std::fs::read(&path).unwrap();
        let uri = format!("file:app.db?vfs=verso&store=sqlite:{}", path.display());
        let message = refused(&uri, 26);
        assert!(message.contains("not a Verso store"), "{message}");
        assert_eq!(std::fs::read(&path).unwrap(), before, "{}", path.display());
    }
}

#[test]
fn a_store_of_a_newer_format_is_refused() {
    let store = TestStore::embedded();
    drop(store.connect("app.db"));
    let file = Connection::open(store.path()).unwrap();
    let newer = b"verso\0\0\0\x09".as_slice();
    let changed = file
        .execute("UPDATE kv SET value = ? WHERE key = x'6d'", [newer])
        .unwrap();
    assert_eq!(changed, 1);
    drop(file);
    let message = refused(&store.uri("app.db", ""), 14);
    assert!(
        message.contains("format 9") && message.contains("newer verso"),
        "{message}"
    );
}

#[test]
fn database_names_that_cannot_be() {
    let store = TestStore::new();
    let message = refused(&store.uri(&"x".repeat(513), ""), 14);
    assert!(
        message.contains("513 bytes") && message.contains("512"),
        "{message}"
    );
    let message = refused(&store.uri("a%0Ab", ""), 14);
    assert!(message.contains("control character"), "{message}");
    let message = refused(&store.uri("%ff", ""), 14);
    assert!(message.contains("UTF-8"), "{message}");
    assert!(store.try_connect(&"x".repeat(512), "").is_ok());
}

#[test]
fn moments_that_cannot_be() {
    let store = TestStore::new();
    store
        .connect("app.db")
        .execute_batch("CREATE TABLE t (n)")
        .unwrap();
    for (at, words) in [
        ("yesterday", "is not a moment"),
        ("2999-01-01T00:00:00Z", "in the future"),
        ("1999-01-01T00:00:00Z", "oldest version"),
        ("ffffffffffffffffffff", "has no version"),
    ] {
        let message = refused(&store.uri("app.db", &format!("&at={at}")), 14);
        assert!(message.contains(words), "{message}");
    }
    let message = refused(&store.uri("other.db", "&at=-1m"), 14);
    assert!(message.contains("no such database: other.db"), "{message}");
}

#[test]
fn a_wrong_checksum_is_corrupt_to_sql_and_named() {
    let store = TestStore::in_a_file();
    let db = store.connect("app.db");
    db.execute_batch("CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (1)")
        .unwrap();
    drop(db);
    store.settle();
    let file = Connection::open(store.path()).unwrap();
    // The page number stands behind 'd', eight bytes of id, and 'p'.
    let damage = "UPDATE kv SET value = CAST(substr(value, 1, length(value) - 1) || x'00' AS BLOB) \
                  WHERE substr(key, 1, 1) = x'64' AND substr(key, 10, 5) = x'7000000002'";
    assert!(file.execute(damage, []).unwrap() > 0);
    drop(file);
    let db = store.connect("app.db");
    let error = db
        .query_row("SELECT n FROM t", [], |row| row.get::<_, i64>(0))
        .unwrap_err();
    assert_eq!(code(&error) & 0xff, 11, "{error}");
    let message = verso_vfs::last_error().unwrap();
    assert!(
        message.contains("page 2") && message.contains("checksum"),
        "{message}"
    );
}

/// Writes until the disk is full. Does nothing unless started by the test below.
#[test]
#[cfg(unix)]
#[expect(unsafe_code, reason = "setrlimit and signal have no safe wrapper here")]
fn fills_the_disk() {
    let Ok(path) = std::env::var(CHILD) else {
        return;
    };
    let limit = libc::rlimit {
        rlim_cur: 3 << 20,
        rlim_max: 3 << 20,
    };
    // SAFETY: changes limits and signals of this child process only.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit), 0);
    }
    let db = open(&verso_tests::uri(path.as_ref(), "app.db", "")).unwrap();
    let mut acknowledged = 0;
    let error = loop {
        match db.execute("INSERT INTO t VALUES (randomblob(100000))", []) {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 1000, "the limit never took effect");
    };
    let message = verso_vfs::last_error().unwrap();
    println!(
        "acknowledged={acknowledged} code={} {message}",
        code(&error) & 0xff
    );
    assert_eq!(
        integer(&db, "SELECT count(*) FROM t"),
        acknowledged,
        "reads go on"
    );
}

#[test]
#[cfg(unix)]
fn a_file_size_limit_in_the_middle_of_a_commit_loses_nothing() {
    let store = TestStore::embedded();
    store
        .connect("app.db")
        .execute_batch("CREATE TABLE t (b BLOB)")
        .unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "fills_the_disk", "--nocapture"])
        .env(CHILD, store.path())
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{out} {}",
        String::from_utf8_lossy(&output.stderr)
    );
    // A file over the process's limit is an I/O error to SQLite, unlike a full disk.
    assert!(out.contains("code=10") && out.contains("store.db"), "{out}");
    let acknowledged: i64 = out
        .split("acknowledged=")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap();
    assert!(acknowledged > 0);
    let db = store.connect("app.db");
    assert_eq!(integer(&db, "SELECT count(*) FROM t"), acknowledged);
    assert_eq!(text(&db, "PRAGMA integrity_check"), "ok");
    db.execute_batch("INSERT INTO t VALUES (1)").unwrap();
    let pages = verso_open::open(&StoreUrl::Sqlite(store.path())).unwrap();
    let info = pages.info(&DatabaseName::new("app.db").unwrap()).unwrap();
    assert!(pages.verify(info.id, None).unwrap().corrupt.is_empty());
}

/// A file system in memory, unmounted with this value.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(folder: &std::path::Path) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
            .arg(folder)
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then(|| Self(folder.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_full_to_sql_and_usable_once_there_is_room() {
    let store = TestStore::embedded();
    let Some(disk) = SmallDisk::mount(store.folder()) else {
        println!("skipped: mounting a small file system needs root");
        return;
    };
    let filler = disk.0.join("filler");
    std::fs::write(&filler, vec![0; 1 << 20]).unwrap();
    // The new disk hides what was written down beside the store.
    let uri = format!(
        "file:app.db?vfs=verso&store=sqlite:{}",
        store.path().display()
    );
    let db = open(&uri).unwrap();
    db.execute_batch("CREATE TABLE t (b BLOB)").unwrap();
    let mut acknowledged = 0;
    let error = loop {
        match db.execute("INSERT INTO t VALUES (randomblob(50000))", []) {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(code(&error), 13, "{error}");
    assert!(verso_vfs::last_error().unwrap().contains("is full"));
    assert_eq!(integer(&db, "SELECT count(*) FROM t"), acknowledged);
    assert!(acknowledged > 5);
    std::fs::remove_file(&filler).unwrap();
    db.execute_batch("INSERT INTO t VALUES (1)").unwrap();
    assert_eq!(integer(&db, "SELECT count(*) FROM t"), acknowledged + 1);
    assert_eq!(text(&db, "PRAGMA integrity_check"), "ok");
}
