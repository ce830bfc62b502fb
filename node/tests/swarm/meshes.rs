//! Two meshes: their nodes do not speak.

use forgemesh_node::ports::Mesh;
use forgemesh_node::real::swarm::Config;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::MeshId;

use super::bench::{Node, config, small, until};

/// A stranger knows a node's address and key, sends to it, and is not heard.
async fn is_not_heard(listen: &str) {
    let a = Node::start(Config { listen: vec![listen.to_owned()], ..config(1) });
    let mesh = MeshId(Hash::blob(b"another mesh"));
    let stranger = Config { mesh, bootstrap: a.addresses(), listen: vec![listen.to_owned()], ..config(2) };
    let mut stranger = Node::start(stranger);
    stranger.swarm.send(a.id, small(1));
    until("the loss of the message", || stranger.handle.status().counts.lost > 0).await;
    assert_eq!(stranger.handle.status().counts.sent, 0);
    assert_eq!(a.handle.status().counts.received, 0);
    assert_eq!(a.handle.status().listeners, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_mesh_is_not_heard_over_tcp() {
    is_not_heard("/ip4/127.0.0.1/tcp/0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_mesh_is_not_heard_over_quic() {
    is_not_heard("/ip4/127.0.0.1/udp/0/quic-v1").await;
}
