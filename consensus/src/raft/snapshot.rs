//! A snapshot's bytes, on the disk and on the way to another member: the hub's state with its place in the log and the
//! members there.

use forgemesh_protocol::canon;
use forgemesh_protocol::limits;
use serde::{Deserialize, Serialize};

use super::config::{LogId, SnapshotMeta, StoredMembership};
use super::logged::{LoggedError, Members, Place};

/// What stands before the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The last entry that the state includes.
    pub last: Place,
    /// The members after that entry, and the entry that made them so.
    pub members: Members,
    pub since: Place,
}

impl Head {
    pub(super) fn new(last: LogId, membership: &StoredMembership) -> Head {
        // Every log begins with its members, so before any snapshot there was such an entry.
        let since = membership.log_id().map_or(Place { term: 0, index: 0 }, Place::from);
        Head { last: last.into(), members: membership.membership().into(), since }
    }

    /// A snapshot: length of the head as a big-endian u32 ‖ head ‖ state. The state is not part of the canonical
    /// structure, for it may be large.
    pub fn encode(&self, state: &[u8]) -> Vec<u8> {
        let head = canon::to_bytes(self);
        [&(head.len() as u32).to_be_bytes(), &head[..], state].concat()
    }

    /// The head and the state, strictly.
    pub fn split(bytes: &[u8]) -> Result<(Head, &[u8]), LoggedError> {
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or(LoggedError::Order)?;
        let (head, state) =
            rest.split_at_checked(u32::from_be_bytes(*length) as usize).ok_or(LoggedError::Order)?;
        let head: Head = canon::from_bytes(head, limits::RAFT_HEAD_BYTES)?;
        head.last.check()?;
        head.since.check()?;
        head.members.check()?;
        if head.since > head.last { Err(LoggedError::Order) } else { Ok((head, state)) }
    }

    pub(super) fn membership(&self) -> StoredMembership {
        StoredMembership::new(Some(self.since.into()), (&self.members).into())
    }

    pub(super) fn meta(&self) -> SnapshotMeta {
        SnapshotMeta {
            last_log_id: Some(self.last.into()),
            last_membership: self.membership(),
            snapshot_id: format!("{}-{}", self.last.term, self.last.index),
        }
    }
}
