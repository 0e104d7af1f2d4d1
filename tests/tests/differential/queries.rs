//! Random queries.

use verso_tests::random::Random;

fn table(random: &mut Random) -> String {
    match random.below(10) {
        0 => "temp.x0".to_owned(),
        1 if random.below(2) == 0 => format!("aux.u{}", random.below(2)),
        2 if random.below(3) == 0 => format!("main.v{}", random.below(2)),
        _ => format!("main.t{}", random.below(5)),
    }
}

/// Rows in the order they are stored in.
pub(crate) fn scan(random: &mut Random) -> String {
    let table = table(random);
    format!(
        "SELECT id, a, b, length(c), d FROM {table} WHERE id >= {}",
        random.below(100)
    )
}

pub(crate) fn query(random: &mut Random) -> String {
    let (one, two, number) = (table(random), table(random), random.below(200));
    match random.below(12) {
        0 => scan(random),
        1 => format!(
            "SELECT * FROM {one} ORDER BY id LIMIT 20 OFFSET {}",
            number % 30
        ),
        2 => format!("SELECT a, count(*), total(d) FROM {one} GROUP BY a ORDER BY a"),
        3 => format!("SELECT x.id, y.a FROM {one} x JOIN {two} y ON x.id = y.a ORDER BY 1, 2"),
        4 => format!("SELECT id, sum(d) OVER (ORDER BY id) FROM {one} ORDER BY id"),
        5 => format!("SELECT max(length(c)), min(b), count(DISTINCT a) FROM {one}"),
        6 => format!("SELECT id FROM {one} WHERE d = {} ORDER BY id", number % 40),
        7 => format!("SELECT id FROM {one} WHERE a IN (SELECT id FROM {two}) ORDER BY 1"),
        8 => format!(
            "SELECT rowid, * FROM main.f0 WHERE f0 MATCH 'word{}'",
            number % 7
        ),
        9 => format!("SELECT count(*) FROM main.f0 WHERE f0 MATCH 'comm* NOT term{number}'"),
        10 => format!(
            "SELECT * FROM main.r0 WHERE x0 < {number} AND y1 > {}",
            number / 2
        ),
        _ => "SELECT changes(), total_changes(), last_insert_rowid()".to_owned(),
    }
}
