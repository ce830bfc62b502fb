//! What stands in the log's table and travels between members: canonical bytes of our own, whatever openraft holds in
//! memory.

use std::collections::BTreeSet;

use forgemesh_protocol::canon::{self, CanonError};
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::limits;
use openraft::{CommittedLeaderId, EntryPayload};
use serde::{Deserialize, Serialize};

use super::config::{Entry, LogId, Member, Membership, Vote};
use super::event::Committed;
use super::sealed::Sealed;
use crate::command;

/// Why bytes of the replicated log were not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoggedError {
    #[error("{0}")]
    Canon(#[from] CanonError),
    #[error("a term or an index is out of bounds; the sender is damaged or dishonest")]
    Number,
    #[error(
        "not a membership: 1 to 2 sets of 1 to {} voters and at most {} members; the sender is damaged or dishonest",
        limits::HUB_MEMBERS,
        limits::RAFT_MEMBERS
    )]
    Members,
    #[error("a term that nobody leads has a leader; the sender is damaged or dishonest")]
    Nobody,
    #[error("entries that do not follow on each other; the sender is damaged or dishonest")]
    Order,
}

/// A place in the log. There is one leader a term, so the two numbers name one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    pub term: u64,
    pub index: u64,
}

/// An entry of the replicated log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logged {
    pub index: u64,
    /// The term of the leader that put it in.
    pub term: u64,
    pub payload: Payload,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Payload {
    /// A new leader's first entry.
    Blank,
    /// Who the members are, from here on.
    Members(Members),
    /// A command for the hub.
    Command(Proposal),
}

/// A command, and the proposing leader's clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proposal {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    pub command: Sealed,
}

impl TryFrom<Logged> for Committed {
    type Error = LoggedError;

    /// An entry that is known to be agreed on; its command is decoded here.
    fn try_from(logged: Logged) -> Result<Committed, LoggedError> {
        let Logged { index, term, payload } = logged;
        Ok(match payload {
            Payload::Command(Proposal { at_ms, command }) => {
                let command = command.into_command()?;
                Committed::Entry(Box::new(command::Entry { index, term, at_ms, command }))
            }
            Payload::Blank | Payload::Members(_) => Committed::Other { index, term },
        })
    }
}

/// The members of the hub.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Members {
    /// What is agreed on needs a majority of each of these sets: one, or two while members change.
    pub voters: Vec<BTreeSet<NodeId>>,
    /// Who follows the log and is in none of the sets.
    pub learners: BTreeSet<NodeId>,
}

/// Whom a member has given its vote in a term, and whether that one leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ballot {
    pub term: u64,
    pub member: Option<NodeId>,
    pub elected: bool,
}

impl Place {
    pub(super) fn check(self) -> Result<(), LoggedError> {
        let bounded = self.term < limits::RAFT_NUMBER && self.index < limits::RAFT_NUMBER;
        if bounded { Ok(()) } else { Err(LoggedError::Number) }
    }

    pub(super) fn encode(self) -> Vec<u8> {
        canon::to_bytes(&self)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Place, LoggedError> {
        let place: Place = canon::from_bytes(bytes, limits::RAFT_HEAD_BYTES)?;
        place.check().map(|()| place)
    }
}

impl From<LogId> for Place {
    fn from(id: LogId) -> Self {
        Place { term: id.leader_id.term, index: id.index }
    }
}

impl From<Place> for LogId {
    fn from(place: Place) -> Self {
        LogId::new(CommittedLeaderId::new(place.term, Member::default()), place.index)
    }
}

impl Logged {
    /// The bytes in the table.
    pub fn encode(&self) -> Vec<u8> {
        canon::to_bytes(self)
    }

    /// Strictly, but for what a command says: that is decoded by those who want to know.
    pub fn decode(bytes: &[u8]) -> Result<Logged, LoggedError> {
        let logged: Logged = canon::from_bytes(bytes, limits::LOGGED_BYTES)?;
        logged.place().check()?;
        if let Payload::Members(members) = &logged.payload {
            members.check()?;
        }
        Ok(logged)
    }

    /// Where it stands.
    pub fn place(&self) -> Place {
        Place { term: self.term, index: self.index }
    }
}

impl From<&Entry> for Logged {
    fn from(entry: &Entry) -> Self {
        let Place { term, index } = entry.log_id.into();
        let payload = match &entry.payload {
            EntryPayload::Blank => Payload::Blank,
            EntryPayload::Membership(membership) => Payload::Members(membership.into()),
            EntryPayload::Normal(proposal) => Payload::Command(proposal.clone()),
        };
        Logged { index, term, payload }
    }
}

impl From<Logged> for Entry {
    fn from(logged: Logged) -> Self {
        let payload = match logged.payload {
            Payload::Blank => EntryPayload::Blank,
            Payload::Members(ref members) => EntryPayload::Membership(members.into()),
            Payload::Command(ref proposal) => EntryPayload::Normal(proposal.clone()),
        };
        Entry { log_id: logged.place().into(), payload }
    }
}

impl Members {
    pub(super) fn check(&self) -> Result<(), LoggedError> {
        let sets = (1..=2).contains(&self.voters.len());
        let sizes = self.voters.iter().all(|set| (1..=limits::HUB_MEMBERS).contains(&set.len()));
        let apart = self.voters.iter().all(|set| set.is_disjoint(&self.learners));
        let all = self.all().len() <= limits::RAFT_MEMBERS;
        if sets && sizes && apart && all { Ok(()) } else { Err(LoggedError::Members) }
    }

