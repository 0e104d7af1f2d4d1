//! Which table or index of a database a page belongs to, to explain a conflict.
//!
//! The search reads SQLite's file format (<https://www.sqlite.org/fileformat2.html>) within
//! a budget of pages. It takes every byte for possibly damaged: wrong ones make the answer
//! [`Owner::Unknown`] or name another table, and do no more harm.

mod btree;
mod layout;
mod pages;
mod pointer_map;
mod schema;
mod search;

use std::fmt;

pub(crate) use btree::{Node, is_index_leaf, is_interior};
use verso_pagestore::{Page, PageNumber};

use pages::Pages;
use pointer_map::Origin;
use search::Search;

/// Characters of a name that are shown.
const SHOWN: usize = 100;

/// What a page of a database belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// Page 1: the size of the database, the head of the free list, the root of the schema.
    Header,
    /// Another page of `sqlite_schema`.
    Schema,
    /// A table, of this name.
    Table(String),
    /// An index.
    Index {
        /// Its name.
        name: String,
        /// Its table.
        table: String,
    },
    /// A page that is free.
    FreeList,
    /// A page of the pointer map, which databases with `auto_vacuum` have.
    PointerMap,
    /// Not found within the budget, or not in the database.
    Unknown,
}

/// Reads well in parentheses behind the page: "page 7 (table accounts)".
impl fmt::Display for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => formatter.write_str("the header and the schema"),
            Self::Schema => formatter.write_str("the schema"),
            Self::Table(name) => write!(formatter, "table {}", shown(name)),
            Self::Index { name, table } => {
                write!(formatter, "index {} of table {}", shown(name), shown(table))
            }
            Self::FreeList => formatter.write_str("the free list"),
            Self::PointerMap => formatter.write_str("the pointer map"),
            Self::Unknown => formatter.write_str("owner unknown"),
        }
    }
}

/// A name as it can stand in one line of a message.
fn shown(name: &str) -> String {
    let printable = |char: char| if char.is_control() { ' ' } else { char };
    let mut shown: String = name.chars().take(SHOWN).map(printable).collect();
    if shown.len() < name.len() {
        shown.push('…');
    }
    shown
}

/// Finds the owner of `page`. Calls `read`, which gives `None` for a page that cannot be
/// read, at most `budget` times and at most once for a page.
pub(crate) fn find(
    page: PageNumber,
    budget: usize,
    read: impl FnMut(PageNumber) -> Option<Page>,
) -> Owner {
    if page == PageNumber::FIRST {
        return Owner::Header;
    }
    let Some(mut pages) = Pages::open(budget, read) else {
        return Owner::Unknown;
    };
    if !pages.layout().contains(page) {
        return Owner::Unknown;
    }
    if !pages.layout().auto_vacuum {
        return Search::new(page, &mut pages).run();
    }
    match pointer_map::origin(page, &mut pages) {
        Some(Origin::Map) => Owner::PointerMap,
        Some(Origin::Free) => Owner::FreeList,
        Some(Origin::Root(PageNumber::FIRST)) => Owner::Schema,
        Some(Origin::Root(root)) => Search::new(root, &mut pages).run(),
        None => Search::new(page, &mut pages).run(),
    }
}

#[cfg(test)]
mod tests;
