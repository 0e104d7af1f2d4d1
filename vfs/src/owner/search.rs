//! The search from the roots: what links to a page owns it.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use bytes::{Bytes, BytesMut};
use roaring::RoaringBitmap;
use verso_pagestore::{Page, PageNumber};

use super::Owner;
use super::btree::{Keys, Node, Payload};
use super::layout::{be_u32, page_number};
use super::pages::Pages;
use super::schema::{Object, Row};

/// The bytes of a row of the schema in which its root is looked for: room for any name of
/// sense.
const LONGEST_ROW_START: usize = 64 << 10;

/// Something that owns pages.
enum Source {
    Schema,
    FreeList,
    Object(Object),
}

/// A source, and what is known of its tree.
struct Tree {
    source: Source,
    /// How deep its leaves are: all equally, as the tree is balanced.
    leaf_depth: Option<usize>,
}

/// The schema's and the free list's places among the trees.
const SCHEMA: usize = 0;
const FREE_LIST: usize = 1;

/// A page that may link to others.
#[derive(Clone, Copy)]
struct Lead {
    page: PageNumber,
    kind: Kind,
    /// The place of its owner among the trees.
    tree: usize,
}

#[derive(Clone, Copy)]
enum Kind {
    Node { depth: usize },
    Trunk,
    Overflow,
}

/// What the wanted page shows of itself, if it looks like one of a b-tree. This only decides
/// what is read first: a free page may look so too.
#[derive(Clone, Copy)]
struct Hint {
    keys: Keys,
    /// A key of the page in the tree of a table, which tells the way down to it.
    row: Option<i64>,
}

/// `Break` with the place of the owner once it is found.
type Step<T = ()> = ControlFlow<usize, T>;

/// Where a page is looked for. Breadth first, so that the page of a small table is found
/// soon whatever else is in the database.
pub(super) struct Search<'a, R> {
    wanted: PageNumber,
    hint: Option<Hint>,
    pages: &'a mut Pages<R>,
    trees: Vec<Tree>,
    /// Pages whose owner is known; a page that is linked twice is followed once.
    seen: RoaringBitmap,
    /// The schema, which leads to all else.
    first: VecDeque<Lead>,
    /// What links to many pages.
    soon: VecDeque<Lead>,
    /// What links to overflow chains only, and what is off the way that the hint
    /// tells.
    later: VecDeque<Lead>,
}

impl<'a, R: FnMut(PageNumber) -> Option<Page>> Search<'a, R> {
    pub(super) fn new(wanted: PageNumber, pages: &'a mut Pages<R>) -> Self {
        let trees = [Source::Schema, Source::FreeList].map(|source| Tree {
            source,
            leaf_depth: None,
        });
        Self {
            wanted,
            hint: None,
            pages,
            trees: trees.into(),
            seen: RoaringBitmap::new(),
            first: VecDeque::new(),
            soon: VecDeque::new(),
            later: VecDeque::new(),
        }
    }

    pub(super) fn run(mut self) -> Owner {
        let ControlFlow::Break(tree) = self.follow_all() else {
            return Owner::Unknown;
        };
        match self.trees.get(tree).map(|tree| &tree.source) {
            Some(Source::Schema) => Owner::Schema,
            Some(Source::FreeList) => Owner::FreeList,
            Some(Source::Object(object)) => object.owner(self.pages.layout().encoding),
            None => Owner::Unknown,
        }
    }

    fn follow_all(&mut self) -> Step {
        self.link(PageNumber::FIRST, Kind::Node { depth: 0 }, SCHEMA)?;
        if let Some(trunk) = self.pages.layout().first_trunk {
            self.link(trunk, Kind::Trunk, FREE_LIST)?;
        }
        // Roots are often wanted, and are found without a hint.
        while let Some(lead) = self.first.pop_front() {
            self.follow(lead)?;
        }
        self.hint = self.hint_of_wanted();
        while let Some(lead) = self.next() {
            self.follow(lead)?;
        }
        Step::Continue(())
    }

    fn hint_of_wanted(&mut self) -> Option<Hint> {
        let content = self.pages.fetch(self.wanted)?;
        let node = Node::parse(self.wanted, content)?;
        Some(Hint {
            keys: node.keys(),
            row: node.first_row(),
        })
    }

    fn next(&mut self) -> Option<Lead> {
        while let Some(lead) = self.soon.pop_front() {
            if !self.is_leaf(lead) {
                return Some(lead);
            }
            self.later.push_back(lead);
        }
        self.later.pop_front()
    }

    /// Whether it is known without reading it that the page has no children.
    fn is_leaf(&self, lead: Lead) -> bool {
        let leaf_depth = self.trees.get(lead.tree).and_then(|tree| tree.leaf_depth);
        match lead.kind {
            Kind::Node { depth } => leaf_depth.is_some_and(|leaf_depth| depth >= leaf_depth),
            Kind::Trunk | Kind::Overflow => false,
        }
    }

