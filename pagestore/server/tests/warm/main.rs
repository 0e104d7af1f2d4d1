//! Goal: a store with a warm cache in front of it answers what the store itself answers, and asks it
//! for less.
//! Method: an embedded store, which other clients change behind the cache's back: they commit,
//! remove, rename, and put the whole store back to an older copy. Every answer is compared with
//! the store's own answer to the same request. `VERSO_SEED=n` replays one seed of the model.

mod cases;
mod gone;
mod model;
mod support;
mod threads;
