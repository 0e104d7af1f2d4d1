//! Tests of the operations side of a node: a real node on an embedded store, used by the real
//! client, and asked for its metrics and health by HTTP.

#[cfg(test)]
mod dashboard;
#[cfg(test)]
mod health;
#[cfg(test)]
mod node;
#[cfg(test)]
mod scrape;
#[cfg(test)]
mod table;
#[cfg(test)]
mod unit;