    /// Everybody, with and without a vote.
    pub fn all(&self) -> BTreeSet<NodeId> {
        self.voters.iter().flatten().chain(&self.learners).copied().collect()
    }

    /// Has this node a vote on everything that is to be agreed on?
    pub fn votes(&self, node: &NodeId) -> bool {
        !self.voters.is_empty() && self.voters.iter().all(|set| set.contains(node))
    }

    /// How many of `seated` may be lost, whichever they are, and the rest is a majority still. Nobody else is counted on.
    pub fn spare(&self, seated: &[NodeId]) -> u64 {
        let there = |set: &BTreeSet<NodeId>| seated.iter().filter(|node| set.contains(node)).count();
        let spare = self.voters.iter().map(|set| there(set).saturating_sub(set.len() / 2 + 1));
        spare.min().unwrap_or(0) as u64
    }
}

impl From<&Membership> for Members {
    fn from(membership: &Membership) -> Self {
        let nodes = |set: &BTreeSet<Member>| set.iter().map(|member| member.0).collect();
        Members {
            voters: membership.get_joint_config().iter().map(nodes).collect(),
            learners: membership.learner_ids().map(|member| member.0).collect(),
        }
    }
}

impl From<&Members> for Membership {
    fn from(members: &Members) -> Self {
        let nodes = |set: &BTreeSet<NodeId>| set.iter().copied().map(Member).collect::<BTreeSet<Member>>();
        Membership::new(members.voters.iter().map(nodes).collect(), nodes(&members.learners))
    }
}

impl Ballot {
    pub(super) fn check(self) -> Result<(), LoggedError> {
        if self.term >= limits::RAFT_NUMBER {
            Err(LoggedError::Number)
        } else if self.elected && self.member.is_none() {
            Err(LoggedError::Nobody)
        } else {
            Ok(())
        }
    }

    pub(super) fn encode(self) -> Vec<u8> {
        canon::to_bytes(&self)
    }

    /// A member's vote as it stands in its folder, strictly.
    pub fn decode(bytes: &[u8]) -> Result<Ballot, LoggedError> {
        let ballot: Ballot = canon::from_bytes(bytes, limits::RAFT_HEAD_BYTES)?;
        ballot.check().map(|()| ballot)
    }

    /// Whether who has given this one cannot follow `other`. Unlike openraft's own comparison it never panics, for the
    /// two may come from a liar.
    pub(super) fn is_above(self, other: Ballot) -> bool {
        (self.term, self.elected, self.member.is_some()) > (other.term, other.elected, other.member.is_some())
    }
}

impl From<&Vote> for Ballot {
    fn from(vote: &Vote) -> Self {
        let leader = &vote.leader_id;
        Ballot { term: leader.term, member: leader.voted_for.map(|member| member.0), elected: vote.committed }
    }
}

impl From<Ballot> for Vote {
    fn from(ballot: Ballot) -> Self {
        let leader_id = openraft::LeaderId { term: ballot.term, voted_for: ballot.member.map(Member) };
        Vote { leader_id, committed: ballot.elected }
    }
}

#[cfg(test)]
mod tests {
    use forgemesh_protocol::hash::Hash;

    use super::*;

    #[test]
    fn a_seat_without_a_vote_bears_no_loss() {
        let id = |number: u8| NodeId(Hash([number; 32]));
        let set = |numbers: &[u8]| numbers.iter().copied().map(id).collect::<BTreeSet<NodeId>>();
        let seats: Vec<NodeId> = set(&[1, 2, 3]).into_iter().collect();
        let five: Vec<NodeId> = set(&[1, 2, 3, 4, 5]).into_iter().collect();
        for (voters, seats, voting, spare) in [
            (vec![set(&[1])], &seats[..1], 1, 0),
            // Three sit, and the log follows.
            (vec![set(&[1])], &seats, 1, 0),
            (vec![set(&[1]), set(&[1, 2, 3])], &seats, 1, 0),
            (vec![set(&[1, 2, 3])], &seats, 3, 1),
            (vec![set(&[1, 2])], &seats[..2], 2, 0),
            // Who was replaced is not counted on.
            (vec![set(&[1, 2, 4])], &seats, 2, 0),
            (vec![set(&[1, 2, 3])], &five, 3, 1),
            (vec![set(&[1, 2, 3, 4, 5])], &seats, 3, 0),
            (vec![set(&[1, 2, 3, 4, 5])], &five, 5, 2),
            (vec![], &seats, 0, 0),
        ] {
            let members = Members { voters, learners: BTreeSet::new() };
            let count = seats.iter().filter(|node| members.votes(node)).count();
            assert_eq!((count, members.spare(seats)), (voting, spare), "{members:?} {seats:?}");
        }
    }
}
