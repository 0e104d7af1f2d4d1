//! Transactions with leases, and the network, which delivers some requests twice.

use std::time::Duration;

use verso_engine::kv::sim::Seeded;
use verso_pagestore::{
    DatabaseId, DatabaseName, Lease, LeaseAnswer, LeaseError, LeaseRequest, LeaseView, PageStore,
    Place, Snapshot, Start,
};

use crate::client::{Client, assert_passes, settled};
use crate::world::World;

/// Short, so that holders lose it at times.
const TIME_TO_LIVE: Duration = Duration::from_millis(60);

/// How often something is asked for before a client gives up.
const PATIENCE: usize = 12;

impl Client<'_> {
    /// A transaction as after `BEGIN IMMEDIATE`: the lease first, then the snapshot.
    pub(crate) fn transaction_with_lease(&mut self) {
        let target = self.some_name();
        let Some(database) = self.begin(&target).map(|snapshot| snapshot.database) else {
            return;
        };
        let Some((lease, start)) = self.take_lease(database, &target, 3 * PATIENCE) else {
            return;
        };
        // Now and then its holder dies.
        if self.random.below(15) == 0 {
            return;
        }
        let snapshot = start.or_else(|| self.begin(&target));
        let snapshot = snapshot.filter(|it| it.database == database);
        let id = self.commit_id();
        let mut draft = Default::default();
        let is_ready = snapshot
            .is_some_and(|snapshot| self.take_part(&mut draft, id, snapshot, Some(lease), true));
        if self.random.below(4) == 0 {
            let _ = self
                .world
                .ask(&mut self.random, |node| node.renew_lease(&lease));
        }
        if is_ready && self.random.below(8) > 0 {
            self.submit(id, draft);
        } else {
            let _ = self
                .world
                .ask(&mut self.random, |node| node.release_lease(&lease));
        }
    }

    /// Waits for a lease as the VFS does: whoever was seen unchanged for its time to live is
    /// taken for dead.
    ///
    /// Some do not wait for that long: a store relies on no clock. The transaction may begin with
    /// the lease.
    pub(crate) fn take_lease(
        &mut self,
        database: DatabaseId,
        name: &DatabaseName,
        patience: usize,
    ) -> Option<(Lease, Option<Snapshot>)> {
        let mut request = LeaseRequest {
            database,
            id: self.lease_id(),
            time_to_live: TIME_TO_LIVE,
            ticket: None,
            stuck: None,
        };
        let mut seen = None;
        let is_hasty = self.random.below(3) > 0;
        let since = self.since(name);
        for _ in 0..patience {
            let called = self.world.history.lock().tick();
            let (answer, window) = self.world.ask_when(&mut self.random, |node| {
                node.lease_and_begin(&request, name, since)
            });
            match answer {
                Ok(Ok((LeaseAnswer::Granted(lease) | LeaseAnswer::HandedOver(lease), start))) => {
                    self.world.history.lock().grants.push(lease);
                    let start = start.map(|Start { begun, .. }| {
                        assert!(begun.snapshot.lease.is_held_as(&lease), "{begun:?}");
                        self.begun(name, called, window, since, begun)
                    });
                    return Some((lease, start));
                }
                Ok(Ok((LeaseAnswer::Waiting { ticket, view, .. }, _))) => {
                    request.ticket = Some(ticket);
                    let now = self.world.simulation.now();
                    let unchanged = match seen {
                        Some((same, since)) if same == view => since,
                        _ => now,
                    };
                    seen = Some((view, unchanged));
                    let wait = match view {
                        LeaseView::Held { time_to_live, .. } if !is_hasty => time_to_live,
                        LeaseView::Held { .. } | LeaseView::Free { .. } => TIME_TO_LIVE,
                    };
                    request.stuck = (now > unchanged + wait).then_some(view);
                }
                Ok(Err(LeaseError::Removed { database })) => {
                    self.world.history.lock().gone.push((database, window));
                    return None;
                }
                Ok(Err(LeaseError::Store(error))) => assert_passes(&error),
                Ok(Err(error @ LeaseError::Lost { .. })) => panic!("{error}"),
                Err(_) => {}
            }
            self.world.wait(&mut self.random, 20);
        }
        // Whoever dies instead leaves the ticket where it is.
        if let Some(ticket) = request.ticket
            && self.random.below(2) == 0
        {
            let place = Place {
                database,
                id: request.id,
                ticket,
            };
            let (answer, window) = self
                .world
                .ask_when(&mut self.random, |node| node.leave_queue(&place));
            if let Ok(Ok(())) = answer {
                self.world.history.lock().left.push((place, window));
            }
        }
        None
    }
}

/// Delivers requests once more, long after, at any node.
pub(crate) fn echo(world: &World, mut random: Seeded) {
    while world.has_clients() {
        world.wait(&mut random, 40);
        let Some(request) = world.echoes.lock().pop_front() else {
            continue;
        };
        if let Ok(answer) = world.ask(&mut random, |node| node.commit(&request))
            && let Some(answer) = settled(answer)
        {
            world.history.lock().answered(request.id, answer);
        }
    }
    world.one_is_done();
}
