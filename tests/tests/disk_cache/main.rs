//! Goal: a process that starts on a folder with pages of a database reads them from there and not
//! from the store, and no query is ever wrong or fails because of what is in the folder, or is not.
//! Method: a page-store node, and worker processes that run SQL with a page cache on disk and tell
//! what they asked of the store.
#![cfg(unix)]

mod damage;
mod forks;
mod processes;
mod reader;
mod replaced;
mod warm;

use verso_tests::workers::Orders;

/// Not a test of its own: worker processes begin here.
#[test]
fn worker() {
    if let Some(orders) = Orders::received() {
        match orders.role.as_str() {
            reader::ROLE => reader::work(),
            forks::ROLE => forks::work(&orders),
            other => panic!("unknown role {other}"),
        }
    }
}
