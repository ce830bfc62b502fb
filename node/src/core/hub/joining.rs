//! Nodes that ask to be admitted. The log decides; what it would refuse anyway is refused at once, so that a guesser fills
//! no log.

use forgemesh_consensus::command::Command;
use forgemesh_protocol::enrolment::Join;
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::keys::{Signable, Signed};
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::Message;

use super::HubRole;
use crate::core::Context;

impl HubRole {
    /// A node shows a ticket's secret.
    pub fn join(&mut self, cx: &mut Context<'_>, from: NodeId, join: Signed<Join>) {
        let node = join.key.id();
        // Another member may pass it on: whoever is asked first is the one that answers.
        let relayed = self.leads() && cx.members.contains(&from);
        if (node != from && !relayed) || self.joining.len() >= limits::AGENTS {
            return;
        }
        let log_ms = self.log_time(cx);
        match self.machine.state().enrolment.check(&join, cx.identity.mesh, log_ms) {
            Ok(()) => {
                let new = self.joining.insert(node);
                if !self.leads() {
                    cx.send_leader(Message::Join(Box::new(join)));
                } else if new {
                    self.propose(cx, Command::Enrol { join });
                }
            }
            Err(reason) => cx.send(node, refused(&join, &reason.to_string())),
        }
    }
}

/// The answer to a request that was not granted.
pub(super) fn refused(join: &Signed<Join>, reason: &str) -> Message {
    let fits = |end: &usize| *end <= limits::REASON_BYTES;
    let end = reason.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(fits).last();
    let reason = reason.get(..end.unwrap_or(0)).unwrap_or_default().to_owned();
    Message::Refused { join: join.body.digest(), reason }
}
