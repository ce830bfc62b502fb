//! Owns the requests that the leader has proposed and the log has not settled, and who waits for their answers.
//!
//! Must never let more of them wait for the log than there is memory for, in number and in bytes.

use std::collections::{BTreeMap, BTreeSet};

use forgemesh_consensus::command::Command;
use forgemesh_protocol::canon;
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::limits;

use crate::core::gateway::Matter;

/// Requests by what they are about.
#[derive(Default)]
pub(super) struct Requests {
    proposed: BTreeMap<Matter, Proposed>,
    /// Of all of them.
    bytes: usize,
}

struct Proposed {
    askers: BTreeSet<NodeId>,
    bytes: usize,
}

impl Requests {
    /// A node asks for something; true if it is to be proposed: it is new, and there is room.
    pub fn enter(&mut self, from: NodeId, matter: Matter, command: &Command) -> bool {
        if let Some(proposed) = self.proposed.get_mut(&matter) {
            proposed.askers.insert(from);
            return false;
        }
        let bytes = canon::to_bytes(command).len();
        let is_full = self.proposed.len() >= limits::REQUESTS || self.bytes + bytes > limits::REQUESTS_BYTES;
        if !is_full {
            self.bytes += bytes;
            self.proposed.insert(matter, Proposed { askers: BTreeSet::from([from]), bytes });
        }
        !is_full
    }

    /// Is this proposed?
    pub fn contains(&self, matter: &Matter) -> bool {
        self.proposed.contains_key(matter)
    }

    /// The log has settled it: those who asked.
    pub fn settled(&mut self, matter: &Matter) -> BTreeSet<NodeId> {
        let Some(proposed) = self.proposed.remove(matter) else { return BTreeSet::new() };
        self.bytes -= proposed.bytes;
        proposed.askers
    }
}

#[cfg(test)]
mod tests {
    use forgemesh_protocol::canon::Bytes;
    use forgemesh_protocol::hash::Hash;
    use forgemesh_protocol::id::{JobId, MeshId};
    use forgemesh_protocol::keys::{SecretKey, Signed};
    use forgemesh_protocol::submission::{Offer, Submission};

    use super::*;

    #[test]
    fn what_waits_is_bounded_in_bytes_and_room_comes_back() {
        let submission = Submission {
            envelope: Bytes(vec![b' '; limits::ENVELOPE_BYTES]),
            offer: Offer::default(),
            nonce: Bytes(vec![1; 16]),
            expires_ms: 1,
        };
        let secret = SecretKey::from_bytes(&[1; 32]);
        let command = Command::Submit { submission: Signed::new(submission, MeshId(Hash::ZERO), &secret) };
        let (mut requests, node) = (Requests::default(), NodeId(Hash::ZERO));
        let matter = |number: usize| Matter::Submission(JobId(Hash::blob(&number.to_be_bytes())));
        let mut taken = 0;
        while requests.enter(node, matter(taken), &command) {
            taken += 1;
        }
        assert_eq!(taken, limits::REQUESTS_BYTES / canon::to_bytes(&command).len());
        assert!(!requests.enter(node, matter(0), &command), "it is proposed already");
        assert_eq!(requests.settled(&matter(0)), BTreeSet::from([node]));
        assert!(requests.settled(&matter(0)).is_empty() && !requests.contains(&matter(0)));
        assert!(requests.enter(node, matter(taken), &command));
    }
}
