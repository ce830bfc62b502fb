//! The beacon's links: whose is due, and what one that is revealed draws.

use forgemesh_protocol::challenge::beacon_step;
use forgemesh_protocol::envelope::Verify;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::limits;

use super::{Applied, Beacon, Event, Hub, Rejected};
use crate::adjudicate::RevealRefused;
use crate::job::{JobRecord, Reveal};

impl Hub {
    /// The hub member whose link is due: the members take turns in the order of their seats, by the number of links revealed
    /// and turns passed so far.
    pub fn beacon_member(&self) -> NodeId {
        let revealed: u64 = self.state.beacons.values().map(|beacon| beacon.revealed).sum();
        let seated = self.seated();
        seated[((revealed + self.state.passed) % seated.len() as u64) as usize]
    }

    /// Does a batch that is to be checked wait for its leaves to be drawn?
    pub fn awaits_reveal(&self) -> bool {
        let waits = |job: &JobRecord| {
            job.batches.iter().any(|batch| batch.reveal.is_none() && !job.is_settled(batch))
        };
        self.state.open.values().any(waits)
    }

    pub(super) fn reveal(&mut self, index: u64, member: &NodeId, value: &Hash) -> Result<Applied, Rejected> {
        if *member != self.beacon_member() {
            return Err(RevealRefused::WrongMember(*member).into());
        }
        if !self.awaits_reveal() {
            return Err(RevealRefused::NotAwaited.into());
        }
        let beacon = self.state.beacons.get_mut(member).ok_or(RevealRefused::WrongMember(*member))?;
        if beacon_step(value) != beacon.value {
            return Err(RevealRefused::WrongLink.into());
        }
        let reveal = Reveal { member: *member, value: *value, ordinal: beacon.revealed, logged: index };
        *beacon = Beacon { revealed: beacon.revealed + 1, value: *value };
        let mut batches = 0;
        for job in self.state.open.values_mut() {
            let verify = job.terms.policy.verify != Verify::None;
            for batch in job.batches.iter_mut().filter(|batch| verify && batch.reveal.is_none()) {
                batch.reveal = Some(Box::new(reveal));
                batches += 1;
            }
        }
        self.state.waiting_since_ms = None;
        Ok(Applied::event(Event::Revealed { batches }))
    }

    /// A link that is kept back must not stop the mesh. Who lets a member be passed over shows it in the log.
    pub(super) fn pass(&mut self, member: &NodeId) -> Result<Applied, Rejected> {
        if *member != self.beacon_member() {
            return Err(RevealRefused::WrongMember(*member).into());
        }
        let since_ms = self.state.waiting_since_ms.filter(|_| self.awaits_reveal());
        let since_ms = since_ms.ok_or(RevealRefused::NotAwaited)?;
        if self.state.now_ms < since_ms.saturating_add(limits::PASS_MS) {
            return Err(RevealRefused::TooSoon.into());
        }
        self.state.passed += 1;
        self.state.waiting_since_ms = Some(self.state.now_ms);
        Ok(Applied::event(Event::Passed))
    }
}
