//! A node's own pipes and files: its worker's frames, its control socket's lines, its settings, what it knows of others.

use std::collections::BTreeMap;

use forgemesh_kernel::job::Job;
use forgemesh_node::config::{CONFIG_FILE_NAME, Config};
use forgemesh_node::real::control::request::Request;
use forgemesh_node::real::swarm::peer_id;
use forgemesh_node::real::whereabouts::Whereabouts;
use forgemesh_node::real::worker::frame::{self, Answered, Asked, FRAME_BYTES, Outcome, Piece};
use forgemesh_protocol::attestation::Claim;
use forgemesh_protocol::base64;
use forgemesh_protocol::canon::{self, Bytes};
use forgemesh_protocol::challenge::LeafRef;
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::keys::SecretKey;
use forgemesh_protocol::plan::StageRun;

use crate::damage::Form;
use crate::examples::{golden, value};
use crate::trial::{Examples, try_all, try_dressed};

/// A body with its length before it, as it goes through the pipe.
fn framed(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_le_bytes(), body].concat()
}

fn pieces() -> Vec<Piece> {
    let (job, _) =
        Job::read(br#"{"op":{"name":"diag","version":1,"profile":"mix.v1"},"args":{}}"#).expect("a job");
    let (contract, run): (_, StageRun) = (job.contract().clone(), job.first_run());
    let leaves: Vec<LeafRef> = (0..40).map(|leaf| LeafRef { shard: leaf / 8, leaf }).collect();
    let claims = vec![value::<Claim>("claim"); 5];
    let openings = vec![Bytes(vec![7; 900]); 40];
    vec![
        Piece::Run { contract: contract.clone(), run: run.clone(), shard: 3 },
        Piece::Open { contract: contract.clone(), run: run.clone(), leaves: leaves.clone() },
        Piece::Check { contract, run, claims, leaves, openings },
    ]
}

fn outcomes() -> Vec<Outcome> {
    vec![
        Outcome::Ran { claim: value("claim"), accumulator: Bytes(vec![1; 9_000]), paths: 70 },
        Outcome::Opened { openings: vec![Bytes(vec![7; 900]); 40] },
        Outcome::Checked { mismatches: Vec::new() },
        Outcome::Failed { detail: "it ended".to_owned() },
    ]
}

#[test]
fn work_for_a_worker() {
    let asked = pieces().into_iter().map(|piece| Asked { ticket: 7, piece });
    let valid = asked.map(|asked| canon::to_bytes(&asked)).collect();
    let examples = Examples { name: "work_for_a_worker", form: Form::Cbor, valid };
    let read = |frame: &[u8]| frame::read::<Asked>(&mut &frame[..], FRAME_BYTES);
    try_dressed(&examples, framed, read, |asked| Some(framed(&canon::to_bytes(asked.as_ref()?))));
}

#[test]
fn answers_of_a_worker() {
    let answers = outcomes().into_iter().map(|outcome| Answered { ticket: 7, outcome });
    let valid: Vec<Vec<u8>> = answers.map(|answer| canon::to_bytes(&answer)).collect();
    let read = |frame: &[u8]| frame::read::<Answered>(&mut &frame[..], FRAME_BYTES);
    let whole = valid.iter().map(|body| framed(body)).collect();
    let examples = Examples { name: "answers_of_a_worker", form: Form::Cbor, valid };
    try_dressed(&examples, framed, read, |answer| Some(framed(&canon::to_bytes(answer.as_ref()?))));
    // And with lengths that are wrong; what follows a frame is the next one's.
    let examples = Examples { name: "frames_of_a_worker", form: Form::Bytes, valid: whole };
    try_all(&examples, read, |_| None);
}

#[test]
fn lines_on_the_control_socket() {
    let submission = base64::encode(&golden("submission"));
    let envelope = r#"{\"op\":{\"name\":\"diag\",\"version\":1,\"profile\":\"mix.v1\"},\"args\":{}}"#;
    let lines = [
        r#"{"do":"status"}"#.to_owned(),
        format!(r#"{{"do":"submit","envelope":"{envelope}","regions":["eu-west","us-east"]}}"#),
        format!(r#"{{"do":"submit_signed","submission":"{submission}"}}"#),
        r#"{"do":"artifact","job":"abc","kind":"result_json"}"#.to_owned(),
        r#"{"do":"amend","admit":["a","b"],"dismiss":["c"],"seats":3}"#.to_owned(),
        r#"{"do":"invite","minutes":5,"organization":"acme"}"#.to_owned(),
        r#"{"do":"limits","threads":4,"ops":["mc@1/reserve.v1"]}"#.to_owned(),
    ];
    let valid = lines.map(String::into_bytes).to_vec();
    let examples = Examples { name: "lines_on_the_control_socket", form: Form::Json, valid };
    try_all(&examples, Request::read, |_| None);
}

#[test]
fn settings_of_an_operator() {
    let text = r#"
listen = ["/ip4/0.0.0.0/tcp/4610"]
threads = 4
memory_mib = 2048
ops = ["mc@1/reserve.v1"]
hours_utc = ["22:00-06:00"]
region = "eu-west"
visibility = "private"
organizations = ["acme"]
billing = ["test"]
"#;
    let examples =
        Examples { name: "settings_of_an_operator", form: Form::Text, valid: vec![text.as_bytes().to_vec()] };
    // As it lies in a data folder: how long it may be is part of the bound.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |bytes: &[u8]| {
        std::fs::write(folder.path().join(CONFIG_FILE_NAME), bytes).expect("the folder can be written");
        bytes.to_vec()
    };
    let read = |_: &[u8]| Config::read(folder.path()).map(|_| ()).map_err(|error| error.to_string());
    try_dressed(&examples, write, read, |()| None);
}

#[test]
fn where_members_were_found() {
    let of = |seed: u8| {
        let key = SecretKey::from_bytes(&[seed; 32]).public();
        let peer = peer_id(&key).expect("a key of ours");
        let address = |port: u16| format!("/ip4/192.0.2.{seed}/tcp/{port}/p2p/{peer}");
        (key.id(), (1..=4).map(address).collect())
    };
    let mut known = Whereabouts::default();
    let all: BTreeMap<NodeId, Vec<String>> = (1..=5).map(of).collect();
    assert!(known.learn(&all.keys().copied().collect(), |node| all[node].clone()));
    let valid = vec![known.encode(), Whereabouts::default().encode()];
    let examples = Examples { name: "where_members_were_found", form: Form::Cbor, valid };
    try_all(&examples, Whereabouts::decode, |known| Some(known.encode()));
}
