//! What waits for the disk while the node goes on.
//!
//! In a mesh of one nobody else has to agree, so the core is told at once that what it has written is durable, and the
//! log's entries are applied at once: a job's whole chain of steps is written together instead of one after the other.
//! Whatever leaves the node waits here until all that was written before it is durable. So nobody ever hears of what a
//! crash can undo; what it undoes is all that followed from it too. Source: output commit, Elnozahy, Alvisi, Wang and
//! Johnson 2002, "A Survey of Rollback-Recovery Protocols in Message-Passing Systems", ACM Computing Surveys 34(3).

use std::collections::{BTreeSet, VecDeque};

use forgemesh_protocol::limits;

use crate::core::{Output, Progress};
use crate::ports::Work;

/// Positions count the batches that were submitted to the store, which makes them durable in that order.
#[derive(Default)]
pub(crate) struct Held {
    submitted: u64,
    durable: u64,
    /// Batches of the core of which it was told too early, by their tokens.
    told: BTreeSet<u64>,
    /// The position of the newest of them.
    newest_told: u64,
    /// What leaves the node, and the position that it waits for.
    leaving: VecDeque<(u64, Output)>,
    /// Work that reads what was written, likewise.
    reading: VecDeque<(u64, Output)>,
    /// Somebody waits for one of these.
    hurry: bool,
}

impl Held {
    /// A batch was submitted.
    pub fn submitted(&mut self) {
        self.submitted += 1;
    }

    /// The core is told now that its newest batch is durable.
    pub fn tell(&mut self, token: u64) {
        self.told.insert(token);
        self.newest_told = self.submitted;
    }

    /// Whether the node may go further ahead of the disk.
    pub fn has_room(&self) -> bool {
        self.submitted - self.durable < limits::AHEAD_BATCHES
    }

    /// Whether the core was told of this batch before it was durable.
    pub fn was_told(&mut self, token: u64) -> bool {
        self.told.remove(&token)
    }

    /// An output that may go now; `ahead`: entries of the log are applied that are not durable.
    pub fn pass(&mut self, output: Output, ahead: bool) -> Option<Output> {
        let ahead = ahead || self.newest_told > self.durable;
        match &output {
            Output::Work { work, .. } if !reads(work) => {}
            Output::Work { .. } if self.newest_told > self.durable || !self.reading.is_empty() => {
                self.reading.push_back((self.newest_told, output));
                self.hurry = true;
                return None;
            }
            output if !leaves(output) => {}
            _ if ahead || !self.leaving.is_empty() => {
                self.hurry |= !matches!(output, Output::Progress(Progress { recorded: false, .. }));
                self.leaving.push_back((self.submitted, output));
                return None;
            }
            _ => {}
        }
        Some(output)
    }

    /// Whether the store should make haste, since this was last asked.
    pub fn hurries(&mut self) -> bool {
        std::mem::take(&mut self.hurry)
    }

    /// The next batch is durable: what may go now.
    pub fn stored(&mut self) -> Vec<Output> {
        self.durable += 1;
        let durable = self.durable;
        let mut released = Vec::new();
        for queue in [&mut self.leaving, &mut self.reading] {
            while let Some((_, output)) = queue.pop_front_if(|(position, _)| *position <= durable) {
                released.push(output);
            }
        }
        released
    }
}

/// Whether anybody outside of the node hears of it.
fn leaves(output: &Output) -> bool {
    match output {
        Output::Reply { .. } | Output::Send { .. } | Output::Announce(_) | Output::Provide(_) => true,
        Output::Progress(_) | Output::Asked(_) | Output::Seated { .. } | Output::Vouch { .. } => true,
        Output::Seek(_) | Output::Propose(_) | Output::Confirm { .. } | Output::Snapshot { .. } => false,
        Output::Store { .. } | Output::Work { .. } | Output::Reseat { .. } | Output::Halt(_) => false,
    }
}

/// Whether it reads what the store holds.
fn reads(work: &Work) -> bool {
    match work {
        Work::Run { .. } | Work::Open { .. } | Work::Check { .. } => false,
        Work::CheckOutline { .. } | Work::CheckPiece { .. } => false,
        Work::Reduce { .. } | Work::Load { .. } | Work::Lookup { .. } => true,
        Work::File { .. } | Work::Books { .. } | Work::Scrub { .. } | Work::Look { .. } => true,
        Work::Outline { .. } | Work::Piece { .. } | Work::Keeping { .. } => true,
        Work::ScrubPieces { .. } | Work::Garbage { .. } | Work::Spent { .. } | Work::Lacks { .. } => true,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use forgemesh_consensus::command::Command;
    use forgemesh_protocol::artifact::Outliner;
    use forgemesh_protocol::canon::Bytes;
    use forgemesh_protocol::hash::Hash;
    use forgemesh_protocol::id::JobId;

    use super::*;
    use crate::core::Reply;

    fn reply(token: u64) -> Output {
        Output::Reply { token, reply: Reply::Done }
    }

    fn read(ticket: u64) -> Output {
        Output::Work { ticket, work: Work::File { job: JobId(Hash::ZERO) } }
    }

    fn replied(outputs: &[Output]) -> Vec<u64> {
        let token = |output: &Output| match output {
            Output::Reply { token, .. } => *token,
            Output::Work { ticket, .. } => 100 + ticket,
            other => panic!("{other:?}"),
        };
        outputs.iter().map(token).collect()
    }

    #[test]
    fn what_leaves_waits_for_all_that_was_written_before_it() {
        let mut held = Held::default();
        assert!(held.pass(reply(1), false).is_some(), "nothing was written");
        held.submitted();
        held.tell(1);
        assert!(held.pass(reply(2), false).is_none());
        // The log's entry is applied and not durable.
        held.submitted();
        assert!(held.pass(reply(3), true).is_none());
        assert!(held.hurries() && !held.hurries());
        assert_eq!(replied(&held.stored()), [2]);
        assert!(held.was_told(1) && !held.was_told(1));
        // It does not overtake what waits.
        assert!(held.pass(reply(4), false).is_none());
        assert_eq!(replied(&held.stored()), [3, 4]);
        assert!(held.pass(reply(5), false).is_some());
        // Where nobody is told too early, nothing waits.
        held.submitted();
        assert!(held.pass(reply(6), false).is_some());
    }

    #[test]
    fn work_waits_for_what_it_may_read_and_for_nothing_else() {
        let mut held = Held::default();
        held.submitted();
        held.tell(1);
        held.submitted();
        assert!(held.pass(read(1), true).is_none());
        let (artifact, outline) = Outliner::default().finish();
        let (outline, bytes) = (Arc::new(outline), Bytes(Vec::new()));
        let run = Work::CheckPiece { artifact, outline, index: 0, bytes };
        assert!(held.pass(Output::Work { ticket: 2, work: run }, true).is_some());
        assert_eq!(replied(&held.stored()), [101], "not for the log");
        assert!(held.pass(read(3), true).is_some());
        let propose = Output::Propose(Command::Start { job: JobId(Hash::ZERO) });
        assert!(held.pass(propose, true).is_some());
    }
}
