//! Keys: the one place that builds and takes apart what is stored where.
//!
//! Integers are big-endian, so that byte order is numeric order. `docs/format.md` has the
//! table.

use verso_pagestore::{
    CommitId, DatabaseId, DatabaseName, LeaseId, PageNumber, RecordPosition, Ticket, Version,
};

use crate::kv::KeyRange;

const META: &[u8] = b"m";
const NAME: u8 = b'n';
const DATABASE: u8 = b'd';
const COPY: u8 = b'c';

const INFO: u8 = b'i';
// These three lie behind each other, so that one range has all that a begin asks for.
const LOG: u8 = b'l';
const LEASE: u8 = b'm';
const OWN_NAME: u8 = b'n';
const PAGE: u8 = b'p';
const QUEUE: u8 = b'q';
const COMMIT: u8 = b'x';
const STAGE: u8 = b's';
const PUBLICATION: u8 = b'u';

/// The format version of the store.
pub(crate) fn meta() -> Vec<u8> {
    META.to_vec()
}

/// From a name to its database id.
pub(crate) fn name(name: &DatabaseName) -> Vec<u8> {
    [&[NAME], name.as_str().as_bytes()].concat()
}

/// All names after this one, or all names.
pub(crate) fn names_after(after: Option<&DatabaseName>) -> KeyRange {
    let all = KeyRange::prefix(&[NAME]);
    match after {
        Some(after) => KeyRange::new(KeyRange::single(&name(after)).end, all.end),
        None => all,
    }
}

/// The bytes of the name in a name key.
pub(crate) fn name_bytes(key: &[u8]) -> Option<&[u8]> {
    key.strip_prefix(&[NAME])
}

/// Which unfinished copy to this name there is.
pub(crate) fn copy(name: &DatabaseName) -> Vec<u8> {
    [&[COPY], name.as_str().as_bytes()].concat()
}

/// Everything of one database but its name.
pub(crate) fn database(id: DatabaseId) -> KeyRange {
    KeyRange::prefix(&[&[DATABASE], id.get().to_be_bytes().as_slice()].concat())
}

/// The database's fixed facts.
pub(crate) fn info(id: DatabaseId) -> Vec<u8> {
    in_database(id, INFO, &[])
}

/// The name that stands for the database.
pub(crate) fn own_name(id: DatabaseId) -> Vec<u8> {
    in_database(id, OWN_NAME, &[])
}

/// The database's writer lease.
pub(crate) fn lease(id: DatabaseId) -> Vec<u8> {
    in_database(id, LEASE, &[])
}

/// What a ticket's key begins with; its version follows.
pub(crate) fn queue_prefix(id: DatabaseId) -> Vec<u8> {
    in_database(id, QUEUE, &[])
}

/// All tickets of those who wait for the lease, in the order of their turns.
pub(crate) fn queue(id: DatabaseId) -> KeyRange {
    KeyRange::prefix(&queue_prefix(id))
}

/// A ticket.
pub(crate) fn ticket(id: DatabaseId, ticket: Ticket) -> Vec<u8> {
    [queue_prefix(id).as_slice(), ticket.0.as_bytes()].concat()
}

/// The ticket in a ticket's key.
pub(crate) fn ticket_position(key: &[u8]) -> Option<Ticket> {
    key.last_chunk()
        .map(|version| Ticket(Version::from_bytes(*version)))
}

/// A key that is never set: attempts at the same commit conflict on it.
pub(crate) fn commit(id: DatabaseId, commit: CommitId) -> Vec<u8> {
    in_database(id, COMMIT, commit.as_bytes())
}

/// A key that is never set: who leaves the queue for the lease and who hands it over to them conflict
/// on it. The keys of tickets do not serve for that, since any of them may be that of a new ticket.
pub(crate) fn wait(id: DatabaseId, lease: LeaseId) -> Vec<u8> {
    commit(id, CommitId::from_bytes(*lease.as_bytes()))
}

/// Pages that were staged for a commit.
pub(crate) fn staged(id: DatabaseId, commit: CommitId) -> KeyRange {
    KeyRange::prefix(&stage_prefix(id, commit))
}

/// A page that was staged for a commit.
pub(crate) fn staged_page(id: DatabaseId, commit: CommitId, page: PageNumber) -> Vec<u8> {
    let prefix = stage_prefix(id, commit);
    [prefix.as_slice(), &page.get().to_be_bytes()].concat()
}

/// Pages from `first` to `last` that were staged for a commit.
pub(crate) fn staged_pages(
    id: DatabaseId,
    commit: CommitId,
    first: PageNumber,
    last: PageNumber,
) -> KeyRange {
    let last = staged_page(id, commit, last);
    KeyRange::new(staged_page(id, commit, first), KeyRange::single(&last).end)
}

/// The page in the key of a staged page.
pub(crate) fn staged_position(key: &[u8]) -> Option<PageNumber> {
    PageNumber::new(u32::from_be_bytes(*key.last_chunk()?))
}

