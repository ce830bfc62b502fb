//! What nodes say to each other about a job. The same messages pass between the roles of one node, so that an
//! embedded run takes the very path that a mesh takes.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::artifact::{Outline, Pin};
use crate::attestation::Attestation;
use crate::cancellation::Cancellation;
use crate::canon::{self, Bytes, CanonError};
use crate::challenge::{LeafRef, Verdict};
use crate::charter::{Charter, Seating};
use crate::contract::Contract;
use crate::enrolment::{Expulsion, Invitation, Join, Withdrawal};
use crate::envelope::BillingMode;
use crate::genesis::HubMember;
use crate::hash::Hash;
use crate::id::{JobId, NodeId};
use crate::keys::Signed;
use crate::lease::Lease;
use crate::limits;
use crate::op::Op;
use crate::organization::Organization;
use crate::plan::StageRun;
use crate::receipt::ReceiptSignature;
use crate::region::Region;
use crate::submission::Submission;
use crate::vote::ReductionVote;

/// One message. Any of them may be lost, repeated, delayed or overtaken: who waits for an answer asks again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Message {
    /// Agent to hub, again and again: I am here, this I hold, so much I take.
    Hello(Box<Hello>),
    /// Hub to agent: execute these shards.
    Lease(Box<LeaseOffer>),
    /// Hub to agent: leave those of these shards that you have not begun.
    Recall(Holding),
    /// Hub to agent: the job is final, nothing of it is wanted any more.
    Over {
        job: JobId,
    },
    /// Agent to hub: this shard could not be executed.
    ShardFailed {
        job: JobId,
        stage: u64,
        shard: u64,
        attempt: u64,
        detail: String,
    },
    /// Agent to hub: a batch is done and committed to.
    Attest(Box<Attested>),
    /// Agent to every hub member, once: the same, with all that it claims, where that is little. Whoever has missed it asks
    /// for the blobs.
    Deliver(Box<Delivery>),
    /// Hub to agent: the last link of its chain that is logged, 0 and zero before the first. The answer to each
    /// attestation, and to a hello.
    Logged {
        seq: u64,
        digest: Hash,
    },
    /// Hub to agent: these blobs of your claims are not here.
    Fetch {
        blobs: Vec<Hash>,
    },
    /// Agent to hub: the bytes of one of them.
    Blob {
        bytes: Bytes,
    },
    /// Agent to hub: this blob can't be had here either.
    NoBlob {
        blob: Hash,
    },
    /// Hub to checker: execute these leaves again.
    Check(Box<Challenge>),
    /// Checker to hub: I am at it.
    Checking {
        attestation: Hash,
    },
    /// Checker to agent: open these leaves of your batch.
    Open(Box<Challenge>),
    /// Agent to checker: I am at it; on a slow line it takes its time.
    Opening {
        attestation: Hash,
    },
    /// Agent to checker: a kernel opening for each leaf, in the order asked for; none if they can't be had.
    Opened {
        job: JobId,
        attestation: Hash,
        openings: Vec<Bytes>,
    },
    /// Checker to hub.
    Judge(Box<Signed<Verdict>>),
    /// Hub member to leader: what its reduction came to.
    Vote(Box<Signed<ReductionVote>>),
    /// Hub member to hub member: my signature under a job's receipt.
    Signed {
        job: JobId,
        signature: ReceiptSignature,
    },
    /// Hub member to hub member: give me yours.
    Sign {
        job: JobId,
    },
    /// Hub member to leader: the next link of its beacon.
    Reveal {
        value: Hash,
    },
    /// Node to leader: a client's job.
    Submit(Box<Signed<Submission>>),
    /// A node to all: a client of mine has a job, whose submission is to be had here. Said again until there is an answer.
    Announced {
        job: JobId,
    },
    /// Leader to node: the submission of this job has not come; send it.
    Bring {
        job: JobId,
    },
    /// Node to leader: a client gives its job up.
    Cancel(Box<Signed<Cancellation>>),
    /// Hub member to leader: a change of who belongs to the mesh.
    Invite(Box<Signed<Invitation>>),
    Withdraw(Box<Signed<Withdrawal>>),
    Expel(Box<Signed<Expulsion>>),
    /// Leader to node: the request with this digest is committed, or why not.
    Answered {
        request: Hash,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refused: Option<String>,
    },
    /// The leader to all it knows: I lead, in this term, and the books have so many entries.
    Led {
        term: u64,
        books: u64,
    },
    /// Node to hub member: the books from this entry on.
    Books {
        from: u64,
    },
    /// Hub member to node: the record of one entry's job.
    Book {
        file: Bytes,
    },
    /// Node to whoever was ever admitted: I hear of no leader, and know of so many changes of who sits in the hub.
    WhoSits {
        known: u64,
    },
    /// Who sits in the hub now. The answer to who knows of an earlier seating.
    Seating(Box<Seating>),
    /// Node to leader: one of the hub's operators wants the hub to be changed so.
    Consent(Box<Signed<Charter>>),
    /// Hub member to hub member: the replicated log's own protocol.
    Raft {
        bytes: Bytes,
    },
    /// A node to the hub: admit me, here is a ticket's secret. Said again until one of the two answers comes.
    Join(Box<Signed<Join>>),
    /// Hub to node: the request with this digest is granted, and that is durable.
    Joined {
        join: Hash,
    },
    /// Hub to node: it is refused, in words for people.
    Refused {
        join: Hash,
        reason: String,
    },
    /// A node to the hub, for a client of its own: a request as its control socket takes it. Said again until it is
    /// answered; the hub may do it twice, so only what may be done twice is asked so.
    Ask {
        number: u64,
        body: Bytes,
    },
    /// Hub to node: the answer to the request with this number.
    Answer {
        number: u64,
        answer: Box<Answer>,
    },
    /// Hub member to leader: a client is about to read here.
    ReadIndex {
        number: u64,
    },
    /// Leader to hub member: it misses nothing once the entries below `next` are applied.
    ReadAt {
        number: u64,
        next: u64,
    },
    /// Node to node: how long is this artifact, and what are the sums of its pieces?
    Outline {
        artifact: Hash,
    },
    /// The answer, provable alone: with the last piece.
    Outlined(Box<Outlined>),
    /// Node to node: send me this piece.
    Piece {
        artifact: Hash,
        index: u64,
    },
    /// A piece. In the order of the canonical bytes: nothing so long is moved about while it is encoded.
    Pieced {
        bytes: Bytes,
        index: u64,
        artifact: Hash,
    },
    /// What was asked for of this artifact can't be had here.
    NoArtifact {
        artifact: Hash,
    },
    /// Node to leader: who has this artifact?
    Where {
        artifact: Hash,
    },
    /// Leader to node: these, as far as it knows.
    At {
        artifact: Hash,
        nodes: Vec<NodeId>,
    },
    /// Leader to node: which artifacts do you keep, after this address?
    Keeping {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<Hash>,
    },
    /// The answer.
    Kept(Box<KeptPage>),
    /// Leader to node: keep this artifact too, these nodes have it.
    Keep {
        artifact: Hash,
        sources: Vec<NodeId>,
    },
    /// Node to leader: I am connected with this node; does it belong to the mesh?
    Belongs {
        node: NodeId,
    },
    /// The answer; and, unasked, to a node that does not.
    Belonging {
        node: NodeId,
        belongs: bool,
    },
}

