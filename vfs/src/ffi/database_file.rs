//! An open database, as the file that SQLite sees: which connection uses it, what that is
//! doing, and how it waits.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::Arc;

use libsqlite3_sys as sqlite;
use parking_lot::{Mutex, MutexGuard};

use super::api::HostApi;
use super::c_text;
use super::functions::FCNTL_DATABASE;
use crate::connection::{Connection, SharedDatabase, WhileLeased};
use crate::database::Database;
use crate::error::VfsError;
use crate::pragma::PragmaAnswer;
use crate::process::Process;
use crate::sql::begins_with_keyword;
use crate::statement::{Activity, Running, Scope};

pub(super) struct DatabaseFile {
    api: HostApi,
    database: SharedDatabase,
    /// Where SQLite keeps the connection that this file belongs to; null until it tells.
    handle: *mut *mut sqlite::sqlite3,
    member: Option<Member>,
    /// Whether several connections use this file, through a shared cache.
    is_shared: bool,
    busy: BusyHandler,
    /// `last_insert_rowid` before the statement that writes.
    last_insert_rowid: i64,
}

/// The file's place among those of its connection.
struct Member {
    process: &'static Process,
    address: usize,
    connection: Arc<Connection>,
}

/// `SQLITE_FCNTL_BUSYHANDLER`: how a connection waits.
#[derive(Clone, Copy)]
pub(crate) struct BusyHandler {
    callback: Option<unsafe extern "C" fn(*mut c_void) -> c_int>,
    argument: *mut c_void,
}

// SAFETY: it is called on the thread that its connection runs on, inside a callback.
unsafe impl Send for BusyHandler {}

impl BusyHandler {
    pub(crate) const NONE: Self = Self {
        callback: None,
        argument: std::ptr::null_mut(),
    };

    /// Waits a little, as the application wants to. False when its patience is over.
    ///
    /// # Safety
    /// Only inside a callback by the connection whose handler it is.
    pub(crate) unsafe fn call(self) -> bool {
        let argument = self.argument;
        self.callback
            // SAFETY: SQLite says that the two go together as long as the file is open.
            .is_some_and(|callback| unsafe { callback(argument) } != 0)
    }
}

impl DatabaseFile {
    pub(super) fn new(api: HostApi, database: Database) -> Self {
        Self {
            api,
            database: Arc::new(Mutex::new(database)),
            handle: std::ptr::null_mut(),
            member: None,
            is_shared: false,
            busy: BusyHandler::NONE,
            last_insert_rowid: 0,
        }
    }

