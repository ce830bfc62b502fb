//! `forgemesh artifact`: what is put comes back, whole and in part, from a running node and from a closed folder; what is
//! wrong is refused with its cure; and what nothing needs goes, and nothing else.

use std::process::Stdio;

use forgemesh_protocol::hash::Hash;
use forgemesh_storage::{Batch, Storage};
use serde_json::{Value, json};

use super::node::{Node, path, small_job};

/// Bytes that differ from place to place.
fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i ^ (i >> 9) ^ (i >> 18)) as u8).collect()
}

fn put(node: &Node, name: &str, bytes: &[u8]) -> String {
    let file = node.file(name, bytes);
    let put = node.ok(&["artifact", "put", path(&file), "--json"]).json();
    assert_eq!(put["artifact"], json!(Hash::blob(bytes)));
    assert_eq!(put["bytes"], json!(bytes.len()));
    put["artifact"].as_str().expect("an address").to_owned()
}

/// Is there the beginning of a file that was to be written?
fn is_half_written(node: &Node) -> bool {
    let files = std::fs::read_dir(node.path("")).expect("a folder");
    files.map(|file| file.expect("a file").file_name()).any(|name| name.to_string_lossy().ends_with(".part"))
}

fn get(node: &Node, address: &str, range: &str) -> Vec<u8> {
    let out = node.path("got");
    let got = node.ok(&["artifact", "get", address, "--range", range, "-o", path(&out), "--json"]).json();
    let bytes = std::fs::read(&out).expect("it was written");
    assert_eq!(got["bytes"], json!(bytes.len()));
    assert!(!is_half_written(node), "it took its name");
    std::fs::remove_file(&out).expect("it can be removed");
    bytes
}

fn listed(node: &Node) -> Vec<Value> {
    let listed = node.ok(&["artifact", "ls", "--json"]).json();
    listed["artifacts"].as_array().expect("a list").clone()
}

/// Whole and in part, in every way.
fn comes_back(node: &Node, name: &str) {
    const P: usize = 1 << 20;
    for length in [0, 1, P - 1, P, P + 1, 3 * P + 12_345] {
        let bytes = bytes(length);
        let address = put(node, &format!("{name}{length}"), &bytes);
        assert!(get(node, &address, "..") == bytes, "{length}");
        // Once more changes nothing.
        put(node, &format!("{name}{length}"), &bytes);
        for (from, to) in [(0, 1), (0, P), (P - 1, P + 1), (P, 3 * P), (2 * P + 7, usize::MAX)] {
            if from < length {
                let part = &bytes[from..to.min(length)];
                assert!(get(node, &address, &format!("{from}..{to}")) == part, "{length}: {from}..{to}");
            }
        }
        let fetched = node.ok(&["artifact", "fetch", &address, "--json"]).json();
        assert_eq!(fetched, json!({ "artifact": address, "bytes": length }));
        let text = node.ok(&["artifact", "get", &address]);
        assert!(text.stdout == bytes, "{length}: standard output");
    }
    assert_eq!(listed(node).len(), 6);
    for row in listed(node) {
        assert_eq!(row["bytes"], row["here"], "{row}");
        assert!(row["kept_until_ms"].as_u64().is_some(), "{row}");
    }
}

#[test]
fn what_is_put_comes_back_from_a_running_node() {
    let node = Node::new();
    node.init(&[]);
    let running = node.up();
    comes_back(&node, "running");
    running.down(&node);
    // And from its folder.
    let row = &listed(&node)[0];
    let address = row["artifact"].as_str().expect("an address");
    assert_eq!(get(&node, address, "..").len() as u64, row["bytes"].as_u64().expect("a number"));
}

#[test]
fn what_is_put_comes_back_from_a_closed_folder() {
    let node = Node::new();
    node.init(&[]);
    comes_back(&node, "closed");
}