impl Message {
    /// The bytes on the wire.
    pub fn encode(&self) -> Vec<u8> {
        canon::to_bytes(self)
    }

    /// The same, behind what is there already.
    pub fn encode_behind(&self, out: &mut Vec<u8>) {
        canon::append(self, out);
    }

    /// The same without the bytes that are most of it, which are given back as they lie, with their place in `out`. None, and
    /// nothing written, of a message that has no such bytes, or few.
    pub fn encode_around(&mut self, out: &mut Vec<u8>) -> Option<(usize, Vec<u8>)> {
        self.long()?;
        let place = canon::append_around(self, limits::SMALL_MESSAGE_BYTES, out)?;
        self.long().map(|bytes| (place, std::mem::take(&mut bytes.0)))
    }

    /// What may be long, of a message that has one such field and nothing else that is.
    fn long(&mut self) -> Option<&mut Bytes> {
        match self {
            Message::Pieced { bytes, .. }
            | Message::Blob { bytes }
            | Message::Book { file: bytes }
            | Message::Raft { bytes } => Some(bytes),
            _ => None,
        }
    }

    /// Strictly, at most `limits::MESSAGE_BYTES`.
    pub fn decode(bytes: &[u8]) -> Result<Message, CanonError> {
        canon::from_bytes(bytes, limits::MESSAGE_BYTES)
    }
}