    /// The database, which knows what became of its transaction.
    pub(super) fn database(&self) -> MutexGuard<'_, Database> {
        let mut database = self.database.lock();
        database.settle();
        database
    }

    /// The connection that this file belongs to, if SQLite told.
    ///
    /// # Safety
    /// Only inside a callback other than `xClose`: then the connection is alive.
    unsafe fn handle(&self) -> Option<*mut sqlite::sqlite3> {
        // SAFETY: SQLite keeps the place valid as long as the file is open.
        (!self.handle.is_null()).then(|| unsafe { *self.handle })
    }

    /// The connection that uses this file, which is counted among its databases from now on.
    ///
    /// # Safety
    /// As for [`DatabaseFile::handle`].
    unsafe fn connection(&mut self) -> Arc<Connection> {
        // SAFETY: passed on to the caller.
        let address = unsafe { self.handle() }.map_or(0, <*mut sqlite::sqlite3>::addr);
        if let Some(member) = &self.member
            && member.address == address
            && member.process.is_current()
        {
            return Arc::clone(&member.connection);
        }
        self.leave();
        let process = self.database.lock().process();
        let connection = if address == 0 {
            Arc::default()
        } else {
            process.connections.enter(address, &self.database)
        };
        self.member = Some(Member {
            process,
            address,
            connection: Arc::clone(&connection),
        });
        connection
    }

    fn leave(&mut self) {
        if let Some(member) = self.member.take()
            && member.process.is_current()
        {
            member
                .process
                .connections
                .leave(member.address, &self.database);
        }
    }

    /// What the connection is doing.
    ///
    /// # Safety
    /// As for [`DatabaseFile::handle`].
    unsafe fn activity(&self) -> (Activity, Scope) {
        // SAFETY: passed on to the caller; the statements are looked at here only.
        unsafe {
            let Some(handle) = self.handle() else {
                return (Activity::Reading, Scope::Several);
            };
            let is_autocommit = self.api.is_autocommit(handle);
            let running = self.api.running(handle);
            (
                Activity::of(&running, is_autocommit),
                Scope::of(&running, is_autocommit),
            )
        }
    }

    /// `xLock`.
    ///
    /// # Safety
    /// Only as `xLock` of this file.
    pub(super) unsafe fn lock(&mut self, level: c_int) -> Result<(), VfsError> {
        if self.is_shared {
            return Err(VfsError::SharedCache);
        }
        // SAFETY: passed on to the caller.
        let connection = unsafe { self.connection() };
        let busy = self.busy;
        // SAFETY: inside this callback.
        let mut busy = || unsafe { busy.call() };
        // SAFETY: passed on to the caller.
        if level == sqlite::SQLITE_LOCK_EXCLUSIVE && unsafe { self.is_mixed(&connection) } {
            connection.secure(&mut busy)?;
        }
        if self.database().is_writing() {
            return Ok(());
        }
        // SAFETY: passed on to the caller.
        let (activity, scope) = unsafe { self.activity() };
        if level == sqlite::SQLITE_LOCK_SHARED {
            return connection.begin(&self.database, activity, scope, &mut busy);
        }
        // SAFETY: passed on to the caller.
        if let Some(handle) = unsafe { self.handle() }
            && level == sqlite::SQLITE_LOCK_RESERVED
        {
            // SAFETY: passed on to the caller.
            self.last_insert_rowid = unsafe { self.api.last_insert_rowid(handle) };
        }
        connection.begin_to_write(&self.database, activity, scope, &mut busy)
    }

    /// Whether the transaction may also write files of another VFS. Some of those commit before
    /// ours are asked (a file in WAL mode does), so ours must not be able to fail then. This
    /// is asked at the lock that SQLite takes for all databases before it commits the first,
    /// or earlier, when its cache is full: then whatever is attached may be written yet.
    ///
    /// # Safety
    /// As for [`DatabaseFile::handle`].
    unsafe fn is_mixed(&self, connection: &Connection) -> bool {
        // SAFETY: passed on to the caller.
        unsafe {
            self.handle().is_some_and(|handle| {
                if self.api.is_autocommit(handle) {
                    self.api.written_files(handle) > connection.count_written()
                } else {
                    self.api.named_files(handle).count() > connection.count()
                }
            })
        }
    }

    /// `xUnlock`.
    pub(super) fn unlock(&self, level: c_int) {
        let has_ended_unrefused = if level == sqlite::SQLITE_LOCK_NONE {
            self.database().unlock()
        } else {
            self.database().unlock_to_shared()
        };
        let member = self.member.as_ref();
        if let Some(member) = member.filter(|member| member.process.is_current()) {
            member.connection.unlocked(has_ended_unrefused);
        }
    }

    /// `xFileControl`.
    ///
    /// # Safety
    /// Only as `xFileControl` of this file, with the operation's own argument.
    pub(super) unsafe fn control(
        &mut self,
        operation: c_int,
        argument: *mut c_void,
    ) -> Result<c_int, VfsError> {
        match operation {
            sqlite::SQLITE_FCNTL_SYNC => {
                // SAFETY: the argument is the name of the super-journal, or null.
                unsafe { self.sync(c_text(argument.cast()))? };
            }
            // SAFETY: passed on to the caller.
            sqlite::SQLITE_FCNTL_COMMIT_PHASETWO => unsafe { self.publish()? },
            sqlite::SQLITE_FCNTL_PDB => {
                // Each connection that opens the file tells so.
                self.is_shared = !self.handle.is_null();
                self.handle = argument.cast();
                // Also a database that is never locked is one of its connection's.
                // SAFETY: passed on to the caller.
                drop(unsafe { self.connection() });
            }
            sqlite::SQLITE_FCNTL_BUSYHANDLER => {
                // SAFETY: the argument is an array of the function and its argument.
                self.busy = unsafe {
                    BusyHandler {
                        callback: argument
                            .cast::<Option<unsafe extern "C" fn(*mut c_void) -> c_int>>()
                            .read(),
                        argument: argument.cast::<*mut c_void>().add(1).read(),
                    }
                };
            }
            FCNTL_DATABASE => {
                let database = Arc::into_raw(Arc::clone(&self.database));
                // SAFETY: the argument is a place for it.
                unsafe { argument.cast::<*const Mutex<Database>>().write(database) };
            }
            // SAFETY: the argument is that of a pragma.
            sqlite::SQLITE_FCNTL_PRAGMA => return Ok(unsafe { self.pragma(argument.cast()) }),
            sqlite::SQLITE_FCNTL_BEGIN_ATOMIC_WRITE => self.database().begin_batch(),
            sqlite::SQLITE_FCNTL_COMMIT_ATOMIC_WRITE => self.database().end_batch(true),
            sqlite::SQLITE_FCNTL_ROLLBACK_ATOMIC_WRITE => self.database().end_batch(false),
            _ => return Ok(sqlite::SQLITE_NOTFOUND),
        }
        Ok(sqlite::SQLITE_OK)
    }

    /// `SQLITE_FCNTL_SYNC`: SQLite's commit, if it is one.
    ///
    /// # Safety
    /// As for [`DatabaseFile::handle`].
    unsafe fn sync(&mut self, super_journal: Option<&CStr>) -> Result<(), VfsError> {
        if !self.database().is_committing() {
            return Ok(());
        }
        // SAFETY: passed on to the caller.
        let (connection, (activity, _)) = unsafe { (self.connection(), self.activity()) };
        let process = self.database().process();
        let handler = self.busy;
        // SAFETY: inside this callback.
        let mut busy = || unsafe { handler.call() };
        let own = super_journal.and_then(|name| process.joints.find_own(&name.to_string_lossy()));
        if let Some(joint) = own {
            return connection.stage(&self.database, &joint, handler);
        }
        // SAFETY: passed on to the caller.
        let files = unsafe {
            self.handle()
                .map_or(1, |handle| self.api.written_files(handle))
        };
        if super_journal.is_some() || files.max(connection.count_written()) > 1 {
            let name = super_journal.map(CStr::to_string_lossy);
            return connection.stage_and_prepare(
                &self.database,
                name.as_deref(),
                handler,
                &mut busy,
            );
        }
        let mut commit = |while_leased| {
            connection.commit(&self.database, &process.cache, &mut busy, while_leased)
        };
        if activity == Activity::Repeatable {
            // While somebody else holds the lease, it is run again and waits before it reads.
            let result = commit(WhileLeased::Lose);
            // SAFETY: passed on to the caller.
            return result.map_err(|error| unsafe { self.repeated(&connection, error) });
        }
        let result = commit(WhileLeased::Wait);
        // SAFETY: passed on to the caller.
        result.map_err(|error| unsafe { self.released(error) })
    }

    /// A statement that SQLite is told to run again, because it lost.
    ///
    /// # Safety
    /// As for [`DatabaseFile::handle`].
    unsafe fn repeated(&self, connection: &Connection, error: VfsError) -> VfsError {
        if error.code() != sqlite::SQLITE_BUSY_SNAPSHOT || !connection.lose(&error) {
            return error;
        }
        // SAFETY: passed on to the caller.
        if let Some(handle) = unsafe { self.handle() } {
            // SAFETY: passed on to the caller.
            unsafe {
                self.api
                    .set_last_insert_rowid(handle, self.last_insert_rowid);
            }
        }
        self.database.lock().count_retry();
        VfsError::Repeat(Box::new(error))
    }

    /// A refusal that meets the RELEASE of an outermost savepoint.
    ///
    /// # Safety
    /// As for [`DatabaseFile::handle`].
    unsafe fn released(&self, error: VfsError) -> VfsError {
        let is_release = |running: &Running<'_>| {
            let text = running.text.unwrap_or_default();
            begins_with_keyword(text, b"RELEASE")
        };
        // SAFETY: passed on to the caller; the statements are looked at here only.
        let releases = unsafe {
            self.handle()
                .is_some_and(|handle| self.api.running(handle).iter().any(is_release))
        };
        if releases && error.code() == sqlite::SQLITE_BUSY_SNAPSHOT {
            VfsError::Release(Box::new(error))
        } else {
            error
        }
    }

    /// `SQLITE_FCNTL_COMMIT_PHASETWO`.
    ///
    /// # Safety
    /// As for [`DatabaseFile::handle`].
    unsafe fn publish(&mut self) -> Result<(), VfsError> {
        // SAFETY: passed on to the caller.
        let connection = unsafe { self.connection() };
        let cache = &self.database().process().cache;
        let handler = self.busy;
        // SAFETY: inside this callback.
        connection.publish(cache, &mut || unsafe { handler.call() })
    }

    /// `SQLITE_FCNTL_PRAGMA`: a place for the answer, the pragma's name, and its value.
    ///
    /// # Safety
    /// `arguments` must be what SQLite passes.
    unsafe fn pragma(&self, arguments: *mut *mut c_char) -> c_int {
        // SAFETY: SQLite passes three pointers; the last two are C strings or null.
        let (name, value) = unsafe { (c_text(*arguments.add(1)), c_text(*arguments.add(2))) };
        let name = name.unwrap_or_default().to_string_lossy();
        // What is not UTF-8 is still a value, if none that means anything.
        let value = value.map(CStr::to_string_lossy);
        // SAFETY: called by xFileControl, so the connection is alive and is the caller.
        let in_transaction = unsafe {
            self.handle()
                .is_some_and(|handle| !self.api.is_autocommit(handle))
        };
        let answer = self
            .database()
            .pragma(&name, value.as_deref(), in_transaction);
        let (text, code) = match answer {
            PragmaAnswer::PassOn => return sqlite::SQLITE_NOTFOUND,
            PragmaAnswer::NoRow => return sqlite::SQLITE_OK,
            PragmaAnswer::Row(text) => (text, sqlite::SQLITE_OK),
            PragmaAnswer::Failure(error) => {
                let text = std::ffi::CString::new(error.to_string()).unwrap_or_default();
                (text, sqlite::SQLITE_ERROR)
            }
        };
        // SAFETY: the first pointer is the place for the answer, which SQLite frees.
        unsafe { *arguments = self.api.allocate_text(&text) };
        code
    }
}

impl Drop for DatabaseFile {
    fn drop(&mut self) {
        self.leave();
    }
}
