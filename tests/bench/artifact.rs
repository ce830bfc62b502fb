//! How fast an artifact comes from another process on this machine, beside a plain copy over loopback TCP that is hashed
//! as it arrives.
//!
//! `bench-artifact MIB ROUNDS`: two nodes of a mesh; in each round, in turn, one process copies bytes over TCP, hashing,
//! into memory and into a new file that it syncs, each plain and encrypted; the second node has an artifact from the first,
//! checked and durable in its data folder (`artifact fetch`); and another one, which goes on to a client as it comes
//! (`artifact get`). The bytes are others each time, and before each contestant the disk is at rest. Prints the best of
//! each, in MiB/s. Owns no figure of its own: `BENCHMARKS.md` has what came out.

use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use forgemesh_protocol::hash::{BlobHasher, Hash};
use forgemesh_protocol::limits::READ_AHEAD;
use forgemesh_tests::node::Node;

/// Bytes read at once by the plain copy: as many as a piece has.
const CHUNK: usize = 1 << 20;
/// Bytes of a full record of TLS, without its head, and of the tag in it.
const RECORD: usize = (16 << 10) + TAG;
const TAG: usize = 16;
/// Records that are written at once.
const TOGETHER: usize = 4;

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
    let send = |stream: &mut TcpStream| stream.write_all(bytes).expect("it reads");
    copy(bytes, to, send, |stream, chunk| stream.read(chunk).expect("it writes"))
}

/// The same with what the connections of the mesh do to every byte where the processor has instructions for AES:
/// AES-256-GCM, in records as long as theirs.
fn encrypted(bytes: &[u8], to: Option<&Path>) -> f64 {
    let key = || LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).expect("it has 32 bytes"));
    let nonces = || {
        (0_u64..).map(|number| {
            let mut nonce = [0; NONCE_LEN];
            nonce[4..].copy_from_slice(&number.to_le_bytes());
            Nonce::assume_unique_for_key(nonce)
        })
    };
    let send = |stream: &mut TcpStream| {
        let (key, mut sealed) = (key(), Vec::new());
        let mut nonces = nonces();
        for together in bytes.chunks(TOGETHER * (RECORD - TAG)) {
            sealed.clear();
            for part in together.chunks(RECORD - TAG) {
                let (begin, nonce) = (sealed.len(), nonces.next().expect("they do not end"));
                sealed.extend_from_slice(part);
                let tag = key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut sealed[begin..]);
                sealed.extend_from_slice(tag.expect("it is short enough").as_ref());
            }
            stream.write_all(&sealed).expect("it reads");
        }
    };
    let (key, mut nonces, mut left) = (key(), nonces(), bytes.len());
    copy(bytes, to, send, |stream, chunk| {
        let mut at = 0;
        while left > 0 && at + RECORD <= chunk.len() {
            let part = left.min(RECORD - TAG);
            let sealed = &mut chunk[at..at + part + TAG];
            stream.read_exact(sealed).expect("it writes");
            let nonce = nonces.next().expect("they do not end");
            key.open_in_place(nonce, Aad::empty(), sealed).expect("it was sealed so");
            // The next one comes in the tag's place.
            (at, left) = (at + part, left - part);
        }
        at
    })
}

/// Sends on one thread, and receives on this one, so many bytes at a time, until there are none.
fn copy(
    bytes: &[u8],
    to: Option<&Path>,
    send: impl FnOnce(&mut TcpStream) + Send,
    mut receive: impl FnMut(&mut BufReader<TcpStream>, &mut [u8]) -> usize,
) -> f64 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("it listens");
    let begun = Instant::now();
    let found = std::thread::scope(|scope| {
        scope.spawn(move || send(&mut listener.accept().expect("the other thread").0));
        let mut stream =
            BufReader::with_capacity(READ_AHEAD, TcpStream::connect(address).expect("it listens"));
        let mut file = to.map(|path| std::fs::File::create(path).expect("a file"));
        let (mut hasher, mut chunk) = (BlobHasher::default(), vec![0; CHUNK]);
        loop {
            let received = receive(&mut stream, &mut chunk);
            if received == 0 {
                break;
            }
            let received = &chunk[..received];
            hasher.update(received);
            file.iter_mut().for_each(|file| file.write_all(received).expect("the disk has room"));
        }
        file.iter().for_each(|file| file.sync_all().expect("a disk"));
        hasher.finish()
    });
    let seconds = begun.elapsed().as_secs_f64();
    assert!(found == Hash::blob(bytes));
    seconds
}

/// The second node does this with an artifact that the first one has. In seconds.
fn had(node: &Node, what: &str, address: &str) -> f64 {
    let begun = Instant::now();
    let had = node.command(&["artifact", what, address]).stdout(std::process::Stdio::null()).status();
    let seconds = begun.elapsed().as_secs_f64();
    assert!(had.expect("it starts").success());
    seconds
}

/// What was written before is no longer on its way to the disk.
fn rest() {
    assert!(Command::new("sync").status().expect("it is installed").success());
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
    const CONTESTANTS: [&str; 6] = [
        "plain",
        "encrypted",
        "plain, to a synced file",
        "encrypted, to a synced file",
        "artifact fetch",
        "artifact get",
    ];
    let mut best = [f64::INFINITY; CONTESTANTS.len()];
    for round in 0..rounds {
        for (at, name) in CONTESTANTS.into_iter().enumerate() {
            let bytes = bytes(length, (CONTESTANTS.len() as u64) * round + at as u64);
            let copied = guest.path(&format!("copied-{round}-{at}"));
            let copied = (at >= 2).then_some(copied.as_path());
            let seconds = match at {
                0 | 2 => {
                    rest();
                    plain(&bytes, copied)
                }
                1 | 3 => {
                    rest();
                    encrypted(&bytes, copied)
                }
                _ => {
                    let file = hub.file("file", &bytes);
                    let put = hub.ok(&["artifact", "put", file.to_str().expect("a path"), "--json"]).json();
                    std::fs::remove_file(file).expect("it is there");
                    rest();
                    had(&guest, &name["artifact ".len()..], put["artifact"].as_str().expect("an address"))
                }
            };
            best[at] = best[at].min(seconds);
        }
    }
    println!("best of {rounds}, {mib} MiB; beside the copy to a synced file, plain and encrypted");
    for (name, seconds) in CONTESTANTS.into_iter().zip(best) {
        let part = |of: usize| 100.0 * best[of] / seconds;
        println!("| {name} | {:.0} MiB/s | {:.0} % | {:.0} % |", mib as f64 / seconds, part(2), part(3));
    }
    guest_runs.down(&guest);
    hub_runs.down(&hub);
}
