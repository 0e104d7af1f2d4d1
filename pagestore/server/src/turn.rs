//! A turn under a lease: the lease and what its transaction starts with, in one request.

use verso_pagestore::{
    Begun, Changes, DatabaseName, LeaseAnswer, LeaseError, LeaseRequest, PageNumber, PageStore,
    RoaringBitmap, Since, Start,
};

use crate::service::listed;

/// More pages than this are not sent along: most of them would not be wanted.
const MOST_PAGES: u64 = 8;

/// Asks for a lease, and begins if the client holds it then and asks for that.
pub(crate) fn take(
    store: &dyn PageStore,
    request: &LeaseRequest,
    turn: Option<(DatabaseName, Option<Since>)>,
) -> Result<(LeaseAnswer, Option<Start>), LeaseError> {
    let Some((name, since)) = turn else {
        return Ok((store.lease(request)?, None));
    };
    let (answer, start) = store.lease_and_begin(request, &name, since)?;
    let begun = match answer {
        LeaseAnswer::Waiting { .. } => None,
        LeaseAnswer::Granted(_) | LeaseAnswer::HandedOver(_) => match start {
            Some(start) => Some(start.begun),
            // If that fails, the client, which holds the lease, learns why when it begins by itself.
            None => store.begin(&name, since).ok(),
        },
    };
    Ok((answer, begun.map(|begun| start_on(store, listed(begun)))))
}

fn start_on(store: &dyn PageStore, begun: Begun) -> Start {
    let snapshot = begun.snapshot;
    let wanted = last_changed(&begun.changes).into_iter();
    let wanted = wanted.filter_map(PageNumber::new);
    let wanted = wanted.filter(|page| snapshot.page_count.contains(*page));
    let wanted: Vec<_> = wanted.collect();
    // Without them the client asks for those that it wants.
    let read = match wanted.as_slice() {
        [] => Vec::new(),
        wanted => store.read(&snapshot, wanted).unwrap_or_default(),
    };
    let pages = wanted.into_iter().zip(read).collect();
    Start { begun, pages }
}

/// The pages of the last commits, as long as they are few.
fn last_changed(changes: &Changes) -> RoaringBitmap {
    let mut pages = RoaringBitmap::new();
    let Changes::Commits(commits) = changes else {
        return pages;
    };
    for commit in commits.iter().rev() {
        let more = &pages | &commit.pages;
        if more.len() > MOST_PAGES {
            break;
        }
        pages = more;
    }
    pages
}

#[cfg(test)]
mod tests {
    use verso_pagestore::{CommitId, CommitPages, Version};

    use super::*;

    fn last(commits: &[&[u32]]) -> Vec<u32> {
        let commits = commits.iter().map(|pages| CommitPages {
            version: Version::MIN,
            commit: CommitId::from_bytes([1; 16]),
            pages: pages.iter().copied().collect(),
        });
        let changes = Changes::Commits(commits.collect());
        last_changed(&changes).into_iter().collect()
    }

    #[test]
    fn pages_of_the_last_commits_come_along_as_long_as_they_are_few() {
        let eight: [u32; 8] = [1, 2, 3, 4, 5, 6, 7, 8];
        let nine: [u32; 9] = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        assert_eq!(last(&[]), []);
        assert_eq!(last(&[&eight]), eight);
        assert_eq!(last(&[&nine]), []);
        assert_eq!(last(&[&nine, &[10], &[11, 10]]), [10, 11]);
        assert_eq!(last(&[&[9], &eight, &[3]]), eight);
        assert_eq!(last(&[&[7], &nine]), []);
        for changes in [Changes::Unknown, Changes::Diverged] {
            assert!(last_changed(&changes).is_empty());
        }
    }
}
