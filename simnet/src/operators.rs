//! The operators of the hub's members: each says at its own node, or at any, whom the hub is to admit.

use std::rc::Rc;

use forgemesh_node::core::{EnrolmentCommand, Request};
use forgemesh_protocol::charter::{Charter, Charters};
use forgemesh_protocol::genesis::HubMember;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::keys::{SecretKey, Signable, Signed};
use forgemesh_protocol::limits::HUB_MEMBERS;
use tokio::time::{Duration, sleep_until};

use crate::client::Nodes;
use crate::machine::{Ground, Machine};
use crate::world::Broken;

/// What they have in mind.
pub struct Operators {
    pub at_ms: u64,
    /// The members' keys.
    pub members: Vec<SecretKey>,
    /// Whom they would admit.
    pub standbys: Vec<HubMember>,
}

impl Operators {
    /// All of them say so, one after the other; as many sit then as can.
    pub async fn admit(self, machines: Rc<Vec<Machine>>, ground: Ground) -> Result<(), Broken> {
        let first = Charters::new(ground.genesis.clone());
        let mut admitted = first.current().admitted.clone();
        admitted.extend(self.standbys);
        let seats = (admitted.len().min(HUB_MEMBERS) as u64).saturating_sub(1) | 1;
        let charter = Charter { version: 1, previous: first.current().digest(), seats, admitted };
        sleep_until(ground.trace.started() + Duration::from_millis(self.at_ms)).await;
        for (number, member) in self.members.iter().enumerate() {
            let consent = Signed::new(charter.clone(), ground.genesis.mesh_id(), member);
            let command = || EnrolmentCommand::Consent(consent.clone());
            let mut nodes = Nodes::new(Rc::clone(&machines), &ground, number);
            // A quorum may have had its way before the last of them has spoken.
            let reply = nodes.ask(|| Request::Enrolment(Box::new(command()))).await;
            ground.trace.step("consent", number as u64, Hash::blob(format!("{reply:?}").as_bytes()));
        }
        Ok(())
    }
}
