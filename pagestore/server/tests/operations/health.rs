//! `/healthz` and `/readyz` of a node. What a store that hangs or fails does to them is tested
//! beside their code.

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
