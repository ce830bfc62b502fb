//! What passes between a node and its worker: frames of canonical CBOR, each after its length.
//!
//! Both sides distrust the other: a frame is bounded before it is held and decoded strictly. Must never panic on bytes
//! that it has read.

use std::io::{self, ErrorKind, Read, Write};

use forgemesh_protocol::attestation::Claim;
use forgemesh_protocol::canon::{self, Bytes, CanonError};
use forgemesh_protocol::challenge::{LeafRef, Mismatch};
use forgemesh_protocol::contract::Contract;
use forgemesh_protocol::limits;
use forgemesh_protocol::plan::StageRun;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::ports::{Done, Work};

/// Bytes of a frame: the openings of a batch, the claims that they are held against, and a contract.
pub const FRAME_BYTES: usize = limits::MESSAGE_BYTES + limits::MEMBERS_BYTES + 4 * limits::ENVELOPE_BYTES;
/// Bytes of the first frame in either direction.
pub const FIRST_BYTES: usize = 4 << 10;
/// Bytes that are set aside for a frame before any of it has arrived.
const AT_FIRST: usize = 64 << 10;

/// Why there is no frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("the pipe: {0}")]
    Pipe(#[from] io::Error),
    #[error("it ends within a frame")]
    Truncated,
    #[error("{0}")]
    Canon(#[from] CanonError),
}

/// The first frame to a worker: what it is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// Of the program: both sides are the same one, or neither understands the other.
    pub version: String,
    pub threads: u64,
    pub isa: String,
    pub memory_bytes: u64,
}

/// The first frame of a worker: it is confined, and takes work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ready {
    /// What the system would not take from it.
    pub gaps: Vec<Gap>,
}

/// A way in which a worker is not confined, because the system refuses to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gap {
    /// Its calls to the system are not filtered.
    Calls,
    /// It may gain rights by what it starts.
    Rights,
    /// Its memory is not bounded.
    Memory,
    /// It may open files, or leave a core dump.
    Files,
}

impl std::fmt::Display for Gap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Gap::Calls => "its calls to the system are not filtered",
            Gap::Rights => "it may gain rights",
            Gap::Memory => "its memory is not bounded",
            Gap::Files => "its open files are not bounded",
        })
    }
}

/// A piece of work, and the ticket under which its end is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    pub ticket: u64,
    pub piece: Piece,
}

/// Work that runs a profile over a stranger's contract, and needs nothing but what is in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Piece {
    /// As [`Work::Run`].
    Run { contract: Contract, run: StageRun, shard: u64 },
    /// As [`Work::Open`].
    Open { contract: Contract, run: StageRun, leaves: Vec<LeafRef> },
    /// As [`Work::Check`].
    Check {
        contract: Contract,
        run: StageRun,
        claims: Vec<Claim>,
        leaves: Vec<LeafRef>,
        openings: Vec<Bytes>,
    },
}

/// Where a piece of work is done.
pub enum Place {
    /// In the worker.
    Worker(Piece),
    /// In the node: it needs the store.
    Node(Work),
}

impl Place {
    /// Of this work.
    pub fn of(work: Work) -> Place {
        match work {
            Work::Run { contract, run, shard } => Place::Worker(Piece::Run { contract, run, shard }),
            Work::Open { contract, run, leaves } => Place::Worker(Piece::Open { contract, run, leaves }),
            Work::Check { contract, run, claims, leaves, openings } => {
                Place::Worker(Piece::Check { contract, run, claims, leaves, openings })
            }
            Work::Reduce { .. }
            | Work::Load { .. }
            | Work::Lookup { .. }
            | Work::File { .. }
            | Work::Books { .. }
            | Work::Scrub { .. }
            | Work::Look { .. }
            | Work::Outline { .. }
            | Work::Piece { .. }
            | Work::CheckOutline { .. }
            | Work::CheckPiece { .. }
            | Work::ScrubPieces { .. }
            | Work::Garbage { .. }
            | Work::Spent { .. }
            | Work::Lacks { .. }
            | Work::Keeping { .. } => Place::Node(work),
        }
    }
}

/// How a piece of work ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answered {
    pub ticket: u64,
    pub outcome: Outcome,
}

