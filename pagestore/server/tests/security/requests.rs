//! Every kind of request, with a token: what was asked, and how it ended.

use tonic::Status;
use verso_pagestore::grpc::proto;

use crate::nodes::{Asker, with};

pub(crate) const ID: u64 = 7;

/// Asks, and says what was asked and how it ended.
macro_rules! told {
    ($asker:expr, $service:ident . $method:ident, $token:expr, $message:expr) => {{
        let answer = $asker.$service.$method(with($token, $message)).await;
        (stringify!($method), answer.map(|_| ()))
    }};
}

pub(crate) use told;

pub(crate) type Told = (&'static str, Result<(), Status>);

pub(crate) fn snapshot(database: u64) -> proto::Snapshot {
    proto::Snapshot {
        database,
        version: vec![0; 10].into(),
        commit: vec![1; 16].into(),
        read_version: 0,
        page_size: 512,
        page_count: 1,
        lease: None,
    }
}

pub(crate) fn commit(database: u64, writes: bool) -> proto::CommitRequest {
    let change = proto::Change {
        deltas: Vec::new(),
        writes: vec![proto::PageWrite {
            number: 1,
            page: vec![0; 512].into(),
        }],
        staged: Vec::new().into(),
        page_size: 512,
        page_count: 1,
    };
    proto::CommitRequest {
        id: vec![2; 16].into(),
        durability: proto::Durability::Full.into(),
        participants: vec![proto::Participant {
            snapshot: Some(snapshot(database)),
            reads: Vec::new().into(),
            lease: None,
            change: writes.then_some(change),
        }],
    }
}

pub(crate) fn held(database: u64) -> proto::HeldLease {
    proto::HeldLease {
        database,
        epoch: 1,
        id: vec![3; 16].into(),
    }
}

pub(crate) fn load_copy(name: &str, database: u64) -> proto::LoadCopyRequest {
    proto::LoadCopyRequest {
        name: name.to_owned(),
        database,
        origin: Some(proto::Origin {
            database: 1,
            version: vec![0; 10].into(),
            commit: vec![1; 16].into(),
        }),
    }
}

pub(crate) async fn reads(asker: &mut Asker, token: &str, name: &str, database: u64) -> Vec<Told> {
    let name = || name.to_owned();
    vec![
        told!(
            asker,
            store.begin,
            token,
            proto::BeginRequest {
                name: name(),
                since: None
            }
        ),
        told!(
            asker,
            store.read,
            token,
            proto::ReadRequest {
                snapshot: Some(snapshot(database)),
                pages: vec![1],
            }
        ),
        told!(
            asker,
            store.snapshot_at,
            token,
            proto::SnapshotAtRequest {
                name: name(),
                moment: Some(proto::snapshot_at_request::Moment::TimeMs(u64::MAX / 2)),
            }
        ),
        told!(
            asker,
            admin.info,
            token,
            proto::InfoRequest { name: name() }
        ),
        told!(
            asker,
            admin.log,
            token,
            proto::LogRequest {
                name: name(),
                before: Vec::new().into(),
                limit: 1,
            }
        ),
        told!(
            asker,
            admin.name_of,
            token,
            proto::NameOfRequest { database }
        ),
        told!(
            asker,
            admin.verify,
            token,
            proto::VerifyRequest {
                database,
                after: None
            }
        ),
    ]
}

pub(crate) async fn writes(asker: &mut Asker, token: &str, database: u64) -> Vec<Told> {
    vec![
        told!(asker, store.commit, token, commit(database, true)),
        told!(asker, store.validate, token, commit(database, true)),
        told!(
            asker,
            store.stage,
            token,
            proto::StageRequest {
                database,
                commit: vec![2; 16].into(),
                writes: Vec::new(),
            }
        ),
        told!(
            asker,
            store.lease,
            token,
            proto::LeaseRequest {
                database,
                id: vec![4; 16].into(),
                time_to_live_ms: 1000,
                ticket: Vec::new().into(),
                stuck: None,
                begin: None,
            }
        ),
        told!(asker, store.renew_lease, token, held(database)),
        told!(asker, store.release_lease, token, held(database)),
        told!(
            asker,
            store.leave_queue,
            token,
            proto::LeaveQueueRequest {
                database,
                ticket: vec![0; 10].into(),
                id: vec![4; 16].into(),
            }
        ),
    ]
}

pub(crate) async fn administers(
    asker: &mut Asker,
    token: &str,
    name: &str,
    database: u64,
) -> Vec<Told> {
    let name = || name.to_owned();
    vec![
        told!(
            asker,
            admin.load_pages,
            token,
            proto::LoadPagesRequest {
                database,
                writes: Vec::new(),
            }
        ),
        told!(
            asker,
            admin.load_abort,
            token,
            proto::LoadAbortRequest { database }
        ),
        told!(
            asker,
            admin.load_finish,
            token,
            proto::LoadFinishRequest {
                database,
                name: "t/new".to_owned(),
                page_size: 512,
                page_count: 0,
            }
        ),
        told!(
            asker,
            admin.rename,
            token,
            proto::RenameRequest {
                from: name(),
                to: "t/z".into()
            }
        ),
        told!(
            asker,
            admin.remove,
            token,
            proto::RemoveRequest { name: name() }
        ),
    ]
}

pub(crate) async fn everything(
    asker: &mut Asker,
    token: &str,
    name: &str,
    database: u64,
) -> Vec<Told> {
    let mut told = reads(asker, token, name, database).await;
    told.extend(writes(asker, token, database).await);
    told.extend(administers(asker, token, name, database).await);
    told
}

/// What is not about one database that there is.
pub(crate) async fn others(asker: &mut Asker, token: &str) -> Vec<Told> {
    let watch = proto::WatchRequest {
        name: "t/a".to_owned(),
        ..Default::default()
    };
    vec![
        told!(asker, store.watch, token, tokio_stream::once(watch)),
        told!(
            asker,
            admin.list,
            token,
            proto::ListRequest {
                after: String::new(),
                limit: 1
            }
        ),
        told!(
            asker,
            admin.create,
            token,
            proto::CreateRequest {
                name: "t/new".to_owned(),
                database: 20,
            }
        ),
        told!(
            asker,
            admin.load_begin,
            token,
            proto::LoadBeginRequest {
                name: "t/loaded".to_owned(),
                database: 21,
            }
        ),
        told!(asker, admin.load_copy, token, load_copy("t/copied", 22)),
    ]
}
