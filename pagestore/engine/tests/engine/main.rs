//! Goal: the engine keeps its promises as a page store: versions, conflicts, exactly-once
//! commits, history, loads, and the refusal of what it does not know.
//! Method: page-level requests on the memory backend and on the embedded one, with faults
//! injected at commits.

mod catalogue;
mod catalogue_races;
#[cfg(feature = "foundationdb")]
mod cluster;
mod commits;
mod copies;
mod damage;
mod deltas;
mod direct;
mod exactly_once;
mod hand_over;
mod leases;
mod loads;
mod moments;
mod publishing;
mod publishing_joint;
mod publishing_races;
mod requests;
mod stages;
mod support;
mod turns;