/// The pages of a commit that is published in steps.
pub(crate) fn publication(id: DatabaseId) -> Vec<u8> {
    in_database(id, PUBLICATION, &[])
}

fn stage_prefix(id: DatabaseId, commit: CommitId) -> Vec<u8> {
    in_database(id, STAGE, commit.as_bytes())
}

/// What a commit record's key begins with; the version follows.
pub(crate) fn log_prefix(id: DatabaseId) -> Vec<u8> {
    in_database(id, LOG, &[])
}

/// All commit records.
pub(crate) fn log(id: DatabaseId) -> KeyRange {
    KeyRange::prefix(&log_prefix(id))
}

/// Commit records of versions above `after`.
pub(crate) fn log_after(id: DatabaseId, after: Version) -> KeyRange {
    let record = [log_prefix(id).as_slice(), after.as_bytes()].concat();
    KeyRange::new(KeyRange::single(&record).end, log(id).end)
}

/// Commit records of versions from `from` on, then the lease, if there ever was one.
pub(crate) fn log_and_lease_from(id: DatabaseId, from: Version) -> KeyRange {
    KeyRange::new(log_from(id, from).begin, KeyRange::single(&lease(id)).end)
}

/// Commit records of versions from `from` on, then the lease, if there ever was one, and the name.
pub(crate) fn news_from(id: DatabaseId, from: Version) -> KeyRange {
    KeyRange::new(
        log_from(id, from).begin,
        KeyRange::single(&own_name(id)).end,
    )
}

/// Commit records of versions above `after`, then the lease, if there ever was one.
pub(crate) fn log_and_lease_after(id: DatabaseId, after: Version) -> KeyRange {
    KeyRange::new(
        log_after(id, after).begin,
        log_and_lease_from(id, after).end,
    )
}

/// Commit records of versions from `from` on.
pub(crate) fn log_from(id: DatabaseId, from: Version) -> KeyRange {
    let record = [log_prefix(id).as_slice(), from.as_bytes()].concat();
    KeyRange::new(record, log(id).end)
}

/// Commit records of versions from `from` to below `before`.
pub(crate) fn log_between(id: DatabaseId, from: Version, before: Version) -> KeyRange {
    let record = |version: Version| [log_prefix(id).as_slice(), version.as_bytes()].concat();
    KeyRange::new(record(from), record(before))
}

/// Commit records of versions up to `last`.
pub(crate) fn log_until(id: DatabaseId, last: Version) -> KeyRange {
    let record = [log_prefix(id).as_slice(), last.as_bytes()].concat();
    KeyRange::new(log(id).begin, KeyRange::single(&record).end)
}

/// The database and version in a commit record's key.
pub(crate) fn log_position(key: &[u8]) -> Option<(DatabaseId, Version)> {
    let (rest, version) = key.split_last_chunk()?;
    let id = rest.strip_prefix(&[DATABASE])?.strip_suffix(&[LOG])?;
    let id = DatabaseId::new(u64::from_be_bytes(id.try_into().ok()?));
    Some((id, Version::from_bytes(*version)))
}

/// What a page record's key begins with; the version follows.
pub(crate) fn page_prefix(id: DatabaseId, page: PageNumber) -> Vec<u8> {
    in_database(id, PAGE, &page.get().to_be_bytes())
}

/// The records of one page from the first to that of `version`.
pub(crate) fn page_until(id: DatabaseId, page: PageNumber, version: Version) -> KeyRange {
    let prefix = page_prefix(id, page);
    let last = [prefix.as_slice(), version.as_bytes()].concat();
    KeyRange::new(prefix, KeyRange::single(&last).end)
}

/// The records of one page of versions above `after`.
pub(crate) fn page_after(id: DatabaseId, page: PageNumber, after: Version) -> KeyRange {
    let prefix = page_prefix(id, page);
    let record = [prefix.as_slice(), after.as_bytes()].concat();
    KeyRange::new(KeyRange::single(&record).end, KeyRange::prefix(&prefix).end)
}

/// All records of pages from `first` to `last`.
pub(crate) fn pages(id: DatabaseId, first: PageNumber, last: PageNumber) -> KeyRange {
    KeyRange::new(page_prefix(id, first), end_of_page(id, last))
}

/// The first key behind all records of a page.
fn end_of_page(id: DatabaseId, page: PageNumber) -> Vec<u8> {
    match page.get().checked_add(1) {
        Some(next) => in_database(id, PAGE, &next.to_be_bytes()),
        None => KeyRange::prefix(&page_prefix(id, page)).end,
    }
}

/// All page records behind a position, or all.
pub(crate) fn pages_after(id: DatabaseId, after: Option<RecordPosition>) -> KeyRange {
    let all = KeyRange::prefix(&in_database(id, PAGE, &[]));
    match after {
        Some(position) => {
            let range = page_until(id, position.page, position.version);
            KeyRange::new(range.end, all.end)
        }
        None => all,
    }
}

