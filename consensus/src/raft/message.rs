//! What members say to each other about the log. The bytes come from outside: they are bounded, strictly decoded, and
//! what openraft would stumble over is refused here.

use forgemesh_protocol::canon::{self, Bytes};
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::limits;
use openraft::raft::AppendEntriesRequest;
use serde::{Deserialize, Serialize};

use super::config::{Entry, LogId, Member, Types, Vote};
use super::logged::{Ballot, Logged, LoggedError, Payload, Place};

/// One message. Any of them may be lost, repeated, delayed or overtaken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// A random number of the asking replica's life: an answer to an earlier life is none.
    pub life: u64,
    /// The question's number in that life.
    pub number: u64,
    pub body: Body,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Body {
    Ask(Ask),
    Answer(Answer),
}

/// A question. Who asks is the leader, or the candidate, of the term it names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Ask {
    /// Put these entries after that one.
    Append(Append),
    /// Vote for me: my log ends here.
    Elect { term: u64, last: Option<Place> },
    /// Take this part of a snapshot.
    Chunk(Chunk),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Append {
    pub term: u64,
    pub previous: Option<Place>,
    /// Each as it stands in the table.
    pub entries: Vec<Bytes>,
    pub committed: Option<Place>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chunk {
    pub term: u64,
    /// Of the whole snapshot.
    pub length: u64,
    pub hash: Hash,
    /// Where in it the part begins.
    pub offset: u64,
    pub part: Bytes,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Answer {
    /// The entries are there and durable.
    Appended,
    /// The entry before them is not the one here.
    Conflict,
    /// You do not lead, I have voted for somebody else since.
    Higher(Ballot),
    /// What I have voted, and where my log ends.
    Voted { granted: bool, ballot: Ballot, last: Option<Place> },
    /// Send the part at this offset.
    Next(u64),
    /// The snapshot has arrived and is durable.
    Installed(Ballot),
}

impl Message {
    pub fn encode(&self) -> Bytes {
        Bytes(canon::to_bytes(self))
    }

    /// Strictly.
    pub fn decode(bytes: &[u8]) -> Result<Message, LoggedError> {
        let message: Message = canon::from_bytes(bytes, limits::RAFT_MESSAGE_BYTES)?;
        match &message.body {
            Body::Ask(ask) => ask.check()?,
            Body::Answer(answer) => answer.check()?,
        }
        Ok(message)
    }
}

impl Ask {
    /// The term in which the asking member leads, or wants to.
    pub(super) fn term(&self) -> u64 {
        match self {
            Ask::Append(Append { term, .. }) | Ask::Elect { term, .. } | Ask::Chunk(Chunk { term, .. }) => {
                *term
            }
        }
    }

    fn check(&self) -> Result<(), LoggedError> {
        if !(1..limits::RAFT_NUMBER).contains(&self.term()) {
            return Err(LoggedError::Number);
        }
        match self {
            Ask::Append(append) => {
                append.previous.map_or(Ok(()), Place::check)?;
                append.committed.map_or(Ok(()), Place::check)?;
                let few = append.entries.len() <= limits::RAFT_APPEND_ENTRIES;
                if few { Ok(()) } else { Err(LoggedError::Order) }
            }
            Ask::Elect { last, .. } => last.map_or(Ok(()), Place::check),
            Ask::Chunk(chunk) => {
                let most = limits::SNAPSHOT_BYTES + limits::RAFT_HEAD_BYTES + 4;
                let end = chunk.offset.checked_add(chunk.part.0.len() as u64);
                let inside = chunk.length <= most as u64 && end.is_some_and(|end| end <= chunk.length);
                if inside { Ok(()) } else { Err(LoggedError::Number) }
            }
        }
    }
}

impl Answer {
    fn check(&self) -> Result<(), LoggedError> {
        match self {
            Answer::Higher(ballot) | Answer::Installed(ballot) => ballot.check(),
            Answer::Voted { ballot, last, .. } => {
                ballot.check()?;
                last.map_or(Ok(()), Place::check)
            }
            Answer::Appended | Answer::Conflict | Answer::Next(_) => Ok(()),
        }
    }
}

impl Append {
    /// No entries, after none: nothing but a sign of this term's leader.
    pub(super) fn beat(term: u64) -> Append {
        Append { term, previous: None, entries: Vec::new(), committed: None }
    }

    /// Index of the last entry that whoever agrees to it has.
    pub(super) fn last(&self) -> Option<u64> {
        let entries = self.entries.len() as u64;
        (self.previous.map_or(0, |place| place.index + 1) + entries).checked_sub(1)
    }

    /// Nothing but what is agreed on, for who has all of this `request`.
    pub(super) fn word(self, request: &AppendEntriesRequest<Types>) -> Append {
        let last = request.entries.last().map(|entry| Place::from(entry.log_id));
        Append { previous: last.or(self.previous), entries: Vec::new(), ..self }
    }

    /// Whether an answer to this question says something about the other: they put entries after the same one, and one
    /// has those of the other and perhaps more. One without entries says nothing about entries.
    pub(super) fn answers(&self, other: &Append) -> bool {
        let common = self.entries.len().min(other.entries.len());
        (self.term, self.previous) == (other.term, other.previous)
            && self.entries.is_empty() <= other.entries.is_empty()
            && self.entries[..common] == other.entries[..common]
    }

    /// Whether it is nothing but a sign of life: taking it changes no log.
    pub(super) fn is_beat(&self) -> bool {
        self.previous.is_none() && self.entries.is_empty()
    }

    /// The question of this request; none where its entries do not follow on each other or are of a later term: then a
    /// new leader has put its own in their place while this member still took itself for the leader.
    pub(super) fn of(request: &AppendEntriesRequest<Types>) -> Option<Append> {
        let term = request.vote.leader_id.term;
        let previous = request.prev_log_id.map(Place::from);
        let entries: Vec<Logged> = request.entries.iter().map(Logged::from).collect();
        follow(term, previous, &entries).then(|| Append {
            term,
            previous,
            entries: entries.iter().map(|logged| Bytes(logged.encode())).collect(),
            committed: request.leader_commit.map(Place::from),
        })
    }

    /// The request of this question, asked by `leader`.
    pub fn request(self, leader: NodeId) -> Result<AppendEntriesRequest<Types>, LoggedError> {
        let entries = self.entries.iter().map(|bytes| {
            let logged = Logged::decode(&bytes.0)?;
            if let Payload::Command(proposal) = &logged.payload {
                proposal.command.command()?;
            }
            Ok(logged)
        });
        let entries = entries.collect::<Result<Vec<Logged>, LoggedError>>()?;
        if !follow(self.term, self.previous, &entries) {
            return Err(LoggedError::Order);
        }
        Ok(AppendEntriesRequest {
            vote: Vote::new_committed(self.term, Member(leader)),
            prev_log_id: self.previous.map(LogId::from),
            entries: entries.into_iter().map(Entry::from).collect(),
            leader_commit: self.committed.map(LogId::from),
        })
    }
}

/// Whether the entries stand one after the other behind `previous`, in terms that never fall and never pass `term`.
fn follow(term: u64, previous: Option<Place>, entries: &[Logged]) -> bool {
    let mut previous = previous;
    let in_order = entries.iter().all(|logged| {
        let next = previous.map_or(0, |place| place.index + 1);
        let follows = logged.index == next && previous.is_none_or(|place| place.term <= logged.term);
        previous = Some(logged.place());
        follows
    });
    in_order && previous.is_none_or(|place| place.term <= term)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::logged::Members;
    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId(Hash([number; 32]))
    }

    fn blank(term: u64, index: u64) -> Logged {
        Logged { index, term, payload: Payload::Blank }
    }

    fn append(term: u64, previous: Option<Place>, entries: &[Logged]) -> Append {
        let entries = entries.iter().map(|logged| Bytes(logged.encode())).collect();
        Append { term, previous, entries, committed: None }
    }

    fn decoded(body: Body) -> Result<Message, LoggedError> {
        let message = Message { life: 1, number: 2, body };
        let read = Message::decode(&message.encode().0);
        assert!(read.as_ref().is_ok_and(|read| *read == message) || read.is_err());
        read
    }

    fn ask(ask: Ask) -> Result<Message, LoggedError> {
        decoded(Body::Ask(ask))
    }

    #[test]
    fn entries_that_do_not_follow_are_refused_on_both_sides() {
        let place = |term, index| Some(Place { term, index });
        let request = |append: Append| append.request(node(1)).map(|request| Append::of(&request));
        for good in [
            append(3, None, &[]),
            append(3, None, &[blank(0, 0), blank(1, 1), blank(3, 2)]),
            append(3, place(2, 6), &[blank(2, 7), blank(3, 8)]),
        ] {
            assert_eq!(request(good.clone()), Ok(Some(good)));
        }
        for bad in [
            append(3, None, &[blank(1, 1)]),
            append(3, place(2, 6), &[blank(2, 8)]),
            append(3, place(2, 6), &[blank(1, 7)]),
            append(3, place(2, 6), &[blank(3, 7), blank(3, 7)]),
            append(3, place(2, 6), &[blank(4, 7)]),
            append(3, place(4, 6), &[]),
        ] {
            assert!(matches!(request(bad), Err(LoggedError::Order)));
        }
    }

    #[test]
    fn numbers_and_lengths_are_bounded() {
        let large = Place { term: 1, index: limits::RAFT_NUMBER };
        let chunk = |length, offset: u64, bytes: usize| {
            ask(Ask::Chunk(Chunk { term: 1, length, hash: Hash::ZERO, offset, part: Bytes(vec![0; bytes]) }))
        };
        assert!(ask(Ask::Elect { term: 1, last: None }).is_ok() && chunk(10, 4, 6).is_ok());
        let ballot = Ballot { term: limits::RAFT_NUMBER, member: None, elected: true };
        for bad in [
            ask(Ask::Elect { term: 0, last: None }),
            ask(Ask::Elect { term: u64::MAX, last: None }),
            ask(Ask::Elect { term: 1, last: Some(large) }),
            ask(Ask::Append(append(1, Some(large), &[]))),
            chunk(10, 5, 6),
            chunk(u64::MAX, u64::MAX, 1),
            chunk(limits::SNAPSHOT_BYTES as u64 * 2, 0, 1),
            decoded(Body::Answer(Answer::Higher(ballot))),
            decoded(Body::Answer(Answer::Voted { granted: true, ballot, last: None })),
        ] {
            assert!(matches!(bad, Err(LoggedError::Number)), "{bad:?}");
        }
        let many = vec![blank(1, 0); limits::RAFT_APPEND_ENTRIES + 1];
        assert_eq!(ask(Ask::Append(append(1, None, &many))), Err(LoggedError::Order));
        let long = vec![0; limits::RAFT_MESSAGE_BYTES + 1];
        assert!(matches!(Message::decode(&long), Err(LoggedError::Canon(_))));
    }

    #[test]
    fn the_longest_entry_fits_a_message() {
        let bytes = limits::RAFT_APPEND_BYTES + limits::LOGGED_BYTES;
        let entries = vec![Bytes(vec![0; bytes])];
        let append = Append { term: 1, previous: None, entries, committed: None };
        assert!(ask(Ask::Append(append)).is_ok());
    }

    #[test]
    fn what_is_no_membership_is_refused() {
        let set = |from: u8, to: u8| (from..to).map(node).collect::<BTreeSet<NodeId>>();
        let logged = |voters: Vec<BTreeSet<NodeId>>, learners| {
            let payload = Payload::Members(Members { voters, learners });
            Logged::decode(&Logged { index: 0, term: 0, payload }.encode())
        };
        assert!(logged(vec![set(0, 5), set(3, 8)], set(8, 20)).is_ok());
        for (voters, learners) in [
            (vec![], set(0, 1)),
            (vec![set(0, 0)], set(0, 1)),
            (vec![set(0, 6)], set(0, 0)),
            (vec![set(0, 3), set(0, 3), set(0, 3)], set(0, 0)),
            (vec![set(0, 3)], set(2, 4)),
            (vec![set(0, 3)], set(3, 21)),
        ] {
            assert!(matches!(logged(voters, learners), Err(LoggedError::Members)));
        }
    }

    #[test]
    fn a_ballot_is_above_another_where_openraft_says_so_and_never_panics() {
        let members = [None, Some(node(1)), Some(node(2))];
        let ballots: Vec<Ballot> = (1..3)
            .flat_map(|term| members.map(|member| (term, member)))
            .flat_map(|(term, member)| [false, true].map(|elected| Ballot { term, member, elected }))
            .filter(|ballot| ballot.check().is_ok())
            .collect();
        assert_eq!(ballots.len(), 10, "nobody leads where nobody was voted for");
        for a in &ballots {
            for b in &ballots {
                // Two that lead in one term: openraft does not compare them.
                let impossible = a.elected && b.elected && a.term == b.term && a.member != b.member;
                if !impossible {
                    assert_eq!(a.is_above(*b), Vote::from(*a) > Vote::from(*b), "{a:?} {b:?}");
                }
            }
        }
    }
}