/// What [`Done`] says of a [`Piece`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Outcome {
    Ran { claim: Claim, accumulator: Bytes, paths: u64 },
    Opened { openings: Vec<Bytes> },
    Checked { mismatches: Vec<Mismatch> },
    Failed { detail: String },
}

impl Outcome {
    /// Of what was done for a piece.
    pub fn of(done: Done) -> Outcome {
        match done {
            Done::Ran { claim, accumulator, paths } => {
                Outcome::Ran { claim, accumulator: Bytes(accumulator), paths }
            }
            Done::Opened { openings } => Outcome::Opened { openings },
            Done::Checked { mismatches } => Outcome::Checked { mismatches },
            Done::Failed { detail } => Outcome::Failed { detail },
            Done::Reduced { .. }
            | Done::Lacking { .. }
            | Done::Unfit { .. }
            | Done::Loaded { .. }
            | Done::LookedUp { .. }
            | Done::File { .. }
            | Done::Books { .. }
            | Done::Looked { .. }
            | Done::Outlined { .. }
            | Done::Pieced { .. }
            | Done::Keeping { .. }
            | Done::ScrubbedPieces { .. }
            | Done::Garbage { .. }
            | Done::Spent { .. }
            | Done::Lacks { .. }
            | Done::Scrubbed { .. } => Outcome::Failed {
                detail: "a worker has nothing to do with the store; please report it".to_owned(),
            },
        }
    }

    /// As the core takes it.
    pub fn done(self) -> Done {
        match self {
            Outcome::Ran { claim, accumulator, paths } => {
                Done::Ran { claim, accumulator: accumulator.0, paths }
            }
            Outcome::Opened { openings } => Done::Opened { openings },
            Outcome::Checked { mismatches } => Done::Checked { mismatches },
            Outcome::Failed { detail } => Done::Failed { detail },
        }
    }
}

/// What an answer to a piece must look like: of a worker that was taken over nothing else reaches the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Ran { shard: u64 },
    Opened { leaves: usize },
    Checked,
}

impl Shape {
    /// Of the answer to `piece`.
    pub fn of(piece: &Piece) -> Shape {
        match piece {
            Piece::Run { shard, .. } => Shape::Ran { shard: *shard },
            Piece::Open { leaves, .. } => Shape::Opened { leaves: leaves.len() },
            Piece::Check { .. } => Shape::Checked,
        }
    }

    /// Has `outcome` this shape? Failure always fits.
    pub fn fits(self, outcome: &Outcome) -> bool {
        match (self, outcome) {
            (_, Outcome::Failed { .. }) | (Shape::Checked, Outcome::Checked { .. }) => true,
            (Shape::Ran { shard }, Outcome::Ran { claim, .. }) => claim.shard == shard,
            (Shape::Opened { leaves }, Outcome::Opened { openings }) => openings.len() == leaves,
            _ => false,
        }
    }
}

/// The frame of `value`, its length first.
pub fn encode(value: &impl Serialize, limit: usize) -> Result<Vec<u8>, CanonError> {
    let mut frame = canon::to_bytes(value);
    let length = frame.len();
    let head = u32::try_from(length).ok().filter(|_| length <= limit);
    let head = head.ok_or(CanonError::TooLong { length, limit })?;
    frame.splice(0..0, head.to_le_bytes());
    Ok(frame)
}

/// Writes a frame.
pub fn write(to: &mut impl Write, value: &impl Serialize, limit: usize) -> Result<(), FrameError> {
    Ok(to.write_all(&encode(value, limit)?)?)
}

