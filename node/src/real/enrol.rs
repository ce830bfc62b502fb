//! How a node asks a mesh to admit it, before it is a node of that mesh.

use forgemesh_protocol::enrolment::Join;
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::json::printable;
use forgemesh_protocol::keys::{Signable, Signed};
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::Message;
use tokio::time::{Duration, Instant, timeout_at};

use crate::ports::{Brought, Mesh};

/// The hub refuses; its words, made safe to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAdmitted(pub String);

/// Asks the hub members again and again, until one of them answers. Whoever calls it knows when to give up.
pub async fn enrol<M: Mesh>(mesh: &mut M, hub: &[NodeId], join: &Signed<Join>) -> Result<(), NotAdmitted> {
    let digest = join.body.digest();
    loop {
        for member in hub {
            mesh.send(*member, Message::Join(Box::new(join.clone())));
        }
        let again = Instant::now() + Duration::from_millis(limits::RETRY_MS);
        while let Ok((from, brought)) = timeout_at(again, mesh.next()).await {
            let Brought::Message(message) = brought else { continue };
            match message {
                Message::Joined { join } if join == digest && hub.contains(&from) => return Ok(()),
                Message::Refused { join, reason } if join == digest && hub.contains(&from) => {
                    let words: Vec<String> = reason.split(' ').map(printable).collect();
                    return Err(NotAdmitted(words.join(" ")));
                }
                // Meant for the node that this one is not yet.
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use forgemesh_protocol::canon::Bytes;
    use forgemesh_protocol::hash::Hash;
    use forgemesh_protocol::id::MeshId;
    use forgemesh_protocol::keys::SecretKey;

    use super::*;

    /// A mesh that loses the first question, and then gives these answers.
    struct Played {
        asked: usize,
        answers: VecDeque<(NodeId, Message)>,
    }

    impl Mesh for Played {
        fn send(&mut self, _: NodeId, message: Message) {
            assert!(matches!(message, Message::Join(_)));
            self.asked += 1;
        }

        fn announce(&mut self, _: Message) {}

        async fn next(&mut self) -> (NodeId, Brought) {
            match (self.asked, self.answers.pop_front()) {
                (2.., Some((from, message))) => (from, Brought::Message(message)),
                (_, answer) => {
                    self.answers.extend(answer);
                    std::future::pending().await
                }
            }
        }
    }

    fn ask(answers: impl Fn(Hash, NodeId) -> Vec<(NodeId, Message)>) -> Result<(), NotAdmitted> {
        let (node, hub) = (SecretKey::from_bytes(&[1; 32]), SecretKey::from_bytes(&[2; 32]).public().id());
        let body = Join { secret: Bytes(vec![3; 32]), name: String::new(), expires_ms: 1 };
        let join = Signed::new(body, MeshId(Hash::ZERO), &node);
        let answers = answers(join.body.digest(), hub).into();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(enrol(&mut Played { asked: 0, answers }, &[hub], &join))
    }

    #[test]
    fn it_is_asked_until_the_hub_answers_this_very_question() {
        let stranger = NodeId(Hash([9; 32]));
        let other = Message::Joined { join: Hash([8; 32]) };
        let granted = ask(|join, hub| {
            let no = Message::Refused { join, reason: "no".to_owned() };
            vec![(hub, other.clone()), (stranger, no), (hub, Message::Joined { join })]
        });
        assert_eq!(granted, Ok(()));
        let refused = ask(|join, hub| {
            let reason = "the ticket\u{1b}[2J has been used".to_owned();
            vec![(stranger, Message::Joined { join }), (hub, Message::Refused { join, reason })]
        });
        assert_eq!(refused, Err(NotAdmitted("the ticket\\u{1b}[2J has been used".to_owned())));
    }
}
