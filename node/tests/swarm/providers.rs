//! Artifacts that are found through who says that it has them.

use std::time::Duration;

use forgemesh_node::ports::Mesh;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::wire::Message;
use tokio::time::timeout;

use super::bench::{Node, config, config_from, message, within};

#[tokio::test(flavor = "multi_thread")]
async fn who_has_an_artifact_is_found_through_a_third() {
    let b = Node::start(config(2));
    let mut c = Node::start(config_from(3, &b));
    c.wait_for_peer(b.id).await;
    let mut a = Node::start(config_from(1, &b));
    a.wait_for_peer(b.id).await;
    let artifact = Hash::blob(b"an artifact");
    c.swarm.provide(vec![artifact]);
    let found = async {
        loop {
            a.swarm.seek(artifact);
            if let Ok(found) = timeout(Duration::from_secs(1), message(&mut a.swarm)).await {
                return found;
            }
        }
    };
    let found = within("a hint", found).await;
    assert_eq!(found, (c.id, Message::At { artifact, nodes: vec![c.id] }));
}
