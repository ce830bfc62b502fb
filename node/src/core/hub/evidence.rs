//! How a member gets what it lacks of the evidence of final jobs: it was away when they ended, sits since later on, or its
//! disk has rotted. Agents keep it no longer than until a job is in their books.
//!
//! Must never keep an open job waiting, nor fill the disk: there is time for this, and a member without room is none.

use std::collections::BTreeSet;

use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::Message;

use super::HubRole;
use crate::core::fetcher::Fetcher;
use crate::core::{AfterWork, Context, Now};
use crate::lacks::{Lacks, Place};
use crate::ports::{Done, Work};

/// How soon it is seen again whether a batch is on the disk.
const STORE_MS: u64 = 20;

/// How far this member has looked through its books.
#[derive(Default)]
pub(super) struct Evidence {
    /// Where to go on.
    from: Place,
    /// How many jobs were looked through and have nothing on its way, the furthest since the start.
    furthest: u64,
    /// The entry whose job was found to lack claims, on this way through it.
    lacking: Option<u64>,
    /// The last entry whose job was gone through again.
    repeated: Option<u64>,
    looking: bool,
    due_ms: u64,
    /// When to begin anew, since this is through: what was there may have rotted.
    again_ms: Option<u64>,
    /// Something was given up that nobody had; how often that was so when all was looked through, since it last was not.
    in_vain: bool,
    times_in_vain: u32,
    /// The newest batch with something that was lacking.
    stored: u64,
    pub fetcher: Fetcher,
}

impl Evidence {
    /// All is looked through: says when to begin anew, and does, if it is time.
    fn through(&mut self, up_ms: u64) {
        match self.again_ms {
            // What nobody had now somebody may have soon.
            _ if std::mem::take(&mut self.in_vain) => {
                let doubled = 1_u64 << self.times_in_vain.min(10);
                let rest_ms = limits::EVIDENCE_SOON_MS.saturating_mul(doubled).min(limits::EVIDENCE_AGAIN_MS);
                self.times_in_vain += 1;
                self.again_ms = Some(self.again_ms.unwrap_or(u64::MAX).min(up_ms + rest_ms));
            }
            None => (self.again_ms, self.times_in_vain) = (Some(up_ms + limits::EVIDENCE_AGAIN_MS), 0),
            Some(again_ms) if up_ms >= again_ms => {
                (self.from, self.repeated, self.again_ms) = (Place::default(), None, None);
            }
            Some(_) => {}
        }
    }
}

impl HubRole {
    /// Looks for what is lacking, and asks for it.
    pub(super) fn complete(&mut self, cx: &mut Context<'_>) {
        if self.is_sole() || self.disk_low {
            return;
        }
        let up_ms = cx.now.up_ms;
        self.evidence.in_vain |= !self.evidence.fetcher.gone(cx.reach, up_ms).is_empty();
        for (node, blobs) in self.evidence.fetcher.requests(cx.reach, up_ms) {
            cx.send(node, Message::Fetch { blobs });
        }
        if self.evidence.fetcher.len() == 0 {
            self.evidence.furthest = self.evidence.furthest.max(self.evidence.from.entry);
            if self.is_through() {
                self.evidence.through(up_ms);
            }
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

    /// Is there nobody to ask, and was there never? Who sits no longer still has what it had.
    fn is_sole(&self) -> bool {
        self.machine.charters().ever().all(|member| member.key.id() == self.node)
    }

    /// Is all that is final looked through?
    fn is_through(&self) -> bool {
        self.evidence.from.entry >= self.machine.state().ledger_len
    }

    fn may_look(&self) -> bool {
        !self.is_through() && !self.evidence.looking && self.evidence.fetcher.len() == 0
    }

    /// A part of the books was looked through.
    pub fn looked_through(&mut self, cx: &mut Context<'_>, done: Done) {
        self.evidence.looking = false;
        self.evidence.due_ms = cx.now.up_ms + limits::EVIDENCE_MS;
        let Done::Lacks { lacks } = done else {
            // What cannot be read shows where it is needed.
            self.evidence.from = Place { entry: self.evidence.from.entry + 1, batch: 0 };
            return;
        };
        let Lacks { next, job, blobs, claims } = *lacks;
        if claims {
            self.evidence.lacking = Some(if next.batch > 0 { next.entry } else { next.entry - 1 });
        }
        if let Some(job) = job {
            // Jobs that are open go before.
            let is_busy = !self.machine.state().open.is_empty();
            self.evidence.due_ms = cx.now.up_ms + if is_busy { limits::EVIDENCE_BUSY_MS } else { 0 };
            let ever: BTreeSet<NodeId> =
                self.machine.charters().ever().map(|member| member.key.id()).collect();
            for (agent, blob) in blobs {
                let sources = self.sources(cx, agent, ever.iter().copied());
                self.evidence.fetcher.want(job, blob, sources);
            }
        }
        let Evidence { from, lacking, repeated, .. } = &mut self.evidence;
        *from = next;
        // A job that lacked claims is gone through once more: what they name is known only when they are here.
        if let Some(entry) = lacking.take_if(|entry| next.entry > *entry)
            && repeated.replace(entry) != Some(entry)
        {
            *from = Place { entry, batch: 0 };
        }
    }

    /// The jobs that are looked through and have nothing on its way, and whether something was nowhere to be had.
    pub(super) fn evidence_standing(&self) -> Option<(u64, bool)> {
        let Evidence { furthest, in_vain, times_in_vain, .. } = &self.evidence;
        (!self.is_sole()).then_some((*furthest, *in_vain || *times_in_vain > 0))
    }

    /// In how many milliseconds something of this is due.
    pub(super) fn evidence_deadline(&self, now: Now) -> u64 {
        if self.is_sole() || self.disk_low {
            return u64::MAX;
        }
        let look = match () {
            () if self.may_look() => self.evidence.due_ms,
            () if self.is_through() && self.evidence.fetcher.len() == 0 => {
                self.evidence.again_ms.unwrap_or(u64::MAX)
            }
            () => u64::MAX,
        };
        look.saturating_sub(now.up_ms).min(self.evidence.fetcher.next_deadline(now.up_ms))
    }
}
