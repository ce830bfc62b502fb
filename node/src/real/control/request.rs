//! What can be asked on a control socket: one JSON object a line, `{"do": "status"}` and the like.
//!
//! Strict: a word or a field that is not here is refused by name. Must never grow a field that means another thing than
//! before.

use forgemesh_protocol::artifact::Outline;
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::envelope::ArtifactKind;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::json::Json;
use forgemesh_protocol::limits;
use forgemesh_protocol::organization::Organization;
use forgemesh_protocol::region::Regions;
use serde::{Deserialize, Serialize};

/// One request. A job is named by its id, the beginning of it, or its client's own name for it; a node and a ticket by
/// the beginning of an id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// How the node and its mesh stand.
    Status {},
    /// Take a job on: the envelope's JSON as text; the node signs it. `regions`: where it may be executed, in ascending
    /// order.
    Submit {
        envelope: String,
        #[serde(default, skip_serializing_if = "Regions::is_anywhere")]
        regions: Regions,
    },
    /// Take a job on that its submitter has signed: canonical bytes in base64.
    SubmitSigned { submission: String },
    /// Jobs, newest first, unfinished ones above; of the final ones as many as there may be, or fewer.
    Jobs {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<usize>,
    },
    /// Refused envelopes.
    Refusals {},
    /// A job as one object.
    Show { job: String },
    /// A job with its record and artifacts attached, in the lengths that the answer names.
    Fetch { job: String },
    /// One artifact of a final job, attached.
    Artifact { job: String, kind: ArtifactKind },
    /// Take an artifact on, to be kept until then, in milliseconds since 1970: its address, its outline, its last piece.
    /// The answer names the pieces that are missing, as pairs of the first and the one behind the last.
    PutArtifact { artifact: Hash, outline: Outline, last: Bytes, until_ms: u64 },
    /// Take a piece of it.
    PutPiece { artifact: Hash, index: u64, bytes: Bytes },
    /// Have all of an artifact on this node's disk, with events that say how long it is and how much is there.
    FetchArtifact { artifact: Hash },
    /// Bytes of an artifact, attached; without `to` up to its end.
    GetArtifact {
        artifact: Hash,
        from: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<u64>,
    },
    /// Artifacts that are here.
    Artifacts {},
    /// Remove the artifacts that nothing needs; `dry`: only count them.
    CollectGarbage { dry: bool },
    /// The receipt of a final job, attached.
    Receipt { job: String },
    /// All that an auditor of a final job needs, attached.
    Bundle { job: String },
    /// What an open job waits for.
    WhyPending { job: String },
    /// An event for each step of this job until it is final; of all jobs, if none is named, until the client goes.
    Watch {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        job: Option<String>,
    },
    /// Give an open job up; the answer comes when that is in the books.
    Cancel { job: String },
    /// Give a job up in its submitter's name: canonical bytes in base64.
    CancelSigned { cancellation: String },
    /// A ticket that admits one node, good for so many minutes; `organization`: to which the node will belong.
    Invite {
        minutes: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        organization: Option<Organization>,
    },
    /// Invitations and what became of them.
    Tickets {},
    /// Take an invitation back.
    Withdraw { ticket: String },
    /// The nodes of the mesh.
    Nodes {},
    /// Remove an admitted node.
    Expel { node: String },
    /// Have the hub admit these nodes to its seats and dismiss those; `seats`: how many of the admitted sit at a time.
    Amend {
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        admit: Vec<String>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        dismiss: Vec<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seats: Option<u64>,
    },
    /// Why this node has nothing to do.
    WhyIdle {},
    /// What this node's network has counted, as one text in the format of OpenMetrics.
    Metrics {},
    /// Take nothing new, finish what is held.
    Drain {},
    /// Take nothing new, give back what is not begun.
    Pause {},
    /// Take work again.
    Resume {},
    /// How much of the node the mesh may have; what is not given stays as it is. 0 threads: all.
    Limits {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        threads: Option<u16>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ops: Option<Vec<String>>,
    },
    /// Stop the node.
    Stop {},
}

impl Request {
    /// Reads a line.
    pub fn read(line: &[u8]) -> Result<Request, serde_json::Error> {
        // A choice by its field is buffered whole before anything of it is refused.
        Json::parse_at_most(line, limits::CONTROL_BYTES).map_err(serde::de::Error::custom)?;
        serde_json::from_slice(line)
    }

    /// The line, without its end.
    pub fn line(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("invariant: text keys and plain values")
    }

    /// May a node ask this of the hub for a client of its own? Only what changes nothing, or what its submitter has signed
    /// and may be done twice.
    pub fn is_relayed(&self) -> bool {
        match self {
            Request::SubmitSigned { .. } | Request::CancelSigned { .. } => true,
            Request::Jobs { .. }
            | Request::Show { .. }
            | Request::Fetch { .. }
            | Request::Artifact { .. } => true,
            Request::Receipt { .. } | Request::WhyPending { .. } | Request::Nodes {} => true,
            Request::Status {} | Request::Submit { .. } | Request::Refusals {} | Request::Watch { .. } => {
                false
            }
            Request::Cancel { .. } | Request::Invite { .. } | Request::Tickets {} => false,
            Request::Bundle { .. }
            | Request::Withdraw { .. }
            | Request::Expel { .. }
            | Request::Amend { .. }
            | Request::WhyIdle {}
            | Request::Metrics {} => false,
            Request::Drain {} | Request::Pause {} | Request::Resume {} | Request::Limits { .. } => false,
            Request::PutArtifact { .. } | Request::PutPiece { .. } | Request::FetchArtifact { .. } => false,
            Request::GetArtifact { .. } | Request::Artifacts {} | Request::CollectGarbage { .. } => false,
            Request::Stop {} => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_its_own_line_and_nothing_else_is_read() {
        let regions = Regions::new(vec!["eu-west".parse().expect("a region")]).expect("one");
        let all = [
            Request::Status {},
            Request::Submit { envelope: "{}".to_owned(), regions: Regions::default() },
            Request::Submit { envelope: "{}".to_owned(), regions },
            Request::Artifact { job: "ab".to_owned(), kind: ArtifactKind::ResultJson },
            Request::Watch { job: None },
            Request::Invite { minutes: 5, organization: None },
            Request::Invite { minutes: 5, organization: Some("acme".parse().expect("an organization")) },
            Request::Limits { threads: Some(2), ops: None },
        ];
        for request in all {
            assert_eq!(Request::read(&request.line()).expect("it is read"), request);
        }
        assert_eq!(Request::Status {}.line(), br#"{"do":"status"}"#);
        let plain = Request::Invite { minutes: 5, organization: None };
        assert_eq!(plain.line(), br#"{"do":"invite","minutes":5}"#);
        for line in [
            "",
            "{}",
            "[]",
            r#"{"do":"nothing"}"#,
            r#"{"do":"status","x":1}"#,
            r#"{"do":"status","do":"stop"}"#,
            r#"{"do":"show"}"#,
            r#"{"do":"show","job":"a","job":"b"}"#,
            r#"{"do":"show","job":7}"#,
            r#"{"do":"limits","threads":-1}"#,
            r#"{"do":"invite","minutes":5,"organization":"Acme Ltd"}"#,
            r#"{"do":"submit","envelope":"{}","regions":["EU"]}"#,
            r#"{"do":"status"} {"do":"stop"}"#,
        ] {
            assert!(Request::read(line.as_bytes()).is_err(), "{line}");
        }
        assert!(Request::read("[".repeat(1 << 19).as_bytes()).is_err(), "no depth ends the process");
    }
}
