//! Receipts made by somebody else, or made to look different: what a signature and a pinned mesh are for.

use forgemesh_protocol::canon::{self, Bytes};
use forgemesh_protocol::genesis::Genesis;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::keys::SecretKey;
use forgemesh_protocol::receipt::{Receipt, Statement};
use serde_json::{Value, json};

use super::node::{Ended, Node, path, small_job};

/// A mesh of one, and the receipt of a job that it ran.
struct Mesh {
    node: Node,
    id: String,
    receipt: Vec<u8>,
}

impl Mesh {
    fn new() -> Mesh {
        let node = Node::new();
        let run = node.run(&small_job(), "out");
        let receipt = std::fs::read(node.path("out/receipt.json")).expect("it was written");
        Mesh { id: text(&run["receipt"]["mesh_id"]), node, receipt }
    }

    fn parts(&self) -> (Receipt, Statement) {
        Receipt::decode(&self.receipt).expect("a receipt of ours")
    }

    /// The key of its only hub member.
    fn secret(&self) -> SecretKey {
        let line = std::fs::read_to_string(self.node.home().join("node.key")).expect("the key file");
        let hex = line.trim_end().rsplit(' ').next().expect("a word").to_owned();
        let byte = |i: usize| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("hexadecimal");
        SecretKey::from_bytes(&std::array::from_fn(byte))
    }

    /// Verifies a receipt in a folder with nothing else in it, and beside nothing.
    fn verify(&self, receipt: &[u8], pin: Option<&str>) -> Ended {
        let folder = self.node.path("elsewhere");
        std::fs::create_dir_all(&folder).expect("the temporary folder can be written");
        let file = self.node.file("elsewhere/receipt.json", receipt);
        let pin: Vec<&str> = pin.iter().flat_map(|id| ["--mesh", id]).collect();
        self.node.forgemesh(&[&["verify", path(&file), "--json"], pin.as_slice()].concat())
    }

