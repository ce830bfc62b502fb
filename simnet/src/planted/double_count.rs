//! A leader that counts one member's word twice: whatever it sends to a member it takes for stored there, before it is. Its
//! quorum is one too small.

use forgemesh_consensus::raft::Place;
use forgemesh_protocol::canon::{self, Bytes};
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::Message;
use serde::{Deserialize, Serialize};

use super::Tamper;

/// The bug.
pub struct DoubleCount;

/// What members say to each other about the log, as far as the bug reads it.
#[derive(Serialize, Deserialize)]
struct Said {
    life: u64,
    number: u64,
    body: Body,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Body {
    Ask(Ask),
    Answer(Answer),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ask {
    Append(Append),
}

#[derive(Serialize, Deserialize)]
struct Append {
    term: u64,
    previous: Option<Place>,
    entries: Vec<Bytes>,
    committed: Option<Place>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Appended,
}

impl Tamper for DoubleCount {
    fn forged(&mut self, message: &Message) -> Option<Message> {
        let Message::Raft { bytes } = message else { return None };
        let said: Said = canon::from_bytes(&bytes.0, limits::RAFT_MESSAGE_BYTES).ok()?;
        let Body::Ask(Ask::Append(append)) = said.body else { return None };
        let answer = Said { body: Body::Answer(Answer::Appended), ..said };
        (!append.entries.is_empty()).then(|| Message::Raft { bytes: Bytes(canon::to_bytes(&answer)) })
    }
}
