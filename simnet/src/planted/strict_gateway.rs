//! A node that refuses its clients' jobs of its own accord, whatever the hub would say.

use forgemesh_protocol::id::MeshId;
use forgemesh_protocol::wire::Message;

use super::Tamper;

/// The bug.
pub struct StrictGateway(pub MeshId);

impl Tamper for StrictGateway {
    fn forged(&mut self, message: &Message) -> Option<Message> {
        let Message::Submit(submission) = message else { return None };
        let refused = Some("not today".to_owned());
        Some(Message::Answered { request: submission.job_id(self.0).0, refused })
    }
}