/// Reads a frame of at most `limit` bytes; none at the end of the pipe.
pub fn read<T: Serialize + DeserializeOwned>(
    from: &mut impl Read,
    limit: usize,
) -> Result<Option<T>, FrameError> {
    let mut head = [0; 4];
    let mut have = 0;
    while have < head.len() {
        match from.read(&mut head[have..]) {
            Ok(0) if have == 0 => return Ok(None),
            Ok(0) => return Err(FrameError::Truncated),
            Ok(more) => have += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    let length = u32::from_le_bytes(head) as usize;
    if length > limit {
        return Err(CanonError::TooLong { length, limit }.into());
    }
    // It grows as it arrives: a length alone holds nothing.
    let mut body = Vec::with_capacity(length.min(AT_FIRST));
    from.take(length as u64).read_to_end(&mut body)?;
    if body.len() < length {
        return Err(FrameError::Truncated);
    }
    Ok(Some(canon::from_bytes(&body, limit)?))
}

#[cfg(test)]
mod tests {
    use forgemesh_kernel::job::Job;
    use forgemesh_protocol::hash::Hash;

    use super::*;

    fn asked() -> Asked {
        let envelope = br#"{"op":{"name":"diag","version":1,"profile":"mix.v1"},"args":{}}"#;
        let (job, _) = Job::read(envelope).expect("a job");
        let run = StageRun { number: 0, stage: job.plan().stages[0].clone(), input: None };
        Asked { ticket: 7, piece: Piece::Run { contract: job.contract().clone(), run, shard: 0 } }
    }

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let mut pipe = Vec::new();
        write(&mut pipe, &asked(), FRAME_BYTES).expect("memory takes all");
        write(&mut pipe, &asked(), FRAME_BYTES).expect("memory takes all");
        let mut rest = &pipe[..];
        for _ in 0..2 {
            assert_eq!(read::<Asked>(&mut rest, FRAME_BYTES).expect("a frame"), Some(asked()));
        }
        assert_eq!(read::<Asked>(&mut rest, FRAME_BYTES).expect("the end"), None);
    }

    #[test]
    fn garbage_is_an_error_wherever_it_begins() {
        let whole = encode(&asked(), FRAME_BYTES).expect("it is short");
        for cut in 1..whole.len() {
            let found = read::<Asked>(&mut &whole[..cut], FRAME_BYTES);
            assert!(matches!(found, Err(FrameError::Truncated)), "cut at {cut}: {found:?}");
        }
        for at in 4..whole.len() {
            for bit in 0..8 {
                let mut changed = whole.clone();
                changed[at] ^= 1 << bit;
                // Another number, or refused; what is read is its own canonical form.
                if let Ok(Some(read)) = read::<Asked>(&mut &changed[..], FRAME_BYTES) {
                    assert_eq!(encode(&read, FRAME_BYTES).expect("it is short"), changed);
                }
            }
        }
    }

    #[test]
    fn a_length_alone_holds_nothing_and_a_long_one_is_refused() {
        let endless = [&u32::MAX.to_le_bytes()[..], &[0; 100]].concat();
        let found = read::<Asked>(&mut &endless[..], FRAME_BYTES);
        assert!(matches!(found, Err(FrameError::Canon(CanonError::TooLong { .. }))), "{found:?}");
        let long = [&(FRAME_BYTES as u32).to_le_bytes()[..], &[0; 100]].concat();
        assert!(matches!(read::<Asked>(&mut &long[..], FRAME_BYTES), Err(FrameError::Truncated)));
        assert!(matches!(encode(&asked(), 8), Err(CanonError::TooLong { limit: 8, .. })));
    }

    #[test]
    fn an_answer_must_have_the_shape_of_its_question() {
        let hash = Hash::blob(b"");
        let claim =
            Claim { shard: 3, task: hash, tree: hash, totals: hash, blob: hash, wall_us: 0, cpu_us: 0 };
        let ran = Outcome::Ran { claim, accumulator: Bytes::default(), paths: 1 };
        let opened = Outcome::Opened { openings: vec![Bytes::default()] };
        let failed = Outcome::Failed { detail: String::new() };
        for (shape, right) in [
            (Shape::Ran { shard: 3 }, &ran),
            (Shape::Opened { leaves: 1 }, &opened),
            (Shape::Checked, &failed),
        ] {
            assert!(shape.fits(right) && shape.fits(&failed), "{shape:?}");
        }
        for (shape, wrong) in [
            (Shape::Ran { shard: 4 }, &ran),
            (Shape::Ran { shard: 3 }, &opened),
            (Shape::Opened { leaves: 2 }, &opened),
            (Shape::Checked, &ran),
        ] {
            assert!(!shape.fits(wrong), "{shape:?}");
        }
    }
}
