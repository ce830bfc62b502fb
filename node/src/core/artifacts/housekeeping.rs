//! What the artifacts role does about what is on the disk: garbage goes when a client says so, and pieces are read now and
//! then to see whether they have rotted.
//!
//! Must never take away an artifact of which something has become since it was looked at.

use std::collections::BTreeSet;

use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::limits;
use forgemesh_storage::Batch;

use super::{ArtifactsRole, Step};
use crate::core::{AfterStore, AfterWork, Context, Output, Reply};
use crate::garbage;
use crate::ports::{Done, Work};

/// How far the reading of pieces is.
#[derive(Default)]
pub(super) struct Scrubbing {
    from: Option<(Hash, u64)>,
    /// When the next slice is due, once that is settled.
    pub due_ms: Option<u64>,
    pub reading: bool,
}

/// A client has what nothing needs removed.
pub(super) struct Collecting {
    token: u64,
    /// Only counted.
    dry: bool,
    /// What was under way to the disk then: until it is there nothing is looked at.
    after: u64,
    begun: bool,
}

impl ArtifactsRole {
    /// A client wants what nothing needs to be removed, or only counted.
    pub fn collect(&mut self, cx: &mut Context<'_>, token: u64, dry: bool) {
        if self.collecting.is_some() {
            return cx.out.push(Output::Reply { token, reply: Reply::Busy });
        }
        if !self.removing.is_empty() {
            return cx.out.push(Output::Reply { token, reply: Reply::Busy });
        }
        self.touched.extend(self.fetches.keys());
        self.collecting = Some(Collecting { token, dry, after: cx.tokens.next, begun: false });
    }

    /// Looks for what nothing needs, once what was put before is on the disk.
    pub(super) fn collect_on(&mut self, cx: &mut Context<'_>) {
        if let Some(collecting) = &mut self.collecting
            && !collecting.begun
            && cx.tokens.is_stored(collecting.after)
        {
            collecting.begun = true;
            cx.work(Work::Garbage { now_ms: cx.now.wall_ms }, AfterWork::Artifact(Step::Garbage));
        }
    }

    /// What nothing needed is gone from the disk.
    pub fn removed(&mut self) {
        self.removing.clear();
    }

    pub(super) fn collected(&mut self, cx: &mut Context<'_>, done: Done) {
        let Some(Collecting { token, dry, .. }) = self.collecting.take() else { return };
        let touched = self.untouched();
        let Done::Garbage { mut garbage } = done else {
            return cx.out.push(Output::Reply { token, reply: Reply::Busy });
        };
        garbage.retain(|(artifact, _)| !touched.contains(artifact));
        let bytes = garbage.iter().map(|(_, kept)| kept.bytes()).sum();
        let reply = Reply::Collected { artifacts: garbage.len() as u64, bytes };
        if dry {
            cx.out.push(Output::Reply { token, reply });
        } else {
            self.removing = garbage.iter().map(|(artifact, _)| *artifact).collect();
            cx.store(garbage::removal(&garbage), AfterStore::Collected { token, reply: Box::new(reply) });
        }
    }

    /// What became something of while this was looked at; forgotten once nothing is looked at.
    fn untouched(&mut self) -> BTreeSet<Hash> {
        let touched = self.touched.clone();
        if self.collecting.is_none() && !self.scrubbing.reading {
            self.touched.clear();
        }
        touched
    }

    /// A slice of pieces is read: damaged ones go, so that they count as missing and come anew.
    pub(super) fn scrubbed(&mut self, cx: &mut Context<'_>, done: Done) {
        self.scrubbing.reading = false;
        self.scrubbing.due_ms = Some(cx.now.up_ms + limits::SCRUB_MS);
        let touched = self.untouched();
        let Done::ScrubbedPieces { found } = done else { return };
        self.scrubbing.from = found.next;
        let rotten = found.rotten.filter(|(artifact, _, _)| !touched.contains(artifact));
        if let Some((artifact, kept, rotten)) = rotten {
            let mut batch = Batch::new();
            for index in rotten {
                batch.delete_piece(artifact, index);
            }
            kept.put(&mut batch, &artifact);
            cx.store(batch, AfterStore::Nothing);
        }
    }

    pub(super) fn scrub(&mut self, cx: &mut Context<'_>) {
        let due_ms = *self.scrubbing.due_ms.get_or_insert(cx.now.up_ms + limits::SCRUB_MS);
        if !self.scrubbing.reading && cx.now.up_ms >= due_ms {
            self.scrubbing.reading = true;
            self.touched.extend(self.fetches.keys());
            cx.work(Work::ScrubPieces { from: self.scrubbing.from }, AfterWork::Artifact(Step::Scrub));
        }
    }
}
