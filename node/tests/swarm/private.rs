//! A mesh with a pre-shared key: who lacks it gets nowhere.

use forgemesh_node::ports::Mesh;
use forgemesh_node::real::swarm::{Config, Swarm, SwarmError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::bench::{Node, config, reach, small, within};

const KEY: Option<[u8; 32]> = Some([7; 32]);

/// A member of the private mesh that listens at several addresses.
fn member(number: u8) -> Config {
    let listen = vec!["/ip4/127.0.0.1/tcp/0".to_owned(), "/ip4/127.0.0.2/tcp/0".to_owned()];
    Config { listen, pre_shared_key: KEY, ..config(number) }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lacks_the_key_gets_nowhere() {
    let mut a = Node::start(member(1));
    assert_eq!(a.addresses().len(), 2);
    for (number, pre_shared_key) in [(2, None), (3, Some([8; 32]))] {
        for address in a.addresses() {
            let bootstrap = vec![address];
            let mut outsider = Node::start(Config { bootstrap, pre_shared_key, ..config(number) });
            outsider.swarm.send(a.id, small(1));
            outsider.wait_for("a refusal", |status| status.counts.failed_dials > 1).await;
            assert!(outsider.handle.status().peers.is_empty());
        }
    }
    assert!(a.handle.status().peers.is_empty());
    assert_eq!(a.handle.status().counts.received, 0);
    // The door is not simply shut.
    for address in a.addresses() {
        let mut b = Node::start(Config { bootstrap: vec![address], ..member(4) });
        reach(&mut b, &mut a, small(2)).await;
    }
}

/// What a client is told that says this, until it is shut out.
async fn answer(place: String, bytes: Vec<u8>) -> Vec<u8> {
    let mut stream = TcpStream::connect(place).await.unwrap();
    // It may be closed before all is written.
    let _ = stream.write_all(&bytes).await;
    let mut answer = Vec::new();
    // A reset is an end, too.
    let _ = within("the end of the connection", stream.read_to_end(&mut answer)).await;
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_handshake_are_answered_with_a_closed_door() {
    let a = Node::start(member(1));
    let mut clients = JoinSet::new();
    for address in a.addresses() {
        let parts: Vec<&str> = address.split('/').collect();
        let place = format!("{}:{}", parts[2], parts[4]);
        for bytes in [
            b"GET / HTTP/1.1\r\n\r\n".repeat(40),
            b"\x13/multistream/1.0.0\n".repeat(10),
            vec![0; 5_000],
            Vec::new(),
        ] {
            clients.spawn(answer(place.clone(), bytes));
        }
    }
    while let Some(answer) = clients.join_next().await {
        // Of the node's nonce, and of what is encrypted under a key that it lacks, a client can make nothing.
        let answer = answer.unwrap();
        assert!(!answer.windows(11).any(|part| part == b"multistream"), "{answer:?}");
    }
    let status = a.handle.status();
    assert_eq!((status.peers.len(), status.counts.received), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn quic_is_refused_whatever_asks_for_it() {
    let open = Node::start(Config { listen: vec!["/ip4/127.0.0.1/udp/0/quic-v1".to_owned()], ..config(9) });
    let quic = open.addresses()[0].clone();
    let circuit = format!("{quic}/p2p-circuit");
    let listen = |address: &str| Config { listen: vec![address.to_owned()], ..member(1) };
    let configs = [
        listen("/ip4/127.0.0.1/udp/0/quic-v1"),
        listen(&circuit),
        Config { bootstrap: vec![quic.clone()], ..member(1) },
        Config { external: vec!["/ip4/203.0.113.7/udp/4001/quic-v1".to_owned()], ..member(1) },
    ];
    for config in configs {
        match Swarm::start(config).err() {
            Some(error @ SwarmError::QuicWithKey { .. }) => {
                assert!(error.to_string().contains("use a TCP address"))
            }
            other => panic!("{other:?}"),
        }
    }
    let a = Node::start(member(1));
    assert!(a.handle.dial(&quic).is_err());
    // Nor does anything listen there by itself.
    assert!(a.addresses().iter().all(|address| address.contains("/tcp/")));
}
