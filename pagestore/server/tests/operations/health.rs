//! `/healthz` and `/readyz` of a node. What a store that hangs does to them is tested beside their
//! code.

use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use verso_pagestore::StoreUrl;
use verso_server::Limits;

use crate::node::Node;

#[test]
fn a_node_is_ready_until_it_shuts_down_and_lives_all_the_while() {
    let node = Node::start();
    assert_eq!(node.get("/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(node.get("/readyz"), (200, "ok\n".to_owned()));
    node.life.end();
    assert_eq!(node.get("/healthz").0, 200);
    let reason = "the node is shutting down\n".to_owned();
    assert_eq!(node.get("/readyz"), (503, reason));
    assert_eq!(node.get("/metrics").0, 200);
    assert_eq!(node.get("/other").0, 404);
}

#[test]
fn a_node_whose_store_fails_is_not_ready_and_says_why() {
    // A store that fails at everything: behind a server that knows no request of a store.
    let runtime = Runtime::new().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let service = tonic_health::server::health_reporter().1;
    let server = Server::builder().add_service(service);
    let _running = runtime.enter();
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    let store = verso_open::open(&StoreUrl::parse(&url).unwrap()).unwrap();

    let node = Node::start_on(store, tempfile::tempdir().unwrap(), Limits::default());
    let (status, reason) = node.get("/readyz");
    assert_eq!(status, 503, "{reason}");
    assert!(reason.contains("does not know this request"), "{reason}");
    assert_eq!(node.get("/healthz").0, 200);
}