    fn follow(&mut self, lead: Lead) -> Step {
        let Some(content) = self.pages.fetch(lead.page) else {
            return Step::Continue(());
        };
        match lead.kind {
            Kind::Node { depth } => match Node::parse(lead.page, content) {
                Some(node) if node.is_leaf() => self.leaf(&node, depth, lead.tree),
                Some(node) => self.interior(&node, depth + 1, lead.tree),
                None => Step::Continue(()),
            },
            Kind::Trunk => self.trunk(&content),
            Kind::Overflow => self.overflow(page_number(&content, 0), lead.tree),
        }
    }

    fn interior(&mut self, node: &Node, depth: usize, tree: usize) -> Step {
        let kind = Kind::Node { depth };
        let other_keys = self.hint.is_some_and(|hint| hint.keys != node.keys());
        let row = self.hint.and_then(|hint| hint.row);
        // Whether the keys of the children still to come are all above the hint's.
        let mut above = false;
        for cell in node.cells() {
            let below = row.zip(cell.row).is_some_and(|(row, last)| row > last);
            if let Some(child) = cell.child {
                self.link_at(child, kind, tree, other_keys || below || above)?;
            }
            above |= row.is_some() && !below;
            let overflow = cell.payload.and_then(|payload| payload.overflow);
            self.overflow(overflow, tree)?;
        }
        match node.last_child() {
            Some(child) => self.link_at(child, kind, tree, other_keys || above),
            None => Step::Continue(()),
        }
    }

    fn leaf(&mut self, node: &Node, depth: usize, tree: usize) -> Step {
        if let Some(tree) = self.trees.get_mut(tree) {
            tree.leaf_depth = Some(depth);
        }
        for payload in node.cells().filter_map(|cell| cell.payload) {
            if tree == SCHEMA {
                self.schema_row(payload)?;
            } else {
                self.overflow(payload.overflow, tree)?;
            }
        }
        Step::Continue(())
    }

    /// Links to the root that a row of the schema tells, in its overflow chain if need be.
    fn schema_row(&mut self, payload: Payload) -> Step {
        let Payload {
            local: mut record,
            mut overflow,
        } = payload;
        loop {
            match Row::parse(&record) {
                Row::Rooted(root, object) => {
                    self.root(root, object)?;
                    break;
                }
                Row::Cut if record.len() < LONGEST_ROW_START => {}
                Row::Cut | Row::Rootless => break,
            }
            let Some(page) = overflow else { break };
            if !self.claim(page, SCHEMA)? {
                return Step::Continue(());
            }
            let Some(content) = self.pages.fetch(page) else {
                return Step::Continue(());
            };
            overflow = page_number(&content, 0);
            record = joined(&record, content.get(4..).unwrap_or_default());
        }
        self.overflow(overflow, SCHEMA)
    }

    fn root(&mut self, root: PageNumber, object: Object) -> Step {
        if self.seen.contains(root.get()) {
            return Step::Continue(());
        }
        let tree = self.trees.len();
        self.trees.push(Tree {
            source: Source::Object(object),
            leaf_depth: None,
        });
        self.link(root, Kind::Node { depth: 0 }, tree)
    }

    fn trunk(&mut self, content: &Page) -> Step {
        let count = be_u32(content, 4).unwrap_or(0) as usize;
        let (leaves, _) = content.get(8..).unwrap_or_default().as_chunks();
        for leaf in leaves.iter().take(count) {
            if let Some(leaf) = PageNumber::new(u32::from_be_bytes(*leaf)) {
                self.claim(leaf, FREE_LIST)?;
            }
        }
        match page_number(content, 0) {
            Some(next) => self.link(next, Kind::Trunk, FREE_LIST),
            None => Step::Continue(()),
        }
    }

    fn overflow(&mut self, next: Option<PageNumber>, tree: usize) -> Step {
        match next {
            Some(next) => self.link_at(next, Kind::Overflow, tree, true),
            None => Step::Continue(()),
        }
    }

    fn link(&mut self, page: PageNumber, kind: Kind, tree: usize) -> Step {
        self.link_at(page, kind, tree, false)
    }

    /// A page of the tree that is to be followed.
    fn link_at(&mut self, page: PageNumber, kind: Kind, tree: usize, later: bool) -> Step {
        if self.claim(page, tree)? {
            let queue = match kind {
                _ if later => &mut self.later,
                Kind::Node { .. } if tree == SCHEMA => &mut self.first,
                Kind::Node { .. } | Kind::Trunk | Kind::Overflow => &mut self.soon,
            };
            queue.push_back(Lead { page, kind, tree });
        }
        Step::Continue(())
    }

    /// A page of the tree; false if it was seen before.
    fn claim(&mut self, page: PageNumber, tree: usize) -> Step<bool> {
        if page == self.wanted {
            return Step::Break(tree);
        }
        Step::Continue(self.seen.insert(page.get()))
    }
}

fn joined(begin: &[u8], end: &[u8]) -> Bytes {
    let mut whole = BytesMut::with_capacity(begin.len() + end.len());
    whole.extend_from_slice(begin);
    whole.extend_from_slice(end);
    whole.freeze()
}
