//! Goal: clients of page-store nodes notice nothing of nodes that die, stop, or cannot be
//! reached, as long as another one can be: every commit takes effect exactly once, and no error
//! comes that a live node could have prevented.
//! Method: nodes and clients in processes of their own, and a TCP proxy before each node. Nodes
//! are killed, stopped and started again, and the proxies delay, cut, swallow and refuse: one
//! failure at a chosen moment, or very many by a schedule from a seed, which is printed and can
//! be given in `VERSO_SEED`.
#![cfg(unix)]

mod clients;
mod cluster;
mod commits;
mod forks;
mod leases;
mod outages;
mod proxy;
mod schedule;

use verso_tests::workers::Orders;

/// Not a test of its own: worker processes begin here.
#[test]
fn worker() {
    if let Some(orders) = Orders::received() {
        match orders.role.as_str() {
            forks::ROLE => forks::work(&orders),
            clients::ROLE => clients::work(&orders),
            other => panic!("unknown role {other}"),
        }
    }
}