#[test]
fn a_file_that_is_there_is_written_over_only_by_force() {
    let node = Node::new();
    let run = node.run(&small_job(), "out");
    let (job, address) = (run["job_id"].as_str(), run["artifacts"][0]["blob"].as_str());
    let (job, address) = (job.expect("an id"), address.expect("an address"));
    for args in [["artifact", "get", address], ["receipt", "bundle", job]] {
        let there = node.file("there", "mine");
        let to = |more: &[&'static str]| node.forgemesh(&[&args[..], &["-o", "there"], more].concat());
        let error = to(&["--json"]).error(1, "file_exists");
        let message = error["message"].as_str().expect("a text");
        assert!(message.contains("there") && message.contains("--force"), "{message}");
        assert_eq!(std::fs::read(&there).expect("our file"), b"mine");
        assert_eq!(to(&["--force"]).code, 0);
        assert_ne!(std::fs::read(&there).expect("it was written"), b"mine");
    }
    // Nor is a bundle whose name nobody gave.
    node.ok(&["receipt", "bundle", job]);
    node.forgemesh(&["receipt", "bundle", job, "--json"]).error(1, "file_exists");
}

/// As in `forgemesh … | head`: neither a panic nor an error, on standard output or on standard error.
#[test]
fn a_reader_that_has_gone_away_ends_a_command_quietly() {
    let node = Node::new();
    node.init(&[]);
    let address = put(&node, "file", &bytes(1 << 20));
    for (args, code) in [
        (vec!["artifact", "get", &address], 0),
        (vec!["artifact", "ls"], 0),
        (vec!["op", "schema", "mc@1/reserve.v1"], 0),
        (vec!["job", "show", "0000"], 2),
    ] {
        let mut command = node.command(&args);
        let mut ended = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        drop(ended.stdout.take());
        if code != 0 {
            drop(ended.stderr.take());
        }
        let ended = ended.wait_with_output().expect("it ends");
        assert_eq!((ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()), (Some(code), ""));
    }
}

#[test]
fn a_job_s_artifacts_are_artifacts_like_any() {
    let node = Node::new();
    let run = node.run(&small_job(), "out");
    for artifact in run["artifacts"].as_array().expect("a list") {
        let address = artifact["blob"].as_str().expect("an address");
        let bytes = get(&node, address, "..");
        assert_eq!(json!(Hash::blob(&bytes)), artifact["blob"]);
        assert_eq!(get(&node, address, "1..3"), bytes[1..3]);
        let row = listed(&node).into_iter().find(|row| row["artifact"] == artifact["blob"]);
        assert_eq!(row.expect("it is listed")["jobs"], json!([run["job_id"]]));
    }
}

#[test]
fn what_is_wrong_is_refused_with_its_cure() {
    let node = Node::new();
    node.init(&[]);
    let address = put(&node, "file", b"some bytes");
    let unknown = Hash::blob(b"nobody's").to_string();
    let out = node.path("out");
    let get = |address: &str, range: &str| {
        node.forgemesh(&["artifact", "get", address, "--range", range, "-o", path(&out), "--json"])
    };
    for wrong in ["", "12", "zz", &address[1..], &address.to_uppercase(), &format!("{address}00")] {
        let fetch = node.forgemesh(&["artifact", "fetch", wrong, "--json"]);
        for error in [get(wrong, "..").error(2, "usage"), fetch.error(2, "usage")] {
            assert!(error["message"].as_str().is_some_and(|text| text.contains("64")), "{error}");
        }
    }
    for range in ["5", "3..3", "4..3", "a..", "0..18446744073709551616"] {
        get(&address, range).error(2, "usage");
    }
    let error = get(&address, "11..").error(2, "usage");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("10 bytes")), "{error}");
    let error = get(&unknown, "..").error(1, "no_such_artifact");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("forgemesh up")), "{error}");
    node.forgemesh(&["artifact", "fetch", &unknown, "--json"]).error(1, "no_such_artifact");
    node.forgemesh(&["artifact", "get", &address, "--json"]).error(2, "usage");
    let nowhere = node.path("no/such/folder");
    node.forgemesh(&["artifact", "get", &address, "-o", path(&nowhere), "--json"]).error(1, "cannot_write");
    node.forgemesh(&["artifact", "put", path(&node.path("missing")), "--json"]).error(2, "cannot_read");
    node.forgemesh(&["artifact", "put", path(&node.path("")), "--json"]).error(2, "usage");
    let file = node.file("again", b"some bytes");
    for days in ["0", "3661", "x"] {
        assert_eq!(node.forgemesh(&["artifact", "put", path(&file), "--keep", days]).code, 2);
    }
    // A file larger than any artifact: it has no bytes on the disk.
    let large = std::fs::File::create(node.path("large")).expect("a file");
    large.set_len((16 << 30) + 1).expect("it can be as long");
    node.forgemesh(&["artifact", "put", path(&node.path("large")), "--json"]).error(2, "usage");
    assert!(!out.exists() && !is_half_written(&node), "nothing half-written is left");
    let running = node.up();
    let error = get(&unknown, "..").error(1, "no_such_artifact");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("node ls")), "{error}");
    node.forgemesh(&["artifact", "fetch", &unknown, "--json"]).error(1, "no_such_artifact");
    get(&address, "11..").error(2, "usage");
    running.down(&node);
    let fresh = Node::new();
    let file = fresh.file("file", b"some bytes");
    fresh.forgemesh(&["artifact", "put", path(&file), "--json"]).error(2, "usage");
}

