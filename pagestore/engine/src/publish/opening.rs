//! The first step of a publication: checks the transaction, and keeps everybody else from
//! committing.

use verso_pagestore::{
    Change, CommitError, CommitId, CommitOutcome, CommitRequest, Durability, Participant,
    RoaringBitmap,
};

use super::{Halt, Part, Step, halted, own_lease, refused};
use crate::check::{Earlier, must_exist};
use crate::commit::guard;
use crate::kv::{Kv, KvTransaction, RunError, run};
use crate::lease::{Beat, LeaseRecord, Publishing};
use crate::{Engine, conflict, keys};

/// Which earlier attempts at a commit have come to a halt.
#[derive(Debug, Clone, Copy)]
enum Dead {
    /// The one that was seen so.
    This((Publishing, Beat)),
    All,
}

impl Dead {
    fn includes(self, publishing: Publishing, beat: Beat) -> bool {
        match self {
            Self::This(dead) => dead == (publishing, beat),
            Self::All => true,
        }
    }
}

/// How the first step ended.
pub(super) enum Opened<'a> {
    /// An earlier attempt had taken effect.
    Committed(CommitOutcome),
    Parts(Vec<Part<'a>>),
}

impl<K: Kv> Engine<K> {
    /// The first step: checks the transaction, and keeps everybody else from committing.
    pub(super) fn open_publication<'a>(
        &self,
        request: &'a CommitRequest,
        dead: Option<(Publishing, Beat)>,
    ) -> Result<Opened<'a>, Halt> {
        let result = run(&self.kv, Durability::Off, |transaction| {
            let found = match self.look_at_all(transaction, request).map_err(halted)? {
                Earlier::Committed(version) => {
                    // An attempt after the one that took effect may have staged again.
                    for participant in &request.participants {
                        let database = participant.snapshot.database;
                        transaction.clear_range(&keys::staged(database, request.id));
                    }
                    let read_version = transaction.read_version()?;
                    return Ok(Opened::Committed(CommitOutcome {
                        version,
                        read_version,
                        mark: None,
                    }));
                }
                Earlier::Others(found) => found,
            };
            let mut parts = Vec::new();
            for (participant, found) in request.participants.iter().zip(found) {
                if let Some(obstacle) = found.obstacle {
                    return Err(refused(obstacle));
                }
                if let Some(change) = &participant.change {
                    // Who publishes shows it in all databases at once, so one is enough to know.
                    let dead = match parts.first() {
                        None => dead.map(Dead::This),
                        Some(_) => Some(Dead::All),
                    };
                    let id = request.id;
                    parts.push(self.open_part(transaction, id, participant, change, dead)?);
                }
                guard(transaction, request.id, participant);
            }
            Ok(Opened::Parts(parts))
        });
        self.finish_step(result.map(|(opened, _)| opened))
    }

    fn open_part<'a>(
        &self,
        transaction: &mut K::Transaction,
        id: CommitId,
        participant: &Participant,
        change: &'a Change,
        dead: Option<Dead>,
    ) -> Step<Part<'a>> {
        let database = participant.snapshot.database;
        must_exist(transaction, database).map_err(halted)?;
        let record = self.lease_record::<Halt>(transaction, database)?;
        let claimed = claimed(&record, id, participant).map_err(refused)?;
        if let Some(publishing) = record.publishing()
            && !dead.is_some_and(|dead| dead.includes(publishing, record.beat()))
        {
            return Err(RunError::Abort(Halt::Underway(publishing, record.beat())));
        }
        let record = claimed;
        let publishing = record
            .publishing()
            .ok_or(RunError::Abort(Halt::Superseded))?;
        let mut pages = change.written();
        pages.remove_range(change.page_count.get().saturating_add(1)..);
        transaction.set(&keys::lease(database), &record.encode());
        let value = encode_pages(&pages);
        transaction.set(&keys::publication(database), &value);
        Ok(Part {
            change,
            pages,
            database,
            base: participant.snapshot.version,
            publishing,
        })
    }
}

/// The lease record of a database whose publication begins, or begins again.
fn claimed(
    record: &LeaseRecord,
    id: CommitId,
    participant: &Participant,
) -> Result<LeaseRecord, CommitError> {
    let database = participant.snapshot.database;
    match &participant.lease {
        Some(lease) if record.is_held_as(lease) && record.is_open_to(id) => {
            Ok(record.publishes(id))
        }
        Some(_) => Err(CommitError::LeaseLost { database }),
        None => {
            let own = own_lease(id);
            let is_free = !record.is_held() || record.is_held_by(own) && record.is_open_to(id);
            if is_free {
                Ok(record.taken_to_publish(own).publishes(id))
            } else {
                Err(CommitError::Leased { database })
            }
        }
    }
}

/// The stored form of the pages of a publication: at least all of them, in few bytes.
fn encode_pages(pages: &RoaringBitmap) -> Vec<u8> {
    let pages = conflict::coarse(pages.clone());
    let mut bytes = Vec::with_capacity(pages.serialized_size());
    pages
        .serialize_into(&mut bytes)
        .expect("writing to memory does not fail");
    bytes
}
