//! Whether a leader is still followed, so that what is read from it is not older than the question. Source: Ongaro 2014,
//! "Consensus: Bridging Theory and Practice", section 6.4, the read index.
//!
//! openraft's own way waits for one heartbeat; here members that are farther away are waited for.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::limits;
use openraft::AsyncRuntime;
use tokio::task::JoinSet;

use super::keep::Keep;
use super::message::{Answer, Append, Ask};
use super::network::{Asked, Peer};
use super::runtime::Runtime;

/// Whether a majority of each of these sets of voters, asked from now on, takes `leader` for the leader of this term.
/// False as well if too few of them answer in time.
pub(super) async fn is_followed(
    (asked, keep): (Arc<Asked>, Arc<Keep>),
    leader: NodeId,
    term: u64,
    voters: Vec<BTreeSet<NodeId>>,
) -> bool {
    let mut following = BTreeSet::from([leader]);
    let mut asking = JoinSet::new();
    for voter in voters.iter().flatten().collect::<BTreeSet<_>>() {
        if *voter != leader {
            asking.spawn(ask(Peer::new(*voter, asked.clone(), keep.clone()), *voter, term));
        }
    }
    let all = async {
        while !is_quorum(&voters, &following) {
            match asking.join_next().await {
                Some(Ok(Some(voter))) => drop(following.insert(voter)),
                Some(_) => {}
                None => return false,
            }
        }
        true
    };
    let patience = Duration::from_millis(limits::RAFT_CONFIRM_MS);
    Runtime::timeout(patience, all).await.unwrap_or(false)
}

/// Asks one voter, again and again, to take no entries of this term's leader; none if it follows another.
async fn ask(mut peer: Peer, voter: NodeId, term: u64) -> Option<NodeId> {
    let ask = Ask::Append(Append::beat(term));
    let patience = Duration::from_millis(limits::RAFT_CONFIRM_AGAIN_MS);
    loop {
        match Runtime::timeout(patience, peer.ask(ask.clone())).await {
            Ok(Answer::Appended) => return Some(voter),
            Ok(_) => return None,
            Err(_) => {}
        }
    }
}

fn is_quorum(voters: &[BTreeSet<NodeId>], following: &BTreeSet<NodeId>) -> bool {
    voters.iter().all(|set| 2 * set.intersection(following).count() > set.len())
}
