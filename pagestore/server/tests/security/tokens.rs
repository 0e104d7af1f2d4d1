//! Tokens: every kind of request, with the right token and with each kind of wrong one.

use std::time::Duration;

use tonic::{Code, Status};
use verso_pagestore::grpc::proto;
use verso_pagestore::{DatabaseId, DatabaseName};
use verso_server::{Limits, Security, Tokens};

use crate::nodes::{Asker, channel, entry, start, store, with};

const ID: u64 = 7;
const MISSING: u64 = 8;

/// Asks, and says what was asked and how it ended.
macro_rules! told {
    ($asker:expr, $service:ident . $method:ident, $token:expr, $message:expr) => {{
        let answer = $asker.$service.$method(with($token, $message)).await;
        (stringify!($method), answer.map(|_| ()))
    }};
}

type Told = (&'static str, Result<(), Status>);

fn snapshot(database: u64) -> proto::Snapshot {
    proto::Snapshot {
        database,
        version: vec![0; 10].into(),
        commit: vec![1; 16].into(),
        read_version: 0,
        page_size: 512,
        page_count: 1,
    }
}

fn commit(database: u64, writes: bool) -> proto::CommitRequest {
    let change = proto::Change {
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

fn held(database: u64) -> proto::HeldLease {
    proto::HeldLease {
        database,
        epoch: 1,
        id: vec![3; 16].into(),
    }
}

async fn reads(asker: &mut Asker, token: &str, name: &str, database: u64) -> Vec<Told> {
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

async fn writes(asker: &mut Asker, token: &str, database: u64) -> Vec<Told> {
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
            }
        ),
    ]
}

async fn administers(asker: &mut Asker, token: &str, name: &str, database: u64) -> Vec<Told> {
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

async fn everything(asker: &mut Asker, token: &str, name: &str, database: u64) -> Vec<Told> {
    let mut told = reads(asker, token, name, database).await;
    told.extend(writes(asker, token, database).await);
    told.extend(administers(asker, token, name, database).await);
    told
}

fn write_tokens(path: &std::path::Path) {
    let tokens = [
        entry("reads", "'t/*'", "read"),
        entry("writes", "'t/*'", "write"),
        entry("administers", "'t/*'", "admin"),
        entry("everything", "'*'", "admin"),
    ];
    std::fs::write(path, tokens.concat()).unwrap();
}

struct Setup {
    asker: Asker,
    security: Security,
    file: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

async fn setup(name: &str) -> Setup {
    let store = store();
    store
        .create(&DatabaseName::new(name).unwrap(), DatabaseId::new(ID))
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens.toml");
    write_tokens(&file);
    let tokens = Some(Tokens::read(&file).unwrap());
    let security = Security { tokens, tls: None };
    let address = start(store, Limits::default(), security.clone()).await;
    Setup {
        asker: Asker::new(channel(address).await),
        security,
        file,
        _folder: folder,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_valid_token_nothing_is_answered() {
    let mut setup = setup("t/a").await;
    let mut messages = Vec::new();
    for token in ["", "wrong"] {
        for (request, told) in everything(&mut setup.asker, token, "t/a", ID).await {
            let status = told.expect_err(request);
            assert_eq!(status.code(), Code::Unauthenticated, "{request}");
            assert!(!status.message().contains("wrong"), "{status}");
            messages.push(status.message().to_owned());
        }
    }
    messages.dedup();
    assert_eq!(messages.len(), 1, "{messages:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_missing_is_refused() {
    let mut setup = setup("t/a").await;
    let asker = &mut setup.asker;
    for (request, told) in reads(asker, "reads", "t/a", ID).await {
        let code = told.err().map(|status| status.code());
        assert_ne!(code, Some(Code::PermissionDenied), "{request}");
    }
    let mut refused = writes(asker, "reads", ID).await;
    refused.extend(administers(asker, "writes", "t/a", ID).await);
    let create = proto::CreateRequest {
        name: "t/b".into(),
        database: 9,
    };
    refused.push(told!(asker, admin.create, "reads", create.clone()));
    let load = proto::LoadBeginRequest {
        name: "t/b".into(),
        database: 9,
    };
    refused.push(told!(asker, admin.load_begin, "writes", load));
    for (request, told) in refused {
        let status = told.expect_err(request);
        assert_eq!(status.code(), Code::PermissionDenied, "{request}: {status}");
    }
    for (request, told) in writes(asker, "writes", ID).await {
        let code = told.err().map(|status| status.code());
        assert_ne!(code, Some(Code::PermissionDenied), "{request}");
    }
    assert!(
        told!(asker, store.validate, "reads", commit(ID, false))
            .1
            .is_ok()
    );
    assert!(told!(asker, admin.create, "writes", create).1.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_outside_the_patterns_looks_missing() {
    let mut hidden = setup("x/a").await;
    // There, nothing of it exists.
    let mut empty = setup("other").await;
    for token in ["reads", "writes", "administers"] {
        let seen = everything(&mut hidden.asker, token, "x/a", ID).await;
        let missing = everything(&mut empty.asker, "administers", "x/a", MISSING).await;
        for ((request, seen), (_, missing)) in seen.into_iter().zip(missing) {
            let told = |answer: Result<(), Status>| match answer {
                Ok(()) => "done".to_owned(),
                Err(status) => {
                    let message = status
                        .message()
                        .replace(&format!("{MISSING:016x}"), &format!("{ID:016x}"));
                    let mut details = status.details().to_vec();
                    details
                        .iter_mut()
                        .filter(|byte| **byte == 8)
                        .for_each(|byte| *byte = 7);
                    format!("{:?} {message} {details:?}", status.code())
                }
            };
            assert_eq!(told(seen), told(missing), "{request}");
        }
        assert!(hidden.asker.names(token).await.is_empty());
    }
    // To make one there is refused in the same way whether or not the name is taken.
    let mut refusals = Vec::new();
    for name in ["x/a", "x/b"] {
        let create = proto::CreateRequest {
            name: name.into(),
            database: 9,
        };
        let (_, told) = told!(hidden.asker, admin.create, "administers", create);
        let status = told.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied);
        refusals.push(status.message().replace(name, ""));
    }
    assert_eq!(refusals[0], refusals[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rename_makes_a_database_visible_and_invisible() {
    let mut setup = setup("x/a").await;
    let asker = &mut setup.asker;
    let verify = || proto::NameOfRequest { database: ID };
    for (from, to, visible) in [("x/a", "t/a", true), ("t/a", "x/a", false)] {
        let rename = proto::RenameRequest {
            from: from.into(),
            to: to.into(),
        };
        asker
            .admin
            .rename(with("everything", rename))
            .await
            .unwrap();
        assert_eq!(asker.begin("reads", "t/a").await.is_ok(), visible);
        assert_eq!(asker.names("reads").await.is_empty(), !visible);
        assert_eq!(asker.names("everything").await, [to]);
        // By its id it is remembered for a second.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let name = asker.admin.name_of(with("reads", verify())).await.unwrap();
        assert_eq!(!name.into_inner().name.is_empty(), visible);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_adds_and_removes_tokens_and_survives_a_broken_file() {
    let mut setup = setup("t/a").await;
    let asker = &mut setup.asker;
    std::fs::write(&setup.file, entry("new", "'t/*'", "read")).unwrap();
    assert!(asker.begin("reads", "t/a").await.is_ok());
    setup.security.reload();
    assert_eq!(
        asker.begin("reads", "t/a").await.unwrap_err().code(),
        Code::Unauthenticated
    );
    assert!(asker.begin("new", "t/a").await.is_ok());
    std::fs::write(&setup.file, "[[token]]\nnonsense = 1\n").unwrap();
    setup.security.reload();
    assert!(asker.begin("new", "t/a").await.is_ok());
    assert!(!format!("{:?}", setup.security).contains("sha"));
}
