//! The keeper role: reads what is kept, a slice at a time, and quarantines what has rotted. What is needed of it is then
//! missing, and is fetched or made again like anything that is missing.

use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::limits;
use forgemesh_storage::Batch;

use super::{AfterStore, AfterWork, Context, Now};
use crate::ports::{Done, Work};

/// How far the scrubbing is.
pub(crate) struct KeeperRole {
    after: Option<Hash>,
    due_ms: u64,
    reading: bool,
}

impl KeeperRole {
    /// Begins with the first slice, after a while.
    pub fn new() -> Self {
        KeeperRole { after: None, due_ms: limits::SCRUB_MS, reading: false }
    }

    /// Reads the next slice when it is time.
    pub fn advance(&mut self, cx: &mut Context<'_>) {
        if !self.reading && cx.now.up_ms >= self.due_ms {
            self.reading = true;
            cx.work(Work::Scrub { after: self.after }, AfterWork::Scrub);
        }
    }

    /// A slice is read.
    pub fn scrubbed(&mut self, cx: &mut Context<'_>, done: Done) {
        self.reading = false;
        self.due_ms = cx.now.up_ms + limits::SCRUB_MS;
        match done {
            Done::Scrubbed { corrupt, next } => {
                self.after = next;
                quarantine(cx, &corrupt);
            }
            // What cannot be read at all shows where it is needed; what lies behind it may be readable.
            _ => self.after = beyond(self.after),
        }
    }

    /// In how many milliseconds the next slice is due.
    pub fn next_deadline(&self, now: Now) -> u64 {
        if self.reading { u64::MAX } else { self.due_ms.saturating_sub(now.up_ms) }
    }
}

/// An address some 65,536th of all addresses further on; none after the last.
fn beyond(after: Option<Hash>) -> Option<Hash> {
    let start = after.unwrap_or(Hash::ZERO).0;
    let next = u16::from_be_bytes([start[0], start[1]]).checked_add(1)?.to_be_bytes();
    let mut address = [0; 32];
    address[..2].copy_from_slice(&next);
    Some(Hash(address))
}

/// Sets damaged blobs aside, so that their addresses count as missing; whole ones stay.
pub(crate) fn quarantine(cx: &mut Context<'_>, blobs: &[Hash]) {
    if !blobs.is_empty() {
        let mut batch = Batch::new();
        for blob in blobs {
            batch.quarantine_blob(*blob);
        }
        cx.store(batch, AfterStore::Nothing);
    }
}
