//! Two nodes that know each other.

use forgemesh_node::ports::Mesh;
use forgemesh_node::real::swarm::{Config, Limits, Route, Swarm, SwarmError, node_at, peer_id};
use forgemesh_protocol::wire::Message;

use super::bench::{Node, config, config_from, large, reach, secret, small};

const MIB: usize = 1 << 20;

fn quic(number: u8) -> Config {
    Config { listen: vec!["/ip4/127.0.0.1/udp/0/quic-v1".to_owned()], ..config(number) }
}

/// Sends small and large messages, mixed, and checks that each kind arrives in order.
async fn exchange(from: &mut Node, to: &mut Node) {
    for round in 0..3_u8 {
        (0..100).for_each(|i| from.swarm.send(to.id, small(u64::from(round) * 100 + i)));
        from.swarm.send(to.id, large(round, 32 * MIB));
    }
    let (mut smalls, mut larges) = (Vec::new(), Vec::new());
    while smalls.len() + larges.len() < 303 {
        match to.receive().await {
            (sender, Message::Logged { seq, .. }) if sender == from.id => smalls.push(seq),
            (sender, message @ Message::Blob { .. }) if sender == from.id => larges.push(message),
            other => panic!("{other:?}"),
        }
    }
    assert!(smalls.into_iter().eq(0..300));
    assert!(larges.into_iter().eq((0..3).map(|round| large(round, 32 * MIB))));
}

#[tokio::test(flavor = "multi_thread")]
async fn small_and_large_messages_arrive_in_order_both_ways() {
    let mut a = Node::start(config(1));
    let mut b = Node::start(config_from(2, &a));
    let status = b.wait_for_peer(a.id).await;
    assert_eq!(status.peers[&a.id].links[0].route, Route::Tcp);
    a.wait_for_peer(b.id).await;
    exchange(&mut a, &mut b).await;
    exchange(&mut b, &mut a).await;
    let counts = a.handle.status().counts;
    assert_eq!((counts.sent, counts.received, counts.lost, counts.strikes), (303, 303, 0, 0));
}

/// As where the machine has few processors: the network is a task beside whatever else its runtime does.
#[tokio::test]
async fn a_network_without_a_thread_of_its_own_carries_as_much_and_ends_with_its_node() {
    let mut a = Node::start(config(1));
    let config = config_from(2, &a);
    let id = config.secret.public().id();
    let swarm = Swarm::spawn(config).await.unwrap();
    let mut b = Node { handle: swarm.handle(), swarm, id };
    assert_eq!(b.addresses().len(), 1, "it listens, and says where");
    b.wait_for_peer(a.id).await;
    exchange(&mut a, &mut b).await;
    exchange(&mut b, &mut a).await;
    drop(b);
    a.wait_for("the end of the connection", |status| status.peers.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_mesh_speaks_quic_too() {
    let mut a = Node::start(quic(1));
    let mut b = Node::start(Config { bootstrap: a.addresses(), ..quic(2) });
    let status = b.wait_for_peer(a.id).await;
    assert_eq!(status.peers[&a.id].links[0].route, Route::Quic);
    a.wait_for_peer(b.id).await;
    exchange(&mut a, &mut b).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_do_not_hold_up_small_ones() {
    let mut a = Node::start(config(1));
    let mut b = Node::start(config_from(2, &a));
    reach(&mut b, &mut a, small(0)).await;
    (0..3).for_each(|number| b.swarm.send(a.id, large(number, 64 * MIB)));
    b.swarm.send(a.id, small(1));
    let mut arrived = Vec::new();
    while arrived.len() < 4 {
        let message = a.receive().await.1;
        if message != small(0) {
            arrived.push(message);
        }
    }
    // In one stream the small one would come last, for certain.
    assert_ne!(arrived[3], small(1));
    assert!(arrived.contains(&small(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_of_a_peer_shows_in_the_status() {
    let a = Node::start(config(1));
    let b = Node::start(Config { known: vec![secret(1).public()], ..config_from(2, &a) });
    let known = |status: &forgemesh_node::real::swarm::Status| {
        status.peers.get(&a.id).is_some_and(|peer| peer.agent.is_some() && peer.rtt.is_some())
    };
    let status = b.wait_for("what a runs, and how far it is", known).await;
    let peer = &status.peers[&a.id];
    assert!(peer.agent.as_ref().unwrap().starts_with("forgemesh/"));
    assert!(peer.is_kept && peer.links[0].is_outgoing);
    assert!(status.known >= 1);
    let address = &a.addresses()[0];
    assert!(address.ends_with(&peer_id(&secret(1).public()).unwrap()));
    assert_eq!(node_at(address), Some(a.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_dropped_closes_its_connections_and_may_come_back() {
    let a = Node::start(config(1));
    let address = a.addresses()[0].clone();
    let mut b = Node::start(config_from(2, &a));
    b.wait_for_peer(a.id).await;
    let id = a.id;
    drop(a);
    b.wait_for("the end of the connection", |status| status.peers.is_empty()).await;
    let listen = address.split("/p2p/").next().unwrap().to_owned();
    let mut a = Node::start(Config { listen: vec![listen], ..config(1) });
    assert_eq!(a.id, id);
    reach(&mut b, &mut a, small(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handle_connects_and_says_why_not() {
    let a = Node::start(config(1));
    let b = Node::start(config(2));
    assert!(b.handle.dial("/dns4/a.example/tcp/1").is_err());
    b.handle.dial("/ip4/127.0.0.1/tcp/1").unwrap();
    b.wait_for("a failure", |status| status.last_failure.is_some()).await;
    b.handle.dial(&a.addresses()[0]).unwrap();
    b.wait_for_peer(a.id).await;
    let handle = b.handle.clone();
    drop(b);
    assert!(handle.dial(&a.addresses()[0]).is_err());
    a.wait_for("the end of the connection", |status| status.peers.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_refused_by_name() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("/ip4/127.0.0.1/tcp/{}", taken.local_addr().unwrap().port());
    let config = || Config { listen: vec![address.clone()], ..config(1) };
    for refused in [Swarm::start(config()).err(), Swarm::spawn(config()).await.err()] {
        match refused {
            Some(SwarmError::Listen { address: named, .. }) => assert_eq!(named, address),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_limited_but_not_those_of_known_nodes() {
    let limits = Limits { connections: 1, ..Limits::default() };
    let a = Node::start(Config { limits, known: vec![secret(4).public()], ..config(1) });
    let b = Node::start(config_from(2, &a));
    a.wait_for_peer(b.id).await;
    let c = Node::start(config_from(3, &a));
    c.wait_for("a refusal", |status| status.counts.dials > 1).await;
    let d = Node::start(config_from(4, &a));
    let status = a.wait_for_peer(d.id).await;
    assert!(!status.peers.contains_key(&c.id));
}
