//! Tests of the `verso` command, each with a folder and a store of its own.

#[cfg(test)]
mod catalogue;
#[cfg(test)]
mod check;
#[cfg(test)]
mod common;
#[cfg(test)]
mod copy;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod ending;
#[cfg(test)]
mod harmful_clients;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod narrow;
#[cfg(test)]
mod node;
#[cfg(test)]
mod refused_files;
#[cfg(test)]
mod refused_stores;
#[cfg(test)]
mod round_trip;
#[cfg(test)]
mod secured;
#[cfg(test)]
mod serve;
#[cfg(test)]
mod shell;
#[cfg(test)]
mod sql;
