//! What a client of this node asks of the hub: carried there, and the answer back.
//!
//! Must never look into either: what may be asked, and what it means, is the desk's on the other side.

use std::collections::BTreeMap;

use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::{Answer, Message};

use super::vouching::EXPELLED;
use super::{Context, Now, Output, Queue, Reply};

/// A question on its way.
struct Waiting {
    token: u64,
    body: Bytes,
    since_ms: u64,
    asked_ms: u64,
}

/// Questions by their number.
#[derive(Default)]
pub(crate) struct RelayRole {
    waiting: BTreeMap<u64, Waiting>,
    last: u64,
}

impl RelayRole {
    /// A client asks the hub something, which answers nothing to whom it has expelled.
    pub fn ask(&mut self, cx: &mut Context<'_>, token: u64, body: Bytes, is_expelled: bool) {
        if is_expelled {
            return refuse(cx, token);
        }
        if self.waiting.len() >= limits::ASKS || body.0.len() > limits::ASK_BYTES {
            return cx.out.push(Output::Reply { token, reply: Reply::NoAnswer });
        }
        // Of an earlier life of this node no number comes again: what is answered late is answered to nobody.
        self.last = (cx.now.wall_ms << 16).max(self.last + 1);
        cx.send_leader(Message::Ask { number: self.last, body: body.clone() });
        let (since_ms, asked_ms) = (cx.now.up_ms, cx.now.up_ms);
        self.waiting.insert(self.last, Waiting { token, body, since_ms, asked_ms });
    }

    /// The hub has answered.
    pub fn answered(&mut self, cx: &mut Context<'_>, number: u64, answer: Answer) {
        if let Some(Waiting { token, .. }) = self.waiting.remove(&number) {
            cx.out.push(Output::Reply { token, reply: Reply::Answered(Box::new(answer)) });
        }
    }

    /// The hub says that this node does not belong to the mesh: it will answer nothing.
    pub fn turned_away(&mut self, cx: &mut Context<'_>) {
        for (_, Waiting { token, .. }) in std::mem::take(&mut self.waiting) {
            refuse(cx, token);
        }
    }

    /// Asks again, and gives up what nobody answers.
    pub fn advance(&mut self, cx: &mut Context<'_>) {
        let now_ms = cx.now.up_ms;
        for (_, given_up) in self.waiting.extract_if(.., |_, w| now_ms >= w.since_ms + limits::ASK_MS) {
            let reply = Reply::NoAnswer;
            cx.out.push(Output::Reply { token: given_up.token, reply });
        }
        for (&number, waiting) in &mut self.waiting {
            if now_ms >= waiting.asked_ms + limits::RETRY_MS {
                waiting.asked_ms = now_ms;
                cx.send_leader(Message::Ask { number, body: waiting.body.clone() });
            }
        }
    }

    /// In how many milliseconds something is due.
    pub fn next_deadline(&self, now: Now) -> u64 {
        let due = self.waiting.values().map(|waiting| waiting.asked_ms + limits::RETRY_MS).min();
        due.map_or(u64::MAX, |at_ms| at_ms.saturating_sub(now.up_ms))
    }

    /// What waits here, and how much may.
    pub fn queues(&self) -> Vec<Queue> {
        vec![Queue::new("relay: questions to the hub", self.waiting.len() as u64, limits::ASKS as u64)]
    }
}

fn refuse(cx: &mut Context<'_>, token: u64) {
    cx.out.push(Output::Reply { token, reply: Reply::RefusedByHub(EXPELLED.to_owned()) });
}