/// What is no plain file stays what it is, and so does what a link leads to.
#[test]
fn bytes_go_into_a_pipe_and_to_where_a_link_leads() {
    let node = Node::new();
    node.init(&[]);
    let address = put(&node, "file", b"some bytes");
    let get = |to: &std::path::Path, more: &[&str]| {
        node.ok(&[&["artifact", "get", &address, "-o", path(to)], more].concat());
    };
    let pipe = node.path("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("it is installed");
    assert!(made.success());
    let read = std::thread::spawn({
        let pipe = pipe.clone();
        move || std::fs::read(pipe).expect("it is written to")
    });
    get(&pipe, &[]);
    assert_eq!(read.join().expect("it reads"), b"some bytes");
    let (file, link) = (node.file("other", b"old"), node.path("link"));
    std::os::unix::fs::symlink(&file, &link).expect("a link");
    get(&link, &["--force"]);
    assert!(link.is_symlink());
    assert_eq!(std::fs::read(&file).expect("it is there"), b"some bytes");
}

#[test]
fn what_nothing_needs_goes_and_nothing_else() {
    let node = Node::new();
    let run = node.run(&small_job(), "out");
    let job = run["job_id"].as_str().expect("an id").to_owned();
    let kept = put(&node, "kept", &bytes(3 << 20));
    let storage = Storage::open(&node.home()).expect("no process has it");
    let mut batch = Batch::new();
    let orphan = batch.put_blob(b"a blob that no job has".to_vec());
    storage.commit(&batch).expect("a disk");
    let jobs_own = storage.blobs(None, 1_000).expect("it can be read").len() - 1;
    drop(storage);
    let counted = node.ok(&["artifact", "gc", "--dry-run", "--json"]).json();
    assert_eq!((&counted["blobs"], &counted["artifacts"]), (&json!(1), &json!(0)), "{counted}");
    let gone = node.ok(&["artifact", "gc", "--json"]).json();
    assert_eq!((&gone["blobs"], &gone["bytes"]), (&json!(1), &json!(22)), "{gone}");
    let storage = Storage::open(&node.home()).expect("no process has it");
    assert_eq!(storage.has_blob(&orphan), Ok(false));
    assert_eq!(storage.blobs(None, 1_000).expect("it can be read").len(), jobs_own);
    drop(storage);
    assert!(get(&node, &kept, "..") == bytes(3 << 20));
    let bundle = node.path("bundle.tar");
    node.ok(&["receipt", "bundle", &job, "--out", path(&bundle)]);
    node.ok(&["verify", path(&bundle)]);
    assert_eq!(node.ok(&["artifact", "gc", "--json"]).json()["bytes"], json!(0));
}
