//! Nodes that reach each other through a third alone.

use forgemesh_node::ports::{Brought, Mesh};
use forgemesh_node::real::swarm::{Config, Route};

use super::bench::{Node, config, config_from, large, reach, small, within};

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

/// Where another is reached through it alone, a node dials itself, at an address that it may not know for its own, and is
/// told that nobody is there.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_does_not_take_itself_for_gone() {
    let [own, other] = [1, 2].map(|number| {
        let node = Node::start(config(number));
        let address = node.addresses().remove(0);
        let (_, peer) = address.split_once("/p2p/").expect("with its peer id");
        (node.id, peer.to_owned())
    });
    let circuit = format!("/ip4/127.0.0.1/tcp/1/p2p/{}/p2p-circuit/p2p/{}", own.1, other.1);
    let mut relay = Node::start(Config { relay: true, bootstrap: vec![circuit], ..config(1) });
    let mut told = 0;
    within("it dials in vain", async {
        while told < 3 {
            if let (node, Brought::Parted) = relay.swarm.next().await {
                assert_eq!(node, other.0, "{} takes itself for gone", own.0);
                told += 1;
            }
        }
    })
    .await;
}
