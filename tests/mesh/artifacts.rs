//! Artifacts among five processes: put at one node, had at another, kept on three, and on three again after one is lost.

use forgemesh_protocol::hash::Hash;
use serde_json::json;

use crate::cluster::{Cluster, until};

/// Bytes that differ from place to place.
fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i ^ (i >> 9) ^ (i >> 18)) as u8).collect()
}

/// The nodes that run and hold all of it.
fn holders(cluster: &Cluster, address: &str) -> Vec<usize> {
    let holds = |node: &usize| {
        let listed = cluster.ask(*node, &["artifact", "ls"]);
        let rows = if listed.code == 0 { listed.json()["artifacts"].clone() } else { json!([]) };
        let whole =
            |row: &serde_json::Value| row["artifact"] == json!(address) && row["bytes"] == row["here"];
        rows.as_array().is_some_and(|rows| rows.iter().any(whole))
    };
    (1..=5).filter(holds).collect()
}

#[test]
fn an_artifact_comes_to_any_node_and_is_kept_on_three() {
    let cluster = Cluster::new();
    let bytes = bytes(64 << 20);
    let file = cluster.folder(5).with_file_name("file");
    std::fs::write(&file, &bytes).expect("the folder can be written");
    let put = cluster.ask(4, &["artifact", "put", file.to_str().expect("a path")]);
    assert_eq!(put.code, 0, "{}{}", put.text(), put.stderr);
    let address = put.json()["artifact"].as_str().expect("an address").to_owned();
    assert_eq!(address, Hash::blob(&bytes).to_string());

    let out = cluster.folder(5).with_file_name("got");
    let get = |node: usize, range: &str| {
        let out = out.to_str().expect("a path");
        let got = cluster.ask(node, &["artifact", "get", &address, "--range", range, "-o", out]);
        assert_eq!(got.code, 0, "{}{}", got.text(), got.stderr);
        let bytes = std::fs::read(out).expect("it was written");
        std::fs::remove_file(out).expect("it can be removed");
        bytes
    };
    assert!(get(5, "7000000..9000001") == bytes[7_000_000..9_000_001]);
    assert!(get(5, "..") == bytes);
    assert!(get(1, "63000000..") == bytes[63_000_000..]);

    // Before it is needed, without a client to take its bytes.
    let has = holders(&cluster, &address);
    let lacking = (1..=5).find(|node| !has.contains(node)).expect("three copies are kept");
    let fetched = cluster.ask(lacking, &["artifact", "fetch", &address]);
    assert_eq!(fetched.code, 0, "{}{}", fetched.text(), fetched.stderr);
    assert_eq!(fetched.json(), json!({ "artifact": address, "bytes": bytes.len() }));
    assert!(holders(&cluster, &address).contains(&lacking));

    // Who has only had it from there is told to keep it, or another is.
    until("three nodes hold it", || holders(&cluster, &address).len() >= 3);
    cluster.kill(4);
    let left = holders(&cluster, &address);
    assert!(!left.contains(&4));
    if left.len() > 2 {
        // The copy that was only read goes like any that nothing needs.
        cluster.ask(5, &["artifact", "gc"]);
    }
    until("three nodes hold it again", || holders(&cluster, &address).len() >= 3);
    assert!(get(2, "..") == bytes);
    let unknown = Hash::blob(b"nobody's").to_string();
    let out = out.to_str().expect("a path");
    cluster.ask(3, &["artifact", "get", &unknown, "-o", out]).error(1, "no_such_artifact");
}