impl Delivery {
    /// Bytes of its claims and accumulators.
    pub fn bytes(&self) -> usize {
        self.attested.members.0.len() + self.blobs.iter().map(|blob| blob.0.len()).sum::<usize>()
    }
}

/// What a hub member answers a client of another node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Whether `json` says why it was refused.
    pub refused: bool,
    /// An object, as the control socket of the hub member would give it.
    pub json: Bytes,
    /// The bytes that it speaks of.
    pub attached: Bytes,
}

/// An artifact's outline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outlined {
    pub artifact: Hash,
    pub outline: Outline,
    pub last: Bytes,
    /// Why it is kept, if somebody has signed that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<Signed<Pin>>,
}

/// Artifacts that a node keeps for the mesh, in the order of their addresses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptPage {
    /// The address after which the page begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Hash>,
    pub artifacts: Vec<Keeping>,
    /// Up to which address the page says all; none: to the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub through: Option<Hash>,
}

impl KeptPage {
    /// In order, within its range, and not a bit at a time: who does not name all names as many as there may be.
    pub fn is_sound(&self) -> bool {
        let last = self.artifacts.last().map(|row| row.artifact);
        let first = self.artifacts.first().map(|row| row.artifact);
        let full = self.artifacts.len() == limits::HOLDINGS_PAGE && self.through == last;
        self.artifacts.len() <= limits::HOLDINGS_PAGE
            && self.artifacts.is_sorted_by(|a, b| a.artifact < b.artifact)
            && first.is_none_or(|first| Some(first) > self.after)
            && (self.through.is_none() || full)
    }
}

/// An artifact that is kept, whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keeping {
    pub artifact: Hash,
    /// Whose wish it is; none: the books name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned_by: Option<NodeId>,
}

/// What an agent says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// Shards it executes at once.
    pub capacity: u64,
    /// What executes them: `cpu/avx512` and the like.
    pub backend: String,
    /// Shards it would hold at most; 0 while it takes no work.
    pub accepts: u64,
    /// All that it holds: leased to it and not yet logged. What is not here is not being done.
    pub holds: Vec<Holding>,
    /// The operations it executes; all, if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ops: Vec<Op>,
    /// The newest change of who sits in the hub that it has heard of.
    #[serde(default, skip_serializing_if = "canon::is_zero")]
    pub seating: u64,
    /// Its key and its beacon chain, if its operator would have it sit in the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidacy: Option<HubMember>,
    /// Entries that its books have, each with its whole receipt.
    #[serde(default, skip_serializing_if = "canon::is_zero")]
    pub books: u64,
    /// Where it stands, by its operator's word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
    /// The billing modes of the jobs that it takes; all, if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub billing: Vec<BillingMode>,
    /// Whose jobs it takes, by the ids of the keys that signed them; none: everybody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<Vec<NodeId>>,
    /// Of which nodes it takes jobs beside those of `clients`, if there is such a list: by the organization that they
    /// belong to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub organizations: Vec<Organization>,
}

impl Hello {
    /// Is what it says of the agent short enough to be kept?
    pub fn is_bounded(&self) -> bool {
        let short = |op: &Op| op.name.len().max(op.profile.len()) <= limits::OP_NAME_BYTES;
        self.backend.len() <= limits::BACKEND_BYTES
            && self.ops.len() <= limits::HELLO_OPS
            && self.ops.iter().all(short)
    }
}

/// Shards of one stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holding {
    pub job: JobId,
    pub stage: u64,
    /// Digest of the stage's input, if it has one: a stage may have been planned anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Hash>,
    /// Ascending ranges, none touching another.
    pub shards: Vec<Range<u64>>,
}

/// A lease with all that its holder needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseOffer {
    pub lease: Signed<Lease>,
    pub contract: Contract,
    pub run: StageRun,
    /// What the job's client has signed, for a holder that takes only some clients' jobs, or only some billing modes: it
    /// sees for itself whose job it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submission: Option<Box<Signed<Submission>>>,
}

/// An attestation with its members.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attested {
    pub attestation: Signed<Attestation>,
    /// The claims blob whose address the attestation names.
    pub members: Bytes,
}

/// A batch with all that it claims.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delivery {
    pub attested: Attested,
    /// The accumulators, in the order of the claims.
    pub blobs: Vec<Bytes>,
}

/// A batch of which some leaves were drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenge {
    pub attestation: Signed<Attestation>,
    pub members: Bytes,
    pub contract: Contract,
    pub run: StageRun,
    pub leaves: Vec<LeafRef>,
}
