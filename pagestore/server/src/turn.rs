//! A turn under a lease: the lease and what its transaction starts with, in one request.

use verso_pagestore::{
    Changes, DatabaseName, LeaseAnswer, LeaseError, LeaseRequest, PageNumber, PageStore,
    RoaringBitmap, Since, Start,
};

use crate::service::listed;

/// More pages than this are not sent along: most of them would not be wanted.
const MOST_PAGES: u64 = 8;

/// Asks for a lease, and begins if the client holds it then and asks for that.
pub(crate) fn take(
    store: &dyn PageStore,
    request: &LeaseRequest,
    begin: Option<(DatabaseName, Option<Since>)>,
) -> Result<(LeaseAnswer, Option<Start>), LeaseError> {
    let answer = store.lease(request)?;
    let start = match answer {
        LeaseAnswer::Granted(_) | LeaseAnswer::HandedOver(_) => {
            begin.and_then(|(name, since)| start(store, &name, since))
        }
        LeaseAnswer::Waiting { .. } => None,
    };
    Ok((answer, start))
}

/// `None` if that fails. The client holds the lease, and learns why when it begins by itself.
fn start(store: &dyn PageStore, name: &DatabaseName, since: Option<Since>) -> Option<Start> {
    let begun = listed(store.begin(name, since).ok()?);
    let numbers = few_changed(&begun.changes);
    let wanted = numbers.filter_map(PageNumber::new);
    let wanted = wanted.filter(|page| begun.snapshot.page_count.contains(*page));
    let wanted: Vec<_> = wanted.collect();
    // Without them the client asks for those that it wants.
    let read = match wanted.as_slice() {
        [] => Vec::new(),
        wanted => store.read(&begun.snapshot, wanted).unwrap_or_default(),
    };
    let pages = wanted.into_iter().zip(read).collect();
    Some(Start { begun, pages })
}

/// The pages that have changed, if they are few.
fn few_changed(changes: &Changes) -> impl Iterator<Item = u32> + use<> {
    let mut changed = RoaringBitmap::new();
    if let Changes::Commits(commits) = changes {
        for commit in commits {
            changed |= &commit.pages;
        }
    }
    if changed.len() > MOST_PAGES {
        changed.clear();
    }
    changed.into_iter()
}
