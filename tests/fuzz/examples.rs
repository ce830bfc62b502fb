//! Valid bytes of everything, out of which damaged ones are made.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use forgemesh_consensus::job::JobRecord;
use forgemesh_consensus::settle::FinishedJob;
use forgemesh_node::job_file::JobFile;
use forgemesh_protocol::canon;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::MeshId;
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::keys::{SecretKey, Signable, Signed};
use forgemesh_protocol::ledger::LedgerEntry;
use forgemesh_protocol::receipt::{Receipt, Statement};
use forgemesh_protocol::vote::Outcome;
use forgemesh_tests::node::Node;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

/// The frozen vectors' key and mesh.
pub fn secret() -> SecretKey {
    SecretKey::from_bytes(&[7; 32])
}

const MESH: MeshId = MeshId(Hash([1; 32]));
/// Longer than any example.
const BYTES: usize = 1 << 24;

/// The word after `name` in the frozen vectors: canonical bytes in hexadecimal, or a text.
pub fn word(name: &str) -> &'static str {
    let vectors = include_str!("../../protocol/vectors/golden.txt");
    let line = vectors.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|line| line.split(' ').next()).unwrap_or_else(|| panic!("no vector {name}"))
}

/// The canonical bytes under this name in the frozen vectors.
pub fn golden(name: &str) -> Vec<u8> {
    let digits = word(name).as_bytes().as_chunks::<2>().0;
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.iter().map(byte).collect::<Option<Vec<u8>>>().expect("hexadecimal")
}

/// What they say.
pub fn value<T: Serialize + DeserializeOwned>(name: &str) -> T {
    canon::from_bytes(&golden(name), BYTES).expect("a frozen vector is read")
}

/// The same, signed.
pub fn signed<T: Serialize + DeserializeOwned + Signable>(name: &str) -> Signed<T> {
    Signed::new(value(name), MESH, &secret())
}

/// A job that was executed by a node of its own, with all that is left of it.
pub struct Ended {
    /// The files of its bundle.
    pub files: BTreeMap<String, Vec<u8>>,
    /// And the bundle.
    pub bundle: Vec<u8>,
}

/// One with a pilot, a main stage and several batches.
pub fn ended() -> &'static Ended {
    static ENDED: OnceLock<Ended> = OnceLock::new();
    ENDED.get_or_init(|| {
        let node = Node::new();
        let op = json!({"name": "diag", "version": 1, "profile": "mix.v1"});
        let job = json!({"op": op, "args": {"iterations": 5_000}});
        let id = node.run(&job, "out")["job_id"].clone();
        node.ok(&["receipt", "bundle", id.as_str().expect("an id"), "--out", "b.tar"]);
        let bundle = std::fs::read(node.path("b.tar")).expect("the bundle");
        let mut files = BTreeMap::new();
        for file in tar::Archive::new(&bundle[..]).entries().expect("a tar") {
            let mut file = file.expect("a file");
            let name = file.path().expect("a name").to_string_lossy().into_owned();
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut file, &mut content).expect("its content");
            files.insert(name, content);
        }
        Ended { files, bundle }
    })
}

impl Ended {
    pub fn record(&self) -> JobRecord {
        JobRecord::decode(&self.files["evidence.cbor"]).expect("a record")
    }

    pub fn receipt(&self) -> (Receipt, Statement) {
        Receipt::decode(&self.files["receipt.json"]).expect("a receipt")
    }

    /// As it is kept, and carried to those who were not there.
    pub fn file(&self) -> JobFile {
        let (record, (receipt, statement)) = (self.record(), self.receipt());
        let result = record.votes.last().and_then(|vote| match &vote.body.outcome {
            Outcome::Final(result) => Some(result.clone()),
            _ => None,
        });
        let predicate = &statement.predicate;
        let metadata = &predicate.run_details.metadata;
        let parameters = &predicate.build_definition.external_parameters;
        let entry = LedgerEntry {
            seq: 0,
            prev: Hash::ZERO,
            at_ms: metadata.finished_ms,
            accounting: 1,
            charge_ucredits: 0,
            job: record.id,
            state: predicate.state,
            receipt: statement.digest(),
            contract: record.plan.contract,
            result_hash: result.as_ref().map(|result| result.result_hash),
            failure: None,
            op: parameters.op.clone(),
            submitter: metadata.submitter.id(),
            billing: parameters.terms.ctx.billing,
            providers: Vec::new(),
        };
        let finished = FinishedJob { record, result, failure: None, entry, charter: 0 };
        JobFile { finished, receipt }
    }
}

/// A node that never was.
pub fn node(number: u8) -> NodeId {
    NodeId(Hash([number; 32]))
}
