//! How a member gets what it lacks of the evidence of final jobs: it was away when they ended, sits since later on, or its
//! disk has rotted. Agents keep it no longer than until a job is in their books.
//!
//! Must never keep an open job waiting: there is time for this.

use std::collections::BTreeSet;

use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::Message;

use super::HubRole;
use crate::core::fetcher::Fetcher;
use crate::core::{AfterWork, Context, Now};
use crate::lacks::Lacks;
use crate::ports::{Done, Work};

/// How soon it is seen again whether a batch is on the disk.
const STORE_MS: u64 = 20;

/// How far this member has looked through its books.
#[derive(Default)]
pub(super) struct Evidence {
    /// The entry of the ledger to go on with.
    from: u64,
    looking: bool,
    due_ms: u64,
    /// When to begin anew: what was there may have rotted.
    again_ms: u64,
    /// The newest batch with something that was lacking.
    stored: u64,
    /// What the last look has named, of the job at `from`.
    asked: BTreeSet<Hash>,
    pub fetcher: Fetcher,
}

impl HubRole {
    /// Looks for what is lacking, and asks for it.
    pub(super) fn complete(&mut self, cx: &mut Context<'_>) {
        if self.is_sole() {
            return;
        }
        let up_ms = cx.now.up_ms;
        drop(self.evidence.fetcher.gone(cx.reach, up_ms));
        for (node, blobs) in self.evidence.fetcher.requests(cx.reach, up_ms) {
            cx.send(node, Message::Fetch { blobs });
        }
        if self.is_through() && up_ms >= self.evidence.again_ms {
            (self.evidence.from, self.evidence.again_ms) = (0, up_ms + limits::EVIDENCE_AGAIN_MS);
        }
        if self.may_look() && up_ms >= self.evidence.due_ms {
            if !cx.tokens.is_stored(self.evidence.stored) {
                // What has come is looked for once it is on the disk.
                self.evidence.due_ms = up_ms + STORE_MS;
                return;
            }
            self.evidence.looking = true;
            cx.work(Work::Lacks { from: self.evidence.from }, AfterWork::Lacks);
        }
    }

    /// Some of what was lacking is on its way to the disk.
    pub(super) fn completes(&mut self, cx: &Context<'_>) {
        self.evidence.stored = cx.tokens.next;
    }

    /// Is there nobody to ask?
    fn is_sole(&self) -> bool {
        self.machine.state().seating.seated.len() < 2
    }

    /// Is all that is final looked through?
    fn is_through(&self) -> bool {
        self.evidence.from >= self.machine.state().ledger_len
    }

    fn may_look(&self) -> bool {
        !self.is_through() && !self.evidence.looking && self.evidence.fetcher.len() == 0
    }

    /// A part of the books was looked through.
    pub fn looked_through(&mut self, cx: &mut Context<'_>, done: Done) {
        self.evidence.looking = false;
        // Jobs that are open go before.
        let is_busy = !self.machine.state().open.is_empty();
        let rest_ms = if is_busy { limits::EVIDENCE_BUSY_MS } else { limits::EVIDENCE_MS };
        self.evidence.due_ms = cx.now.up_ms + rest_ms;
        let Done::Lacks { lacks } = done else {
            // What cannot be read shows where it is needed.
            self.evidence.from += 1;
            return;
        };
        let Lacks { next, job, blobs } = *lacks;
        let asked = match self.evidence.from == next {
            true => std::mem::take(&mut self.evidence.asked),
            false => BTreeSet::new(),
        };
        self.evidence.from = next;
        let Some(job) = job else { return };
        if !is_busy {
            self.evidence.due_ms = cx.now.up_ms;
        }
        self.evidence.asked = blobs.iter().map(|(_, blob)| *blob).collect();
        let mut are_new = false;
        for (agent, blob) in blobs.into_iter().filter(|(_, blob)| !asked.contains(blob)) {
            let sources = self.sources(cx, agent);
            self.evidence.fetcher.want(job, blob, sources);
            are_new = true;
        }
        if !are_new {
            // Nobody has the rest.
            self.evidence.from += 1;
        }
    }

    /// In how many milliseconds something of this is due.
    pub(super) fn evidence_deadline(&self, now: Now) -> u64 {
        if self.is_sole() {
            return u64::MAX;
        }
        let look = match () {
            () if self.may_look() => self.evidence.due_ms,
            () if self.is_through() => self.evidence.again_ms,
            () => u64::MAX,
        };
        look.saturating_sub(now.up_ms).min(self.evidence.fetcher.next_deadline(now.up_ms))
    }
}
