//! How commands become a log: the interface that a replicated log takes, and the quorum of one.
//!
//! Nothing here applies anything. An entry is handed back once it is as durable as the quorum makes it; the
//! caller applies it then and not before.

use std::collections::VecDeque;

use crate::command::{Command, Entry};

/// A log that agrees on the order of commands.
pub trait Quorum {
    /// Proposes a command at the leader's clock; the entries that must now be written, in order.
    fn propose(&mut self, command: Command, now_ms: u64) -> Vec<Entry>;

    /// Everything up to `index` is durable here; the entries that are thereby committed, in order.
    fn durable(&mut self, index: u64) -> Vec<Entry>;

    /// The current term.
    fn term(&self) -> u64;
}

/// A quorum of one: what is durable here is committed.
#[derive(Debug)]
pub struct Solo {
    term: u64,
    next: u64,
    /// Written, not yet durable.
    waiting: VecDeque<Entry>,
}

impl Solo {
    /// Goes on with index `next`.
    pub fn new(term: u64, next: u64) -> Solo {
        Solo { term, next, waiting: VecDeque::new() }
    }
}

impl Quorum for Solo {
    fn propose(&mut self, command: Command, now_ms: u64) -> Vec<Entry> {
        let entry = Entry { index: self.next, term: self.term, at_ms: now_ms, command };
        self.next += 1;
        self.waiting.push_back(entry.clone());
        vec![entry]
    }

    fn durable(&mut self, index: u64) -> Vec<Entry> {
        let count = self.waiting.iter().take_while(|entry| entry.index <= index).count();
        self.waiting.drain(..count).collect()
    }

    fn term(&self) -> u64 {
        self.term
    }
}
