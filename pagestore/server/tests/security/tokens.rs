//! Tokens: every kind of request, with the right token and with each kind of wrong one.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio_stream::StreamExt as _;
use tonic::{Code, Status};
use verso_pagestore::grpc::proto;
use verso_pagestore::{DatabaseId, DatabaseName};
use verso_server::{Limits, Security, Tokens};

use crate::nodes::{Asker, channel, entry, start, store, with};
use crate::requests::{
    ID, administers, commit, everything, load_copy, others, reads, told, writes,
};

const MISSING: u64 = 8;

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
    address: std::net::SocketAddr,
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
        address,
        security,
        file,
        _folder: folder,
    }
}

/// How many requests there are.
fn rpcs() -> usize {
    let description = include_str!("../../../api/proto/verso/v1/pagestore.proto");
    let lines = description.lines().map(str::trim_start);
    lines.filter(|line| line.starts_with("rpc ")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_valid_token_nothing_is_answered() {
    let mut setup = setup("t/a").await;
    let mut messages = Vec::new();
    for token in ["", "wrong"] {
        let mut told = everything(&mut setup.asker, token, "t/a", ID).await;
        told.extend(others(&mut setup.asker, token).await);
        let requests: BTreeSet<_> = told.iter().map(|(request, _)| *request).collect();
        assert_eq!(requests.len(), rpcs(), "every request: {requests:?}");
        for (request, told) in told {
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
    let copy = load_copy("t/b", 9);
    refused.push(told!(asker, admin.load_copy, "writes", copy));
    let copy = load_copy("x/b", 9);
    refused.push(told!(asker, admin.load_copy, "administers", copy));
    for (request, told) in refused {
        let status = told.expect_err(request);
        assert_eq!(status.code(), Code::PermissionDenied, "{request}: {status}");
    }
    for (request, told) in writes(asker, "writes", ID).await {
        let code = told.err().map(|status| status.code());
        assert_ne!(code, Some(Code::PermissionDenied), "{request}");
    }
    let mut reads = commit(ID, false);
    reads.participants[0].snapshot = Some(asker.begin("reads", "t/a").await.unwrap());
    assert!(told!(asker, store.validate, "reads", reads).1.is_ok());
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

/// A lease that comes with a begin says no more than the begin would.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_turn_starts_with_is_told_to_who_may_read_it() {
    let mut setup = setup("t/a").await;
    let asker = &mut setup.asker;
    let create = proto::CreateRequest {
        name: "x/a".into(),
        database: 9,
    };
    assert!(told!(asker, admin.create, "everything", create).1.is_ok());
    for (name, expected) in [("t/a", Some(ID)), ("x/a", None), ("t/none", None)] {
        let request = proto::LeaseRequest {
            database: ID,
            id: vec![4; 16].into(),
            time_to_live_ms: 1000,
            ticket: Vec::new().into(),
            stuck: None,
            begin: Some(proto::BeginRequest {
                name: name.into(),
                since: None,
            }),
        };
        let reply = asker.store.lease(with("writes", request)).await.unwrap();
        let proto::LeaseReply { answer, start } = reply.into_inner();
        let granted = matches!(answer, Some(proto::lease_reply::Answer::Granted(_)));
        assert!(granted, "{name}: {answer:?}");
        let begun = start.and_then(|start| start.begun);
        let seen = begun.and_then(|begun| begun.snapshot);
        assert_eq!(seen.map(|seen| seen.database), expected, "{name}");
    }
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

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_taken_away_ends_its_watches() {
    let mut setup = setup("t/a").await;
    let message = proto::WatchRequest {
        name: "t/a".to_owned(),
        ..Default::default()
    };
    let messages = tokio_stream::once(message).chain(tokio_stream::pending());
    let watch = setup.asker.store.watch(with("reads", messages)).await;
    let mut replies = watch.unwrap().into_inner();
    assert!(replies.message().await.unwrap().is_some());
    std::fs::write(&setup.file, entry("new", "'t/*'", "read")).unwrap();
    setup.security.reload();
    let status = replies.message().await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_needs_no_token_and_descriptions_do() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

    let setup = setup("t/a").await;
    let channel = channel(setup.address).await;
    let mut health = HealthClient::new(channel.clone());
    let question = HealthCheckRequest::default();
    assert!(health.check(question.clone()).await.is_ok());
    let status = health.watch(question).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);

    let mut reflection = ServerReflectionClient::new(channel);
    let question = || {
        tokio_stream::once(ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        })
    };
    let refused = reflection.server_reflection_info(question()).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
    let asked = with("reads", question());
    let answers = reflection.server_reflection_info(asked).await;
    assert!(
        answers
            .unwrap()
            .into_inner()
            .message()
            .await
            .unwrap()
            .is_some()
    );
}
