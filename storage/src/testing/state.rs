//! What the model disk is made of, behind its handle.
//!
//! Owns the order in which an operation meets its faults, the counts and the recording. Must never let an operation of
//! a dead process reach the bytes.

use std::io;

use super::fault::{Action, Fault};
use super::medium::{Change, Medium, SyncResult, sectors};
use super::random::Random;
use super::space::Space;

/// Operations that succeeded so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Reads of bytes or of the length.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
    /// Changes of the length.
    pub resizes: u64,
    /// Syncs, those that lied too.
    pub syncs: u64,
}

impl Counts {
    /// All but reads: the moment to which a crash can be pinned.
    pub fn changes(&self) -> u64 {
        self.writes + self.resizes + self.syncs
    }

    pub(super) fn add(&mut self, action: Action) {
        match action {
            Action::Read => self.reads += 1,
            Action::Write => self.writes += 1,
            Action::Resize => self.resizes += 1,
            Action::Sync => self.syncs += 1,
            Action::Change => {}
        }
    }
}

/// Operations that failed so far, by what failed them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// Reads that a fault struck.
    pub reads: u64,
    /// Writes, changes of the length and syncs that a fault struck.
    pub changes: u64,
    /// Writes and changes of the length for which there was no room.
    pub room: u64,
}

/// What a recording keeps.
#[derive(Clone, Debug)]
pub(super) enum Recorded {
    Change(Change),
    Sync(SyncResult),
}

#[derive(Debug)]
pub(super) struct Recording {
    /// The disk as it was when recording began.
    pub(super) start: Medium,
    pub(super) since: u64,
    pub(super) operations: Vec<(u64, Recorded)>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) medium: Medium,
    pub(super) random: Random,
    pub(super) faults: Vec<Fault>,
    pub(super) space: Option<Space>,
    pub(super) lying: bool,
    /// Changes still allowed before the process that makes them is dead.
    pub(super) fuse: Option<u64>,
    pub(super) dead: bool,
    pub(super) counts: Counts,
    pub(super) failures: Failures,
    pub(super) recording: Option<Recording>,
}

impl State {
    /// Lets an operation through, or says why not.
    pub(super) fn admit(&mut self, action: Action) -> io::Result<()> {
        if action != Action::Read {
            match &mut self.fuse {
                Some(0) => self.dead = true,
                Some(left) => *left -= 1,
                None => {}
            }
        }
        if self.dead {
            return Err(io::Error::other("the process is dead"));
        }
        for fault in &mut self.faults {
            if fault.strikes(action, &mut self.random) {
                match action {
                    Action::Read => self.failures.reads += 1,
                    _ => self.failures.changes += 1,
                }
                return Err(io::Error::new(fault.kind, "injected fault"));
            }
        }
        Ok(())
    }

    /// Takes room for an operation, if the disk has a limit.
    pub(super) fn make_room(&mut self, take: impl FnOnce(&mut Space) -> io::Result<()>) -> io::Result<()> {
        let taken = self.space.as_mut().map_or(Ok(()), take);
        self.failures.room += u64::from(taken.is_err());
        taken
    }

    /// Keeps an operation under the moment at which it takes effect.
    fn remember(&mut self, operation: Recorded) {
        let moment = self.counts.changes() + 1;
        if let Some(recording) = &mut self.recording {
            recording.operations.push((moment, operation));
        }
    }

    pub(super) fn change(&mut self, change: Change) {
        if self.recording.is_some() {
            self.remember(Recorded::Change(change.clone()));
        }
        self.medium.change(change);
    }

    pub(super) fn sync(&mut self, result: SyncResult) {
        self.remember(Recorded::Sync(result));
        self.medium.sync(result);
    }

    /// What a failed write leaves: a random number of its first sectors, where there is room for them.
    pub(super) fn write_partly(&mut self, offset: usize, data: &[u8]) {
        let parts: Vec<(usize, &[u8])> = sectors(offset, data).collect();
        let arrived = self.random.below(parts.len() + 1);
        for (at, part) in parts.into_iter().take(arrived) {
            let room = self.space.as_mut().is_none_or(|space| space.take(at..at + part.len()).is_ok());
            if room {
                self.change(Change::Write { offset: at, data: part.to_vec() });
            }
        }
    }
}