    /// The names of the checks that fail.
    fn failures(&self, receipt: &[u8], pin: Option<&str>) -> Vec<String> {
        let ended = self.verify(receipt, pin);
        let report = ended.json();
        assert_eq!((ended.code, &report["ok"]), (3, &json!(false)), "{report:#}");
        let checks = report["checks"].as_array().expect("a list").iter();
        checks.filter(|check| check["status"] == "failed").map(|check| text(&check["name"])).collect()
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

fn stranger() -> SecretKey {
    SecretKey::from_bytes(&[7; 32])
}

#[test]
fn a_receipt_verifies_pinned_and_unpinned_and_says_which() {
    let mesh = Mesh::new();
    for (pin, status) in [(Some(mesh.id.as_str()), "ok"), (None, "not_checked")] {
        let report = mesh.verify(&mesh.receipt, pin).json();
        assert_eq!(report["ok"], json!(true), "{report:#}");
        let checks = report["checks"].as_array().expect("a list");
        let authenticity = checks.iter().find(|check| check["name"] == "authenticity").expect("it is listed");
        assert_eq!(authenticity["status"], json!(status));
        if pin.is_none() {
            assert!(text(&authenticity["detail"]).contains(&mesh.id), "{authenticity}");
        }
    }
}

#[test]
fn the_same_job_of_another_mesh_fails_against_the_pinned_one() {
    let (mesh, other) = (Mesh::new(), Mesh::new());
    assert_ne!(mesh.id, other.id);
    let (ours, theirs) = (mesh.parts().1.predicate, other.parts().1.predicate);
    assert_eq!(ours.result, theirs.result, "the result does not depend on the mesh");
    assert_eq!(mesh.failures(&other.receipt, Some(&mesh.id)), ["authenticity"]);
    assert_eq!(mesh.verify(&other.receipt, Some(&other.id)).code, 0);
    let bundle = other.node.path("b.tar");
    other.node.ok(&["receipt", "bundle", &theirs.run_details.metadata.job_id.to_string(), "--out", "b.tar"]);
    assert_eq!(mesh.node.forgemesh(&["verify", path(&bundle), "--mesh", &mesh.id]).code, 3);
    assert_eq!(mesh.node.forgemesh(&["verify", path(&bundle), "--mesh", &other.id]).code, 0);
    // Nor is it worth the time of a replay.
    assert_eq!(mesh.node.forgemesh(&["replay", path(&bundle), "--mesh", &mesh.id]).code, 3);
}

#[test]
fn a_signature_by_another_key_fails_pinned_or_not() {
    let mesh = Mesh::new();
    let (_, statement) = mesh.parts();
    let forged = statement.sign(&stranger()).to_bytes();
    for pin in [None, Some(mesh.id.as_str())] {
        let names = mesh.failures(&forged, pin);
        assert_eq!(names.len(), 2, "{names:?}");
        assert!(names[0].starts_with("receipt.signature.") && names[1] == "receipt.quorum", "{names:?}");
    }
}

#[test]
fn a_signature_under_the_members_name_but_by_another_key_fails() {
    let mesh = Mesh::new();
    let (genuine, statement) = mesh.parts();
    let mut forged = statement.sign(&stranger());
    forged.signatures[0].keyid = genuine.signatures[0].keyid;
    let names = mesh.failures(&forged.to_bytes(), Some(&mesh.id));
    assert!(names[0].starts_with("receipt.signature.") && names[1] == "receipt.quorum", "{names:?}");
}

#[test]
fn signatures_missing_doubled_or_added_fail() {
    let mesh = Mesh::new();
    let (genuine, statement) = mesh.parts();
    let with = |signatures: Vec<_>| Receipt { signatures, ..genuine.clone() }.to_bytes();
    assert_eq!(mesh.failures(&with(Vec::new()), None), ["receipt.quorum"]);
    let own = genuine.signatures[0].clone();
    assert_eq!(mesh.failures(&with(vec![own.clone(), own.clone()]), None).len(), 1);
    let added = statement.sign(&stranger()).signatures.remove(0);
    assert_eq!(mesh.failures(&with(vec![own, added]), None).len(), 1);
}

#[test]
fn a_statement_moved_to_the_forgers_mesh_fails() {
    let (mesh, forger) = (Mesh::new(), Mesh::new());
    let (_, mut statement) = mesh.parts();
    let builder = format!("urn:forgemesh:mesh:{}", forger.id);
    statement.predicate.mesh = forger.parts().1.predicate.mesh;
    statement.predicate.run_details.builder.id = builder;
    let forged = statement.sign(&forger.secret()).to_bytes();
    assert!(mesh.failures(&forged, Some(&mesh.id)).contains(&"authenticity".to_owned()));
    // Even unpinned: the submitter signed for another mesh.
    assert_eq!(mesh.failures(&forged, None), ["submission.job_id", "submission.signature"]);
}

#[test]
fn a_genesis_that_is_not_the_meshs_fails() {
    let mesh = Mesh::new();
    let (_, mut statement) = mesh.parts();
    let mut genesis = Genesis::decode(&statement.predicate.mesh.genesis.0).expect("a genesis of ours");
    genesis.hub[0].key = stranger().public();
    statement.predicate.mesh.genesis = Bytes(canon::to_bytes(&genesis));
    let forged = statement.sign(&stranger()).to_bytes();
    assert_eq!(mesh.failures(&forged, None), ["receipt.genesis"]);
}

#[test]
fn what_the_hub_itself_misstates_is_computed_again() {
    let mesh = Mesh::new();
    let secret = mesh.secret();
    let sign = |change: &dyn Fn(&mut Statement)| {
        let mut statement = mesh.parts().1;
        change(&mut statement);
        statement.sign(&secret).to_bytes()
    };
    type Change<'a> = (&'a str, &'a dyn Fn(&mut Statement));
    let changes: [Change; 9] = [
        ("contract.contract_hash", &|s| internal(s).contract_hash = Hash::ZERO),
        ("contract.args_hash", &|s| internal(s).args_hash = Hash::ZERO),
        ("contract.root_seed", &|s| internal(s).root_seed = Hash::ZERO),
        ("contract.numerics_id", &|s| internal(s).numerics_id = Hash::ZERO),
        ("contract.replay_key", &|s| internal(s).replay_key = Hash::ZERO),
        ("contract.plan_hash", &|s| internal(s).plan_hash = Hash::ZERO),
        ("contract.reduction", &|s| internal(s).reduction = "inexact.v1".to_owned()),
        ("receipt.verification", &|s| s.predicate.verification.claim = "verified by everyone".to_owned()),
        ("receipt.subject", &|s| s.subject[0].digest.sha256 = Hash::ZERO),
    ];
    for (name, change) in changes {
        assert_eq!(mesh.failures(&sign(change), Some(&mesh.id)), [name]);
    }
    // Another result can be signed, but neither the result itself nor a replay agrees.
    let lie = sign(&|s| s.predicate.result.as_mut().expect("a result").result_hash = Hash::ZERO);
    assert_eq!(mesh.verify(&lie, Some(&mesh.id)).code, 0, "alone, it is the mesh's word");
    let file = mesh.node.file("out/receipt.json", &lie);
    let ended = mesh.node.forgemesh(&["verify", path(&file)]);
    assert_eq!(ended.code, 3);
    assert!(ended.text().contains("FAIL result.result_hash"), "{}", ended.text());
    let alone = mesh.node.file("elsewhere/lie.json", &lie);
    let ended = mesh.node.forgemesh(&["replay", path(&alone), "--json"]);
    // The artifacts are not beside it, so the replay itself must find it out.
    ended.error(3, "replay_differs");
}

fn internal(statement: &mut Statement) -> &mut forgemesh_protocol::receipt::Derived {
    &mut statement.predicate.build_definition.internal_parameters
}

#[test]
fn the_same_content_in_another_form_fails() {
    let mesh = Mesh::new();
    let (receipt, _) = mesh.parts();
    let plain = String::from_utf8(mesh.receipt.clone()).expect("JSON is text");
    let value: Value = serde_json::from_slice(&mesh.receipt).expect("JSON");
    let pretty = serde_json::to_string_pretty(&value).expect("JSON");
    let payload: Value = serde_json::from_slice(&receipt.payload.0).expect("JSON");
    let pretty_payload = serde_json::to_vec_pretty(&payload).expect("JSON");
    let reencoded = Receipt { payload: Bytes(pretty_payload), ..receipt }.to_bytes();
    let slack = value["payload"].as_str().expect("base64");
    for (what, file) in [
        ("pretty-printed", pretty.into_bytes()),
        ("pretty-printed payload", reencoded),
        ("a line feed at the end", format!("{plain}\n").into_bytes()),
        ("a space at the end", format!("{plain} ").into_bytes()),
        ("a space before it", format!(" {plain}").into_bytes()),
        ("a byte order mark", format!("\u{feff}{plain}").into_bytes()),
        ("a zero byte", format!("{plain}\0").into_bytes()),
        ("twice", format!("{plain}{plain}").into_bytes()),
        ("a field more", plain.replacen('{', "{\"a\":1,", 1).into_bytes()),
        (
            "a field twice",
            plain.replacen('{', "{\"payloadType\":\"application/vnd.in-toto+json\",", 1).into_bytes(),
        ),
        ("an escaped letter", plain.replacen("payloadType", "payloadTyp\\u0065", 1).into_bytes()),
        ("padding more", plain.replacen(slack, &format!("{slack}="), 1).into_bytes()),
        ("a line feed in the base64", plain.replacen(slack, &format!("{slack}\\n"), 1).into_bytes()),
        ("another payload type", plain.replacen("in-toto", "in-t0to", 1).into_bytes()),
    ] {
        assert_ne!(file, mesh.receipt, "{what}");
        assert_eq!(mesh.failures(&file, None), ["receipt.encoding"], "{what}");
    }
}
