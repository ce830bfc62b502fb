//! When a member stands for election.
//!
//! openraft draws how long it waits once in a life. With one leader a term, two members that drew the same would stand
//! in the same moment again and again, so the wait is drawn here, anew each time. What openraft does too is kept: who
//! was shown to have less of the log lets the others stand first.
//!
//! openraft takes no note of the term of a candidate that it refuses for its shorter log. Where both votes are needed the
//! two would stand in the same terms again and again, one after the other, so whoever stands goes on to a term in which no
//! other has stood.
//!
//! Who stands in vain waits twice as long the next time: where a vote takes longer to reach the disk than members wait,
//! for the disk is slow or the machine is busy, they would else take each other's term away for ever.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use openraft::{AsyncRuntime, ServerState};
use rand::Rng;

use super::config::{Member, Raft};
use super::network::Asked;
use super::runtime::Runtime;

/// A wait is doubled so often at most.
const DOUBLINGS: u32 = 4;

/// Terms that are passed over at most.
const TERMS: u64 = 8;

/// How a member stands to the rest.
struct Standing {
    /// Since it last heard of a leader or gave a vote.
    silence: Duration,
    /// Whether what it last heard was a leader: such a one is believed for the longest wait.
    followed: bool,
    /// Whether it has a vote and does not lead.
    may_stand: bool,
    /// Whether it has the only vote.
    alone: bool,
    /// Whether another has more of the log.
    behind: bool,
    /// The term of its vote.
    term: u64,
}

/// Stands for election whenever no leader was heard of for long enough; until the replica stops.
pub(super) async fn stand(raft: Raft, member: Member, asked: Arc<Asked>, wait_ms: Range<u64>) {
    let draw = || Duration::from_millis(Runtime::thread_rng().gen_range(wait_ms.clone()));
    let shortest = Duration::from_millis(wait_ms.start);
    let (mut drawn, mut in_vain) = (draw(), 0);
    while let Some(standing) = standing(&raft, member, &asked).await {
        if standing.followed {
            // There was a leader: the next elections are others.
            in_vain = 0;
            asked.forget_stood();
        }
        let left = standing.patience(drawn, &wait_ms).saturating_sub(standing.silence);
        let wait = match (standing.may_stand, left.is_zero()) {
            (false, _) => shortest,
            (true, false) => left,
            (true, true) => {
                asked.forget_behind();
                if raft.trigger().elect().await.is_err() {
                    return;
                }
                // Each is written and asked for, so they are few: the others may be wrong, or lie.
                for _ in standing.term + 1..=asked.stood().min(standing.term + TERMS) {
                    if raft.trigger().elect().await.is_err() {
                        return;
                    }
                }
                drawn = draw() * 2_u32.pow(in_vain);
                in_vain = DOUBLINGS.min(in_vain + 1);
                // Its own vote must be on the disk first, even if it is the only one.
                shortest
            }
        };
        Runtime::sleep(wait).await;
    }
}

impl Standing {
    /// How long a silence is borne.
    fn patience(&self, drawn: Duration, wait_ms: &Range<u64>) -> Duration {
        if self.alone {
            Duration::ZERO
        } else if self.followed {
            // Nobody gives a vote before the end of the longest wait.
            drawn + Duration::from_millis(wait_ms.end - wait_ms.start)
        } else if self.behind {
            drawn + Duration::from_millis(wait_ms.end)
        } else {
            drawn
        }
    }
}

/// None once the replica has stopped.
async fn standing(raft: &Raft, member: Member, asked: &Asked) -> Option<Standing> {
    let behind = asked.is_behind();
    let look = raft.with_raft_state(move |state| {
        let members = state.membership_state.effective();
        Standing {
            silence: state.vote_last_modified().map_or(Duration::ZERO, |at| at.elapsed()),
            followed: state.vote_ref().committed,
            may_stand: state.server_state != ServerState::Leader
                && members.voter_ids().any(|voter| voter == member),
            alone: members.voter_ids().eq([member]),
            behind,
            term: state.vote_ref().leader_id.term,
        }
    });
    look.await.ok()
}
