//! Reads that miss nothing: what a client reads at a hub member after this is no older than its question. The leader makes
//! sure that it still leads and says how much of the log had been agreed on; the member waits until it has applied that,
//! and has in its books, on its disk, what follows from it. Source: Ongaro 2014, "Consensus: Bridging Theory and
//! Practice", section 6.4.

use std::collections::{BTreeMap, BTreeSet};

use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::Message;

use super::archive::ArchiveRole;
use super::hub::HubRole;
use super::{Context, Now, Output, Queue, Reply};

/// A client that waits.
struct Waiting {
    token: u64,
    since_ms: u64,
    asked_ms: u64,
    until: Until,
}

/// What it waits for, one after the other.
#[derive(Clone, Copy)]
enum Until {
    /// The leader's answer.
    Answered,
    /// Entries of the log below this index are applied.
    Applied { next: u64 },
    /// The books have so many entries.
    Entered { entries: u64 },
    /// They are durable, as everything up to this batch is.
    Stored { batch: u64 },
}

/// A question of a hub member: who asked, and its number there.
type Question = (NodeId, u64);

/// Clients that wait here; and, if this node leads, members that wait for it.
#[derive(Default)]
pub(crate) struct ReadsRole {
    waiting: BTreeMap<u64, Waiting>,
    last: u64,
    /// Asked since the confirmation under way began: it does not count for them.
    next: BTreeSet<Question>,
    confirming: Option<(u64, BTreeSet<Question>)>,
    confirmations: u64,
}

impl ReadsRole {
    /// A client is about to read.
    pub fn ask(&mut self, cx: &mut Context<'_>, token: u64) {
        if self.waiting.len() >= limits::READS || !cx.sits() {
            return cx.out.push(Output::Reply { token, reply: Reply::NoAnswer });
        }
        // Of an earlier life of this node no number comes again.
        self.last = (cx.now.wall_ms << 16).max(self.last + 1);
        let (since_ms, asked_ms) = (cx.now.up_ms, cx.now.up_ms);
        self.waiting.insert(self.last, Waiting { token, since_ms, asked_ms, until: Until::Answered });
        cx.send_leader(Message::ReadIndex { number: self.last });
    }

    /// A hub member asks this one, which leads.
    pub fn asked(&mut self, from: NodeId, number: u64) {
        if self.next.len() < limits::HUB_MEMBERS * limits::READS {
            self.next.insert((from, number));
        }
    }

    /// This node led when it was asked, and nothing was agreed on before that but the entries below `next`; or it could not
    /// make sure: then who asked asks again.
    pub fn confirmed(&mut self, cx: &mut Context<'_>, token: u64, next: Option<u64>) {
        let Some((_, questions)) = self.confirming.take_if(|(confirming, _)| *confirming == token) else {
            return;
        };
        let Some(next) = next else { return };
        for (from, number) in questions {
            cx.send(from, Message::ReadAt { number, next });
        }
    }

    /// The leader's answer.
    pub fn answered(&mut self, number: u64, next: u64) {
        let waiting = self.waiting.get_mut(&number);
        if let Some(waiting) = waiting.filter(|waiting| matches!(waiting.until, Until::Answered)) {
            waiting.until = Until::Applied { next };
        }
    }

    /// Another leads: it is asked at once.
    pub fn led(&mut self) {
        self.waiting.values_mut().for_each(|waiting| waiting.asked_ms = 0);
    }

    /// Tells the clients that may read now; asks again; gives up what nobody answers.
    pub fn advance(&mut self, cx: &mut Context<'_>, hub: Option<&HubRole>, archive: &ArchiveRole) {
        let up_ms = cx.now.up_ms;
        let mut ended = Vec::new();
        for (&number, waiting) in &mut self.waiting {
            waiting.go_on(cx, hub, archive);
            let is_over = match waiting.until {
                Until::Stored { batch } if cx.tokens.is_stored(batch) => Some(Reply::Current),
                _ => (up_ms >= waiting.since_ms + limits::READ_MS).then_some(Reply::NoAnswer),
            };
            if let Some(reply) = is_over {
                cx.out.push(Output::Reply { token: waiting.token, reply });
                ended.push(number);
            } else if matches!(waiting.until, Until::Answered) && up_ms >= waiting.asked_ms + limits::RETRY_MS
            {
                waiting.asked_ms = up_ms;
                cx.send_leader(Message::ReadIndex { number });
            }
        }
        self.waiting.retain(|number, _| !ended.contains(number));
        if self.confirming.is_none() && !self.next.is_empty() {
            self.confirmations += 1;
            self.confirming = Some((self.confirmations, std::mem::take(&mut self.next)));
            cx.out.push(Output::Confirm { token: self.confirmations });
        }
    }

    /// In how many milliseconds something is due.
    pub fn next_deadline(&self, now: Now) -> u64 {
        let due = |waiting: &Waiting| match waiting.until {
            Until::Answered => (waiting.asked_ms + limits::RETRY_MS).min(waiting.since_ms + limits::READ_MS),
            _ => waiting.since_ms + limits::READ_MS,
        };
        let next = self.waiting.values().map(due).min();
        next.map_or(u64::MAX, |at_ms| at_ms.saturating_sub(now.up_ms))
    }

    /// What waits here, and how much may.
    pub fn queues(&self) -> Vec<Queue> {
        let (reads, most) = (self.waiting.len() as u64, limits::READS as u64);
        let asked = self.next.len() + self.confirming.as_ref().map_or(0, |(_, questions)| questions.len());
        vec![
            Queue::new("reads: clients", reads, most),
            Queue::new("reads: members", asked as u64, 2 * limits::HUB_MEMBERS as u64 * most),
        ]
    }
}

impl Waiting {
    /// Waits for the next thing, if the last has come.
    fn go_on(&mut self, cx: &Context<'_>, hub: Option<&HubRole>, archive: &ArchiveRole) {
        let state = hub.map(|hub| hub.machine().state());
        if let (Until::Applied { next }, Some(state)) = (self.until, state)
            && state.next >= next
        {
            self.until = Until::Entered { entries: state.ledger_len };
        }
        if let Until::Entered { entries } = self.until
            && archive.entries() >= entries
        {
            self.until = Until::Stored { batch: cx.tokens.next };
        }
    }
}
