//! Range reads.

use verso_engine::kv::{Isolation, KeyRange, Kv, KvTransaction, RangeQuery, Until};

use crate::support::{begin, commit, keys, put, scan};

fn fill<K: Kv>(kv: &K, keys: &[&str]) {
    let mut writer = begin(kv);
    for key in keys {
        writer.set(key.as_bytes(), key.as_bytes());
    }
    commit(writer).unwrap();
}

pub(crate) fn both_directions_and_limits<K: Kv>(kv: &K) {
    fill(kv, &["a", "b", "c", "d", "e"]);
    let mut reader = begin(kv);
    let middle = || KeyRange::new("b", "e");
    assert_eq!(
        keys(&mut reader, &RangeQuery::first(9, middle())),
        ["b", "c", "d"]
    );
    assert_eq!(
        keys(&mut reader, &RangeQuery::last(9, middle())),
        ["d", "c", "b"]
    );
    assert_eq!(
        keys(&mut reader, &RangeQuery::first(2, middle())),
        ["b", "c"]
    );
    assert_eq!(
        keys(&mut reader, &RangeQuery::last(2, middle())),
        ["d", "c"]
    );
    assert!(keys(&mut reader, &RangeQuery::first(0, middle())).is_empty());
    let pairs = scan(&mut reader, middle());
    assert!(pairs.iter().all(|(key, value)| key == value));
}

pub(crate) fn a_range_may_end_at_a_value<K: Kv>(kv: &K) {
    let mut writer = begin(kv);
    for (key, value) in [("a", "xx"), ("b", "y"), ("c", "xyz"), ("d", "x"), ("e", "")] {
        writer.set(key.as_bytes(), value.as_bytes());
    }
    commit(writer).unwrap();
    // However much comes at once.
    for bytes_at_once in [1, 10, 1000] {
        let until = Until {
            other_than: b'x',
            bytes_at_once,
        };
        let last = |limit, from, to| {
            let query = RangeQuery::last(limit, KeyRange::new(from, to)).until(until);
            keys(&mut begin(kv), &query)
        };
        assert_eq!(last(9, "a", "e"), ["d", "c", "b"]);
        assert_eq!(last(2, "a", "e"), ["d", "c"]);
        assert_eq!(last(9, "c", "e"), ["d", "c"]);
        assert_eq!(last(9, "a", "b"), ["a"]);
        assert_eq!(last(9, "a", "z"), ["e"], "it does not begin with anything");
        let first = RangeQuery::first(9, KeyRange::new("a", "e")).until(until);
        assert_eq!(keys(&mut begin(kv), &first), ["a", "b"]);
    }
}

pub(crate) fn own_writes_are_merged_in<K: Kv>(kv: &K) {
    fill(kv, &["a", "c", "e", "g", "i"]);
    let mut writer = begin(kv);
    for key in ["b", "e", "z"] {
        writer.set(key.as_bytes(), b"own");
    }
    writer.clear(b"c");
    writer.clear_range(&KeyRange::new("f", "j"));
    writer.set(b"h", b"own");
    let all = || KeyRange::prefix(b"");
    assert_eq!(
        keys(&mut writer, &RangeQuery::first(9, all())),
        ["a", "b", "e", "h", "z"]
    );
    assert_eq!(
        keys(&mut writer, &RangeQuery::last(9, all())),
        ["z", "h", "e", "b", "a"]
    );
    for limit in 0..6 {
        let first = keys(&mut writer, &RangeQuery::first(limit, all()));
        assert_eq!(first, ["a", "b", "e", "h", "z"][..limit.min(5)]);
        let last = keys(&mut writer, &RangeQuery::last(limit, all()));
        assert_eq!(last, ["z", "h", "e", "b", "a"][..limit.min(5)]);
    }
    let before = scan(&mut writer, all());
    assert!(before.contains(&(b"e".to_vec(), b"own".to_vec())));
    commit(writer).unwrap();
    assert_eq!(
        scan(&mut begin(kv), all()),
        before,
        "the commit makes what was seen"
    );
}

