//! Nodes that reach each other through a third alone.

use forgemesh_node::real::swarm::{Config, Route};

use super::bench::{Node, config, config_from, large, reach, small};

/// A listens only through the relay, B nowhere at all; B knows the relay and A's id.
async fn through_a_relay(pre_shared_key: Option<[u8; 32]>) {
    let private = |config: Config| Config { pre_shared_key, ..config };
    let relay = Node::start(private(Config { relay: true, ..config(1) }));
    let circuit = format!("{}/p2p-circuit", relay.addresses()[0]);
    let mut a = Node::start(private(Config { listen: vec![circuit], ..config(2) }));
    a.wait_for("a circuit", |status| status.external.iter().any(|address| address.contains("p2p-circuit")))
        .await;
    let mut b = Node::start(private(Config { listen: Vec::new(), ..config_from(3, &relay) }));
    reach(&mut b, &mut a, small(1)).await;
    let status = b.handle.status();
    assert!(status.peers[&a.id].links.iter().all(|link| link.route == Route::Relayed), "{status:?}");
    reach(&mut a, &mut b, large(2, 8 << 20)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_behind_a_relay_is_reached() {
    through_a_relay(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_behind_a_relay_is_reached_in_a_private_mesh() {
    through_a_relay(Some([9; 32])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_no_relay_carries_nothing() {
    let other = Node::start(config(1));
    let circuit = format!("{}/p2p-circuit", other.addresses()[0]);
    let a = Node::start(Config { listen: vec![circuit], ..config(2) });
    a.wait_for_peer(other.id).await;
    // It asks again and again; each time the listener is opened and closed anew.
    other
        .wait_for("what a speaks", |status| status.peers.get(&a.id).is_some_and(|peer| peer.agent.is_some()))
        .await;
    assert!(a.handle.status().external.is_empty());
}
