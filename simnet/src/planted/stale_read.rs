//! A member that answers its clients from what it happens to know, without a word from the leader.

use forgemesh_protocol::wire::Message;

use super::Tamper;

/// The bug.
pub struct StaleRead;

impl Tamper for StaleRead {
    fn forged(&mut self, message: &Message) -> Option<Message> {
        let Message::ReadIndex { number } = message else { return None };
        Some(Message::ReadAt { number: *number, next: 0 })
    }
}
