//! How fast an artifact comes from another process on this machine, beside a plain copy over loopback TCP that is hashed
//! as it arrives.
//!
//! `bench-artifact MIB ROUNDS`: two nodes of a mesh; in each round one process copies the file over TCP to a file and
//! syncs it, hashing, and then the second node has it from the first, into its data folder, checked and durable; and after
//! that the file is put anew with other bytes. Prints each and the best of both, in MiB/s. Owns no figure of its own:
//! `BENCHMARKS.md` has what came out.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Instant;

use forgemesh_protocol::hash::{BlobHasher, Hash};
use forgemesh_tests::node::Node;

/// Bytes read at once by the plain copy: as many as a piece has.
const CHUNK: usize = 1 << 20;

/// Bytes that no two rounds share.
fn bytes(length: usize, round: u64) -> Vec<u8> {
    let mut state = round.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(state ^ (state >> 29)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A copy over TCP from one thread to this one, hashed as it arrives; written and synced, if there is a file. In seconds.
fn plain(bytes: &[u8], to: Option<&Path>) -> f64 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("it listens");
    let begun = Instant::now();
    let found = std::thread::scope(|scope| {
        scope.spawn(move || {
            let (mut stream, _) = listener.accept().expect("the other thread");
            stream.write_all(bytes).expect("it reads");
        });
        let mut stream = TcpStream::connect(address).expect("it listens");
        let mut file = to.map(|path| std::fs::File::create(path).expect("a file"));
        let (mut hasher, mut chunk) = (BlobHasher::default(), vec![0; CHUNK]);
        loop {
            let read = stream.read(&mut chunk).expect("it writes");
            if read == 0 {
                break;
            }
            hasher.update(&chunk[..read]);
            file.iter_mut().for_each(|file| file.write_all(&chunk[..read]).expect("the disk has room"));
        }
        file.iter().for_each(|file| file.sync_all().expect("a disk"));
        hasher.finish()
    });
    let seconds = begun.elapsed().as_secs_f64();
    assert!(found == Hash::blob(bytes));
    seconds
}

/// The second node has it from the first: the time until all of it is durable there and on its way out. In seconds.
fn fetched(node: &Node, address: &str) -> f64 {
    let begun = Instant::now();
    let got = node.command(&["artifact", "get", address]).stdout(std::process::Stdio::null()).status();
    let seconds = begun.elapsed().as_secs_f64();
    assert!(got.expect("it starts").success());
    seconds
}

fn main() {
    let number = |at: usize, other: u64| {
        std::env::args().nth(at).map_or(other, |text| text.parse().expect("MIB ROUNDS, two numbers"))
    };
    let (mib, rounds) = (number(1, 256), number(2, 5));
    let length = usize::try_from(mib << 20).expect("it fits in memory");
    let (hub, guest) = (Node::new(), Node::new());
    // On one node each, so that nothing but the transfer is under way.
    let made = hub.init(&["--replication", "1"]);
    let hub_runs = hub.up();
    guest.ok(&["join", made["ticket"].as_str().expect("a line"), "--json"]);
    let guest_runs = guest.up();
    let mut best = [f64::INFINITY; 3];
    for round in 0..rounds {
        let bytes = bytes(length, round);
        let file = hub.file("file", &bytes);
        let put = hub.ok(&["artifact", "put", file.to_str().expect("a path"), "--json"]).json();
        let address = put["artifact"].as_str().expect("an address").to_owned();
        let memory = plain(&bytes, None);
        let written = plain(&bytes, Some(&guest.path("plain")));
        let ours = fetched(&guest, &address);
        for (best, found) in best.iter_mut().zip([memory, written, ours]) {
            *best = best.min(found);
        }
        let pace = |seconds: f64| mib as f64 / seconds;
        println!(
            "round {round}: plain {:.0} MiB/s, plain to a synced file {:.0} MiB/s, artifact {:.0} MiB/s",
            pace(memory),
            pace(written),
            pace(ours)
        );
    }
    let pace = best.map(|seconds| mib as f64 / seconds);
    println!(
        "best of {rounds}, {mib} MiB: plain {:.0} MiB/s, plain to a synced file {:.0} MiB/s, artifact {:.0} MiB/s: {:.0} % and {:.0} %",
        pace[0],
        pace[1],
        pace[2],
        100.0 * pace[2] / pace[0],
        100.0 * pace[2] / pace[1]
    );
    guest_runs.down(&guest);
    hub_runs.down(&hub);
}
