//! An honest agent never signs two links of the same number of its chain, whatever crashes in between: that is the
//! evidence by which forgers are convicted. Whose disk has rotten may have lost what it had signed.
//! Source: design/trust.md, "Commit, then challenge".

use std::collections::BTreeMap;

use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::NodeId;

use super::{Invariant, Moment, View};

/// The invariant.
#[derive(Default)]
pub struct ChainUnforked {
    /// What each agent has sent, by number.
    links: BTreeMap<(NodeId, u64), Hash>,
}

impl Invariant for ChainUnforked {
    fn name(&self) -> &'static str {
        "chain_unforked"
    }

    fn check(&mut self, view: &View<'_>) -> Result<bool, String> {
        let Moment::Attested { agent, seq, digest } = &view.moment else { return Ok(false) };
        if view.known.liars.contains(agent) || view.known.rotten.contains(agent) {
            return Ok(false);
        }
        match *self.links.entry((*agent, *seq)).or_insert(*digest) {
            first if first == *digest => Ok(true),
            first => Err(format!("agent {agent} has signed {first} and {digest} as link {seq} of its chain")),
        }
    }
}
