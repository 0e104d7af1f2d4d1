//! Goal: a transaction over several attached databases is one transaction: all of it commits
//! or nothing, and it is serializable over all of them, whatever the settings.
//! Method: each rule in every journal mode and with every `synchronous`, looked at from other
//! connections and in the changelogs; and worker processes that are killed meanwhile.
#![cfg(unix)]

mod attached_twice;
mod conflicts;
mod interleaved;
mod leases;
mod local_files;
mod mixed_kills;
mod pair;
mod sql;
mod stores;
mod transfers;

use verso_tests::workers::{Orders, report};

/// Not a test of its own: worker processes begin here.
#[test]
fn worker() {
    if let Some(orders) = Orders::received() {
        // Nobody asks a killed worker how it ended: what it says is no commit, so it fails.
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            hook(panic);
            report("panicked");
        }));
        match orders.role.as_str() {
            transfers::TRANSFER => transfers::transfer(&orders),
            transfers::AUDIT => transfers::audit(&orders),
            mixed_kills::ROLE => mixed_kills::write(&orders),
            case => local_files::run_case(case, &orders),
        }
    }
}
