//! Who sits in the hub: a quorum of the admitted keys agrees on another charter, and the leader has others take the seats.
//!
//! Must never let a charter come in force before those who are to sit can: the leader seats nobody who does not follow the
//! log.

use std::collections::BTreeMap;

use forgemesh_protocol::charter::{Amendment, Charter, CharterError, Consent, is_seating};
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::keys::{KeyError, Signable, Signed};

use super::{Applied, Beacon, Event, Hub, Rejected};

/// Why who sits in the hub stays the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SeatRefused {
    #[error("the signature under the charter: {0}")]
    Signature(#[from] KeyError),
    #[error("only a key that the hub admits decides who else is admitted; run the command on a hub member")]
    NotAdmitted,
    #[error("{0}")]
    Charter(#[from] CharterError),
    #[error("no quorum of the admitted keys wants this charter")]
    NotAgreed,
    #[error("those who are to sit are not admitted, or do not fill the seats")]
    WrongSeats,
    #[error("they sit already")]
    Same,
}

impl Hub {
    /// The charter that a quorum of those whom the one in force admits want to be the next; of several the one that most
    /// want.
    pub fn agreed(&self) -> Option<&Charter> {
        let mut wanted: BTreeMap<Hash, (usize, &Charter)> = BTreeMap::new();
        for signed in self.state.consents.values() {
            wanted.entry(signed.body.digest()).or_insert((0, &signed.body)).0 += 1;
        }
        let agreed =
            wanted.into_iter().filter(|(_, (count, _))| *count >= self.charters.current().majority());
        agreed.max_by_key(|(digest, (count, _))| (*count, *digest)).map(|(_, (_, charter))| charter)
    }

    /// Would this word be heard now? Bounds come first: what is checked so may enter the log.
    pub fn check_consent(&self, signed: &Signed<Charter>) -> Result<(), SeatRefused> {
        self.charters.current().member(&signed.key).ok_or(SeatRefused::NotAdmitted)?;
        self.charters.check(&signed.body)?;
        Ok(signed.verify(self.mesh)?)
    }

    pub(super) fn consent(&mut self, signed: &Signed<Charter>) -> Result<Applied, Rejected> {
        self.check_consent(signed)?;
        self.state.consents.insert(signed.key.id(), signed.clone());
        let count = self.state.consents.values().filter(|other| other.body == signed.body).count();
        Ok(Applied::event(Event::Consented { count: count as u64 }))
    }

    pub(super) fn seat(
        &mut self,
        charter: &Hash,
        seated: &[NodeId],
        index: u64,
    ) -> Result<Applied, Rejected> {
        let current = self.charters.current();
        let amendment = match self.agreed() {
            _ if current.digest() == *charter => None,
            Some(agreed) if agreed.digest() == *charter => Some(self.amendment(agreed.clone())),
            _ => return Err(SeatRefused::NotAgreed.into()),
        };
        let of = amendment.as_ref().map_or(current, |amendment| &amendment.charter);
        if !is_seating(of, seated) {
            return Err(SeatRefused::WrongSeats.into());
        }
        if amendment.is_none() && self.seated() == seated {
            return Err(SeatRefused::Same.into());
        }
        if let Some(amendment) = amendment {
            let before = current.admitted.clone();
            self.charters.amend(amendment.clone()).map_err(SeatRefused::Charter)?;
            // Others were nodes before they were admitted to the hub, and are still, or were expelled.
            let founders =
                before.iter().filter(|member| self.charters.genesis().member(&member.key).is_some());
            let dismissed = founders.filter(|member| self.charters.current().member(&member.key).is_none());
            let (enrolment, now_ms) = (&mut self.state.enrolment, self.state.now_ms);
            let parameters = &self.charters.genesis().parameters;
            if !parameters.open {
                dismissed.for_each(|member| {
                    enrolment.keep(member.key, now_ms, index, parameters.organization.clone());
                });
            }
            self.state.seating.amendments.push(amendment);
            self.state.consents.clear();
        }
        self.state.seating.number += 1;
        self.state.seating.seated = seated.to_vec();
        for node in seated {
            if let Some(member) = self.charters.current().node(node) {
                let anchor = Beacon { revealed: 0, value: member.beacon_anchor };
                self.state.beacons.entry(*node).or_insert(anchor);
            }
        }
        Ok(Applied::event(Event::Seated))
    }

    /// A charter with all consents to it.
    fn amendment(&self, charter: Charter) -> Amendment {
        let consents = self.state.consents.values().filter(|signed| signed.body == charter);
        let consents =
            consents.map(|signed| Consent { key: signed.key, signature: signed.signature }).collect();
        Amendment { charter, consents }
    }
}