/// The page and version in a page record's key.
pub(crate) fn page_position(key: &[u8]) -> Option<RecordPosition> {
    let (rest, version) = key.split_last_chunk()?;
    let number = u32::from_be_bytes(*rest.last_chunk()?);
    Some(RecordPosition {
        page: PageNumber::new(number)?,
        version: Version::from_bytes(*version),
    })
}

/// What of a database is stored under this key, of one kind.
fn in_database(id: DatabaseId, kind: u8, rest: &[u8]) -> Vec<u8> {
    // With room for a version, which often follows.
    let mut key = Vec::with_capacity(32);
    key.push(DATABASE);
    key.extend_from_slice(&id.get().to_be_bytes());
    key.push(kind);
    key.extend_from_slice(rest);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(number: u32) -> PageNumber {
        PageNumber::new(number).unwrap()
    }

    #[test]
    fn keys_have_their_documented_bytes() {
        let id = DatabaseId::new(0x0102_0304_0506_0708);
        let version = Version::from_commit(9, 1);
        assert_eq!(meta(), b"m");
        assert_eq!(name(&DatabaseName::new("a/b").unwrap()), b"na/b");
        assert_eq!(copy(&DatabaseName::new("a/b").unwrap()), b"ca/b");
        assert_eq!(info(id), b"d\x01\x02\x03\x04\x05\x06\x07\x08i");
        assert_eq!(own_name(id), b"d\x01\x02\x03\x04\x05\x06\x07\x08n");
        assert_eq!(lease(id), b"d\x01\x02\x03\x04\x05\x06\x07\x08m");
        assert_eq!(
            ticket(id, Ticket(version)),
            b"d\x01\x02\x03\x04\x05\x06\x07\x08q\0\0\0\0\0\0\0\x09\0\x01"
        );
        assert_eq!(
            ticket_position(&ticket(id, Ticket(version))),
            Some(Ticket(version))
        );
        assert_eq!(log_prefix(id), b"d\x01\x02\x03\x04\x05\x06\x07\x08l");
        assert_eq!(
            page_prefix(id, page(258)),
            b"d\x01\x02\x03\x04\x05\x06\x07\x08p\0\0\x01\x02"
        );
        assert_eq!(
            page_until(id, page(1), version).end,
            b"d\x01\x02\x03\x04\x05\x06\x07\x08p\0\0\0\x01\0\0\0\0\0\0\0\x09\0\x01\0"
        );
        assert_eq!(
            commit(id, CommitId::from_bytes([7; 16])),
            [b"d\x01\x02\x03\x04\x05\x06\x07\x08x".as_slice(), &[7; 16]].concat()
        );
        assert_eq!(
            staged_page(id, CommitId::from_bytes([7; 16]), page(258)),
            [
                b"d\x01\x02\x03\x04\x05\x06\x07\x08s".as_slice(),
                &[7; 16],
                b"\0\0\x01\x02"
            ]
            .concat()
        );
    }

    #[test]
    fn ranges_hold_what_they_say() {
        let id = DatabaseId::new(u64::MAX);
        let version = |number| Version::from_commit(number, 0);
        let record = |number, at| {
            [
                page_prefix(id, page(number)),
                version(at).as_bytes().to_vec(),
            ]
            .concat()
        };
        let range = page_until(id, page(5), version(10));
        assert!(range.contains(&record(5, 1)) && range.contains(&record(5, 10)));
        assert!(!range.contains(&record(5, 11)) && !range.contains(&record(4, 1)));
        let run = pages(id, page(5), page(6));
        assert!(run.contains(&record(5, 0)) && run.contains(&record(6, u64::MAX)));
        assert!(!run.contains(&record(7, 0)) && !run.contains(&record(4, u64::MAX)));
        let record_of_7 = [log_prefix(id), version(7).as_bytes().to_vec()].concat();
        assert_eq!(log_position(&record_of_7), Some((id, version(7))));
        let position = RecordPosition {
            page: page(5),
            version: version(10),
        };
        assert_eq!(page_position(&record(5, 10)), Some(position));
        let rest = pages_after(id, Some(position));
        assert!(!rest.contains(&record(5, 10)) && rest.contains(&record(5, 11)));
        let log = |at| [log_prefix(id), version(at).as_bytes().to_vec()].concat();
        assert!(
            !log_after(id, version(3)).contains(&log(3))
                && log_after(id, version(3)).contains(&log(4))
        );
        assert!(
            log_until(id, version(3)).contains(&log(3))
                && !log_until(id, version(3)).contains(&log(4))
        );
        assert!(database(id).contains(&info(id)) && database(id).contains(&log(u64::MAX)));
        let news = news_from(id, version(3));
        assert!(!news.contains(&log(2)) && news.contains(&log(3)));
        assert!(log(u64::MAX) < lease(id) && lease(id) < own_name(id));
        assert!(news.contains(&own_name(id)) && !news.contains(&page_prefix(id, page(1))));
        for range in [
            log_and_lease_after(id, version(3)),
            log_and_lease_from(id, version(3)),
        ] {
            assert!(range.contains(&lease(id)) && !range.contains(&own_name(id)));
        }
    }
}
