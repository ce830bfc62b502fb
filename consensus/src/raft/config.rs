//! What openraft is told: the types it works on, and how long it waits.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::limits;
use openraft::{Config, SnapshotPolicy};

use super::logged::Proposal;
use super::runtime::Runtime;

openraft::declare_raft_types!(
    /// The types of our replicated log.
    pub Types:
        D = Proposal,
        R = (),
        NodeId = Member,
        Node = openraft::EmptyNode,
        SnapshotData = Vec<u8>,
        AsyncRuntime = Runtime,
);

pub(super) type Entry = openraft::Entry<Types>;
pub(super) type LogId = openraft::LogId<Member>;
pub(super) type Vote = openraft::Vote<Member>;
pub(super) type Membership = openraft::Membership<Member, openraft::EmptyNode>;
pub(super) type StoredMembership = openraft::StoredMembership<Member, openraft::EmptyNode>;
pub(super) type SnapshotMeta = openraft::SnapshotMeta<Member, openraft::EmptyNode>;
pub(super) type StorageError = openraft::StorageError<Member>;
pub(super) type StorageIoError = openraft::StorageIOError<Member>;
pub(super) type Raft = openraft::Raft<Types>;

/// A node's id, with the default that openraft asks for and that stands for nobody.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member(pub NodeId);

impl Default for Member {
    fn default() -> Self {
        Member(NodeId(Hash::ZERO))
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// How long a replica waits, in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How often a leader says that it leads. The way to the farthest member and back should be shorter; where it is
    /// not, answers still count.
    pub heartbeat_ms: u64,
    /// Silence after which votes are asked for is drawn from this range, anew each time. After a leader's silence it is
    /// longer by the range's length, for a leader is believed until the range's end. It begins after the heartbeat.
    pub election_ms: Range<u64>,
}

impl Default for Timing {
    fn default() -> Self {
        Timing { heartbeat_ms: limits::RAFT_HEARTBEAT_MS, election_ms: limits::RAFT_ELECTION_MS }
    }
}

impl Timing {
    /// `None` where no leader could be elected with it.
    pub(super) fn config(&self) -> Option<Arc<Config>> {
        let config = Config {
            cluster_name: "hub".to_owned(),
            heartbeat_interval: self.heartbeat_ms,
            // A vote counts if it comes before this: it must be on a disk first, which a busy machine does not do at once.
            election_timeout_min: self.election_ms.end.saturating_sub(1),
            election_timeout_max: self.election_ms.end,
            max_payload_entries: limits::RAFT_APPEND_ENTRIES as u64,
            // See `elect`.
            enable_elect: false,
            // The node says when: only it knows whether all that follows from the log is in its books.
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: limits::RAFT_LOG_KEPT,
            ..Config::default()
        };
        let sound = self.heartbeat_ms > 0 && self.heartbeat_ms < self.election_ms.start;
        (sound && !self.election_ms.is_empty()).then_some(config)?.validate().ok().map(Arc::new)
    }
}
