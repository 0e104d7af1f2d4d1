//! Random requests, each compared with the store's own answer.

use std::time::Duration;

use verso_pagestore::{CommitId, DatabaseName, Moment, PageStore as _, Since, Snapshot, Version};

use super::support::{HOUR, World, create, name, page, since, try_commit};

/// Random numbers from a seed: `SplitMix64`.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let bits = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let below = (bits ^ (bits >> 31)) % u64::from(limit);
        u32::try_from(below).expect("it is below a u32")
    }

    pub(crate) fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).expect("a byte")
    }

    pub(crate) fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        let index = self.below(u32::try_from(items.len()).expect("few items"));
        *items.get(index as usize).expect("it is below their number")
    }
}

const NAMES: [&str; 3] = ["a", "b", "c"];
const COPIES: [&str; 2] = ["one", "two"];
const STEPS: u32 = 400;
const SEEDS: u64 = 24;

/// A run of random requests.
struct Run {
    world: World,
    has_marks: bool,
    random: Random,
    /// Every state that anybody saw.
    seen: Vec<Snapshot>,
    saved: Vec<&'static str>,
}

#[test]
fn every_answer_is_that_of_the_store() {
    let one = std::env::var("VERSO_SEED").ok();
    let one: Option<u64> = one.map(|seed| seed.parse().expect("a number"));
    for seed in one.map_or(0..SEEDS, |seed| seed..seed + 1) {
        println!("VERSO_SEED={seed}");
        // Some caches are small, and some always ask whether the database is there.
        let bytes = if seed.is_multiple_of(3) {
            48 << 10
        } else {
            1 << 20
        };
        let age = [HOUR, Duration::ZERO][usize::from(seed.is_multiple_of(2))];
        let world = World::new(bytes, age);
        // Some stores have marks.
        let has_marks = seed % 4 < 2;
        let mut run = Run {
            world: if has_marks { world.with_marks() } else { world },
            has_marks,
            random: Random::new(seed),
            seen: Vec::new(),
            saved: Vec::new(),
        };
        for _ in 0..STEPS {
            run.step(age.is_zero());
        }
    }
}

impl Run {
    fn step(&mut self, confirms: bool) {
        let name = self.random.pick(&NAMES);
        match self.random.below(100) {
            0..30 => self.commit(name),
            30..60 => self.begin(name),
            60..92 => self.read(confirms),
            92..94 => drop(self.world.store().remove(&super::support::name(name))),
            94..96 => {
                let to = super::support::name(self.random.pick(&NAMES));
                drop(self.world.store().rename(&super::support::name(name), &to));
            }
            // A store with marks is not closed or put back below a node.
            96.. if self.has_marks => self.begin(name),
            96..98 => {
                let copy = self.random.pick(&COPIES);
                self.world.save(copy);
                self.saved.push(copy);
            }
            _ if self.saved.is_empty() => {}
            _ => self.world.put_back(self.random.pick(&self.saved)),
        }
    }

    /// A commit of somebody who does not use the cache, or of somebody who does.
    fn commit(&mut self, text: &str) {
        let store = self.world.store();
        let Ok(begun) = store.begin(&name(text), None) else {
            create(&*store, text);
            return;
        };
        let snapshot = begun.snapshot;
        let kept = snapshot.page_count.get();
        let is_vacuum = snapshot.page_size.is_none() || self.random.below(12) == 0;
        let (size, count) = if is_vacuum {
            (self.random.pick(&[512, 1024]), 1 + self.random.below(10))
        } else {
            let size = snapshot.page_size.expect("it has pages").get();
            (size, 1.max((kept + self.random.below(4)).saturating_sub(1)))
        };
        let mut writes = Vec::new();
        for number in 1..=count {
            let is_new = is_vacuum || number > kept;
            if is_new || self.random.below(4) == 0 {
                writes.push((number, self.random.byte()));
            }
        }
        let committed = if self.random.below(3) == 0 {
            try_commit(&self.world.warm, snapshot, &writes, size, count)
        } else {
            try_commit(&*store, snapshot, &writes, size, count)
        };
        committed.expect("nobody else is there");
        if self.random.below(2) == 0 {
            let begun = store.begin(&name(text), None).expect("it exists");
            self.seen.push(begun.snapshot);
        }
    }

    fn begin(&mut self, text: &str) {
        let known = self.known();
        if let Ok(begun) = self.world.begin(text, known) {
            self.seen.push(begun.snapshot);
        }
    }

    /// What a client may say that it knows: mostly something true.
    fn known(&mut self) -> Option<Since> {
        if self.seen.is_empty() || self.random.below(5) == 0 {
            return None;
        }
        let known = since(&self.state());
        Some(match self.random.below(12) {
            0 => Since {
                commit: CommitId::from_bytes([7; 16]),
                ..known
            },
            1 => Since {
                version: Version::MAX,
                ..known
            },
            _ => known,
        })
    }

    /// A state that somebody saw: mostly a recent one.
    fn state(&mut self) -> Snapshot {
        let is_recent = self.random.below(5) > 1;
        let recent = self
            .seen
            .len()
            .saturating_sub(if is_recent { 7 } else { self.seen.len() });
        self.random.pick(self.seen.split_at(recent).1)
    }

    fn read(&mut self, confirms: bool) {
        if self.seen.is_empty() {
            return;
        }
        let snapshot = self.state();
        // Sometimes a page beyond the end.
        let most = snapshot.page_count.get() + u32::from(self.random.below(10) == 0);
        let many = self.random.below(6).min(most);
        let pages: Vec<_> = (0..many).map(|_| 1 + self.random.below(most)).collect();
        if self.is_there(&snapshot) || (confirms && self.is_removed(&snapshot)) {
            drop(self.world.read(&snapshot, &pages));
        } else {
            // Nobody has to answer that, and it must not spoil any other answer.
            let pages: Vec<_> = pages.into_iter().map(page).collect();
            drop(self.world.warm.read(&snapshot, &pages));
        }
    }

    /// Whether the store has the state.
    fn is_there(&self, snapshot: &Snapshot) -> bool {
        let moment = Moment::Version(snapshot.version);
        names().iter().any(|name| {
            let there = self.world.store().snapshot_at(name, moment);
            there.is_ok_and(|there| since(&there) == since(snapshot))
        })
    }

    fn is_removed(&self, snapshot: &Snapshot) -> bool {
        let names = names();
        !names.iter().any(|name| {
            let info = self.world.store().info(name);
            info.is_ok_and(|info| info.id == snapshot.database)
        })
    }
}

fn names() -> Vec<DatabaseName> {
    NAMES.iter().map(|text| name(text)).collect()
}
