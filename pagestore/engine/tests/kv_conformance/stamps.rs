//! Versionstamps.

use verso_engine::kv::{KeyRange, Kv, KvError, KvTransaction};
use verso_pagestore::Version;

use crate::support::{begin, commit, get, put, read, scan};

pub(crate) fn the_stamp_ends_the_key_and_is_the_commits<K: Kv>(kv: &K) {
    let mut writer = begin(kv);
    writer.set_versionstamped(b"page/1/", b"one");
    writer.set_versionstamped(b"page/2/", b"two");
    assert!(
        scan(&mut writer, KeyRange::prefix(b"page/")).is_empty(),
        "not known yet"
    );
    let stamp = commit(writer).unwrap().versionstamp.unwrap();
    let key = |prefix: &[u8]| [prefix, stamp.as_bytes()].concat();
    assert_eq!(
        scan(&mut begin(kv), KeyRange::prefix(b"page/")),
        [
            (key(b"page/1/"), b"one".to_vec()),
            (key(b"page/2/"), b"two".to_vec())
        ]
    );
}

pub(crate) fn stamps_ascend<K: Kv>(kv: &K) {
    let mut stamps = Vec::new();
    for round in 0..100_u8 {
        let mut writer = begin(kv);
        writer.set_versionstamped(b"log/", &[round]);
        stamps.push(commit(writer).unwrap().versionstamp.unwrap());
        put(kv, b"something else", b"");
    }
    assert!(stamps.is_sorted_by(|left, right| left < right));
    assert!(stamps[0] > Version::MIN && stamps[99] < Version::MAX);
    let log = scan(&mut begin(kv), KeyRange::prefix(b"log/"));
    assert!(
        log.iter().map(|(_, value)| value[0]).eq(0..100),
        "key order is commit order"
    );
}

pub(crate) fn a_stamped_write_conflicts_with_readers_of_its_prefix<K: Kv>(kv: &K) {
    let reader = |range: KeyRange| {
        let mut reader = begin(kv);
        scan(&mut reader, range);
        reader.set(b"x", b"");
        reader
    };
    let same = reader(KeyRange::prefix(b"log/1/"));
    let inside = reader(KeyRange::new(&b"log/1/\0"[..], &b"log/1/\xff"[..]));
    let shorter = reader(KeyRange::prefix(b"log/"));
    let other = reader(KeyRange::prefix(b"log/2/"));
    let mut writer = begin(kv);
    writer.set_versionstamped(b"log/1/", b"");
    commit(writer).unwrap();
    assert_eq!(commit(same), Err(KvError::Conflict));
    assert_eq!(commit(inside), Err(KvError::Conflict));
    assert_eq!(commit(shorter), Err(KvError::Conflict));
    commit(other).unwrap();
}

pub(crate) fn stamped_writes_take_their_place_in_the_order_of_writes<K: Kv>(kv: &K) {
    let mut writer = begin(kv);
    writer.set_versionstamped(b"a/", b"cleared afterwards");
    writer.clear_range(&KeyRange::prefix(b"a/"));
    writer.clear_range(&KeyRange::prefix(b"b/"));
    writer.set_versionstamped(b"b/", b"written afterwards");
    writer.set_versionstamped(b"c/", b"first");
    writer.set_versionstamped(b"c/", b"second");
    commit(writer).unwrap();
    let values: Vec<_> = scan(&mut begin(kv), KeyRange::prefix(b""))
        .into_iter()
        .map(|(_, value)| value)
        .collect();
    assert_eq!(values, [&b"written afterwards"[..], b"second"]);
}

pub(crate) fn a_commit_is_visible_at_its_read_version<K: Kv>(kv: &K) {
    let committed = put(kv, b"a", b"1");
    let mut at = kv.begin_at(committed.read_version).unwrap();
    assert_eq!(read(&mut at, b"a"), Some(b"1".to_vec()));
    assert_eq!(get(kv, b"a"), Some(b"1".to_vec()));
    let stamp = committed.versionstamp.unwrap();
    assert!(stamp.commit_version() <= committed.read_version);
}
