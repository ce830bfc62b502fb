//! What an agent has vouched for, claims and accumulators: kept for the hub until the job is in this node's books, then let
//! go. By then a majority of the hub's members have it, and the others get it from them. Who was ever admitted to the hub lets
//! nothing go: it has voted, or may have to.
//!
//! Must never let go what a job needs that is not final: another may have come to the same bytes.

use std::collections::BTreeSet;

use forgemesh_protocol::attestation::Claim;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::JobId;
use forgemesh_protocol::limits;
use forgemesh_storage::Batch;

use crate::core::{AfterStore, AfterWork, Context, Now};
use crate::links;
use crate::ports::{Done, Work};

/// A look at the disk.
struct Look {
    /// What was under way to the disk when it was wanted: it begins once that is there.
    after: u64,
    begun: bool,
    /// Vouched for since it was wanted.
    since: BTreeSet<Hash>,
}

/// When to look for what may go.
pub(super) struct LettingGo {
    /// May there be something on the disk?
    some: bool,
    due_ms: u64,
    look: Option<Look>,
}

/// An earlier life may have left something.
impl Default for LettingGo {
    fn default() -> Self {
        LettingGo { some: true, due_ms: limits::SCRUB_MS, look: None }
    }
}

impl LettingGo {
    /// A link of the chain vouches for these.
    pub fn note(
        &mut self,
        cx: &Context<'_>,
        batch: &mut Batch,
        (job, seq): (&JobId, u64),
        claims: &[Claim],
        members: Hash,
    ) {
        if cx.keeps {
            return;
        }
        links::note(batch, job, seq, &members);
        self.some = true;
        if let Some(look) = &mut self.look {
            look.since.extend(claims.iter().map(|claim| claim.blob).chain([members]));
        }
    }

    /// Looks when it is time; from link `unlogged` on the hub may still have to fetch what is claimed.
    pub fn advance(&mut self, cx: &mut Context<'_>, unlogged: u64) {
        if cx.keeps {
            // Records from before stay, and are forgotten at the next start.
            self.some = false;
        }
        if self.some && self.look.is_none() && cx.now.up_ms >= self.due_ms {
            self.look = Some(Look { after: cx.tokens.next, begun: false, since: BTreeSet::new() });
        }
        if let Some(look) = &mut self.look
            && !look.begun
            && cx.tokens.is_stored(look.after)
        {
            look.begun = true;
            cx.work(Work::Spent { unlogged }, AfterWork::Spent);
        }
    }

    /// It was looked: what nothing needs goes.
    pub fn found(&mut self, cx: &mut Context<'_>, done: Done) {
        let Some(look) = self.look.take() else { return };
        self.due_ms = cx.now.up_ms + limits::SCRUB_MS;
        let Done::Spent { mut spent } = done else { return };
        self.some = spent.is_rest || !look.since.is_empty();
        if spent.is_cut {
            (self.some, self.due_ms) = (true, cx.now.up_ms);
        }
        if cx.keeps {
            // It was admitted meanwhile.
            return;
        }
        spent.blobs.retain(|blob| !look.since.contains(blob));
        if !spent.rows.is_empty() {
            cx.store(spent.removal(), AfterStore::Nothing);
        }
    }

    /// In how many milliseconds it is time.
    pub fn next_deadline(&self, now: Now) -> u64 {
        let waits = self.some && self.look.is_none();
        if waits { self.due_ms.saturating_sub(now.up_ms) } else { u64::MAX }
    }
}
