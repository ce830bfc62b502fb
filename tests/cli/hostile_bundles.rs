//! Bundles made to harm the one who verifies them: they are refused by name, without a panic and without using more
//! than their own size. Their makers sign with a mesh of their own, so every signature and digest is in order.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};

use forgemesh_consensus::job::JobRecord;
use forgemesh_node::bundle;
use forgemesh_node::evidence::{Report, Status};
use forgemesh_protocol::canon;
use forgemesh_protocol::hash::{Domain, Hash};
use forgemesh_protocol::keys::SecretKey;
use forgemesh_protocol::receipt::Receipt;
use serde_json::{Value, json};

use super::node::Node;

/// A small job's bundle, taken apart, and the key that signed it.
fn parts() -> (BTreeMap<String, Vec<u8>>, SecretKey) {
    let op = json!({"name": "diag", "version": 1, "profile": "mix.v1"});
    parts_of(&json!({"op": op, "args": {"iterations": 64}}))
}

/// A job's bundle, taken apart, and the key that signed it.
pub fn parts_of(job: &Value) -> (BTreeMap<String, Vec<u8>>, SecretKey) {
    let node = Node::new();
    let id = node.run(job, "out")["job_id"].clone();
    node.ok(&["receipt", "bundle", id.as_str().expect("an id"), "--out", "b.tar"]);
    let bytes = std::fs::read(node.path("b.tar")).expect("the bundle");
    let mut entries = BTreeMap::new();
    for entry in tar::Archive::new(Cursor::new(bytes)).entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        let name = entry.path().expect("a name").to_string_lossy().into_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("its content");
        entries.insert(name, content);
    }
    let key = std::fs::read_to_string(node.home().join("node.key")).expect("the key");
    let digits = key.trim().rsplit(' ').next().expect("the key's digits").to_owned();
    let secret: Hash = digits.parse().expect("32 bytes in hexadecimal");
    (entries, SecretKey::from_bytes(&secret.0))
}

pub fn pack(entries: &BTreeMap<String, Vec<u8>>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        builder.append_data(&mut header, name, bytes.as_slice()).expect("a vector takes it");
    }
    builder.into_inner().expect("a vector")
}

pub fn failures(bytes: &[u8]) -> Vec<String> {
    let mut report = Report::default();
    bundle::check(bytes, None, &mut report);
    let failed = report.checks.into_iter().filter(|check| check.status == Status::Failed);
    failed.map(|check| check.name).collect()
}

/// The bundle with another record, bound into a receipt that is signed anew.
fn with_record(change: impl FnOnce(&mut JobRecord)) -> Vec<String> {
    let (mut entries, secret) = parts();
    let mut record = JobRecord::decode(&entries["evidence.cbor"]).expect("a record");
    change(&mut record);
    let bytes = canon::to_bytes(&record);
    let (_, mut statement) = Receipt::decode(&entries["receipt.json"]).expect("a receipt");
    statement.predicate.evidence = Hash::of(Domain::EVIDENCE, &bytes);
    entries.insert("evidence.cbor".to_owned(), bytes);
    entries.insert("receipt.json".to_owned(), statement.sign(&secret).to_bytes());
    failures(&pack(&entries))
}

#[test]
fn repacking_is_what_the_process_does() {
    let (entries, _) = parts();
    assert_eq!(failures(&pack(&entries)), Vec::<String>::new());
    assert_eq!(with_record(|_| {}), Vec::<String>::new(), "signed anew, unchanged");
}

#[test]
fn a_record_of_another_contract_or_plan_is_refused_before_anything_is_derived_from_it() {
    let changes: [fn(&mut JobRecord); 11] = [
        |record| record.contract.op.name = "nobody".to_owned(),
        |record| record.contract.args.0.clear(),
        |record| record.plan.leaf_paths = 0,
        |record| record.runs[0].stage.leaves_per_shard = 0,
        |record| record.runs[0].stage.first_leaf = u64::MAX,
        |record| record.runs[0].stage.leaves = 1 << 60,
        |record| record.runs.clear(),
        |record| record.batches[0].credited = vec![0, 1 << 50].into(),
        |record| record.batches[0].credited = vec![0; 2].into(),
        |record| record.batches[0].attestation.body.shards = vec![1, 0].into(),
        |record| record.batches[0].attestation.body.shards = (0..1 << 17).collect(),
    ];
    for (i, change) in changes.into_iter().enumerate() {
        assert_eq!(with_record(change), ["evidence.record"], "change {i}");
    }
}

#[test]
fn a_beacon_link_serves_one_place_in_the_log() {
    let elsewhere = |record: &mut JobRecord| {
        record.batches[0].reveal.as_mut().expect("a revealed link").ordinal += 1;
    };
    assert!(with_record(elsewhere).contains(&"evidence.draws".to_owned()));
    let before = |record: &mut JobRecord| record.batches[0].logged = u64::MAX;
    assert!(
        with_record(before).contains(&"evidence.draws".to_owned()),
        "revealed before it was committed to"
    );
}

#[test]
fn an_entry_that_is_no_plain_file_is_refused_unread() {
    for kind in [tar::EntryType::GNUSparse, tar::EntryType::Symlink, tar::EntryType::Directory] {
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.set_mode(0o644);
        header.set_entry_type(kind);
        if let Some(gnu) = header.as_gnu_mut() {
            gnu.set_real_size(1 << 40);
        }
        let mut builder = tar::Builder::new(Vec::new());
        builder.append_data(&mut header, "receipt.json", std::io::empty()).expect("a vector takes it");
        assert_eq!(failures(&builder.into_inner().expect("a vector")), ["bundle.archive"], "{kind:?}");
    }
}