pub(crate) fn later_writes_win_over_earlier_ones<K: Kv>(kv: &K) {
    put(kv, b"a", b"old");
    let mut writer = begin(kv);
    writer.set(b"a", b"1");
    writer.clear_range(&KeyRange::prefix(b"a"));
    writer.set(b"ab", b"2");
    writer.clear(b"ab");
    writer.set(b"ab", b"3");
    writer.set(b"b", b"4");
    writer.clear_range(&KeyRange::new("b", "c"));
    let all = RangeQuery::first(9, KeyRange::prefix(b""));
    assert_eq!(keys(&mut writer, &all), ["ab"]);
    commit(writer).unwrap();
    let pairs = scan(&mut begin(kv), KeyRange::prefix(b""));
    assert_eq!(pairs, [(b"ab".to_vec(), b"3".to_vec())]);
}

pub(crate) fn empty_and_reversed_ranges_are_empty<K: Kv>(kv: &K) {
    fill(kv, &["a", "b", "c"]);
    let mut transaction = begin(kv);
    transaction.set(b"b", b"own");
    for (from, to) in [("b", "b"), ("c", "a")] {
        let range = KeyRange::new(from, to);
        assert!(scan(&mut transaction, range.clone()).is_empty());
        assert!(keys(&mut transaction, &RangeQuery::last(9, range.clone())).is_empty());
        transaction.clear_range(&range);
        transaction.add_read_conflict(range.clone());
        transaction.add_write_conflict(range);
    }
    commit(transaction).unwrap();
    assert_eq!(scan(&mut begin(kv), KeyRange::prefix(b"")).len(), 3);
}

pub(crate) fn several_ranges_are_answered_in_order<K: Kv>(kv: &K) {
    fill(kv, &["a1", "a2", "b1", "b2"]);
    let queries = [
        RangeQuery::last(1, KeyRange::prefix(b"b")),
        RangeQuery::first(9, KeyRange::prefix(b"x")),
        RangeQuery::first(9, KeyRange::prefix(b"a")),
    ];
    let answers = begin(kv).ranges(&queries, Isolation::Snapshot).unwrap();
    let found: Vec<Vec<&[u8]>> = answers
        .iter()
        .map(|pairs| pairs.iter().map(|(key, _)| key.as_slice()).collect())
        .collect();
    assert_eq!(found, [vec![&b"b2"[..]], vec![], vec![b"a1", b"a2"]]);
}

pub(crate) fn a_long_range_with_scattered_own_writes<K: Kv>(kv: &K) {
    let mut writer = begin(kv);
    for index in 0..2000_u32 {
        writer.set(&index.to_be_bytes(), b"stored");
    }
    commit(writer).unwrap();
    let mut transaction = begin(kv);
    for index in (0..2000_u32).step_by(3) {
        transaction.clear(&index.to_be_bytes());
    }
    for index in (0..2000_u32).step_by(5) {
        transaction.set(&index.to_be_bytes(), b"own");
    }
    let expected: Vec<(Vec<u8>, Vec<u8>)> = (0..2000_u32)
        .filter(|index| index % 3 != 0 || index % 5 == 0)
        .map(|index| {
            let value = if index % 5 == 0 {
                &b"own"[..]
            } else {
                b"stored"
            };
            (index.to_be_bytes().to_vec(), value.to_vec())
        })
        .collect();
    assert_eq!(scan(&mut transaction, KeyRange::prefix(b"")), expected);
    let last = RangeQuery::last(700, KeyRange::prefix(b""));
    let reversed: Vec<_> = expected.iter().rev().take(700).cloned().collect();
    assert_eq!(
        transaction.range(&last, Isolation::Serializable).unwrap(),
        reversed
    );
}
