//! A change of members, in the steps that keep every quorum of the old ones and the new ones in touch.

use std::collections::BTreeSet;
use std::time::Duration;

use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::limits;
use openraft::error::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::metrics::WaitError;
use openraft::{ChangeMembers, EmptyNode, LogIdOptionExt};

use super::config::{Member, Raft};
use super::event::ChangeError;
use super::logged::Members;

type Refused = RaftError<Member, ClientWriteError<Member, EmptyNode>>;

/// Newcomers follow the log first, so that no majority waits for somebody who has nothing yet.
pub(super) async fn change(
    raft: &Raft,
    voters: BTreeSet<NodeId>,
    learners: BTreeSet<NodeId>,
) -> Result<(), ChangeError> {
    let members = Members::from(raft.metrics().borrow().membership_config.membership());
    let (before, voted) =
        (members.all(), members.voters.iter().flatten().copied().collect::<BTreeSet<NodeId>>());
    let wanted: BTreeSet<NodeId> = voters.union(&learners).copied().collect();
    let few = (1..=limits::HUB_MEMBERS).contains(&voters.len()) && learners.len() <= limits::HUB_MEMBERS;
    if !few || before.union(&wanted).count() > limits::RAFT_MEMBERS {
        return Err(ChangeError::Bounds);
    }
    // One from an earlier attempt may still be behind.
    let newcomers = wanted.iter().filter(|node| !before.contains(node));
    let promoted = voters.iter().filter(|node| before.contains(node) && !voted.contains(node));
    for newcomer in newcomers.chain(promoted) {
        let newcomer = Member(*newcomer);
        let added = raft.add_learner(newcomer, EmptyNode {}, false).await.map_err(refused)?;
        // Its own joining is the last of what it must have.
        let patience = Some(Duration::from_millis(limits::RAFT_CHANGE_MS));
        let wait = raft.wait(patience);
        let arrived = wait.metrics(
            |now| match &now.replication {
                Some(progress) => {
                    progress.get(&newcomer).is_some_and(|at| at.index() >= Some(added.log_id.index))
                }
                None => true,
            },
            "a newcomer",
        );
        match arrived.await {
            Ok(now) if now.replication.is_some() => {}
            Ok(_) => return Err(ChangeError::NotLeading),
            Err(WaitError::Timeout(..)) => return Err(ChangeError::TooSlow),
            Err(WaitError::ShuttingDown) => return Err(ChangeError::Stopped),
        }
    }
    let voters: BTreeSet<Member> = voters.into_iter().map(Member).collect();
    raft.change_membership(voters, true).await.map_err(refused)?;
    let leaving: BTreeSet<Member> = before.difference(&wanted).copied().map(Member).collect();
    if !leaving.is_empty() {
        raft.change_membership(ChangeMembers::RemoveNodes(leaving), false).await.map_err(refused)?;
    }
    Ok(())
}

fn refused(error: Refused) -> ChangeError {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => ChangeError::NotLeading,
        RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => match error {
            ChangeMembershipError::InProgress(_) => ChangeError::InProgress,
            // Both can only be if the members changed meanwhile.
            ChangeMembershipError::EmptyMembership(_) | ChangeMembershipError::LearnerNotFound(_) => {
                ChangeError::InProgress
            }
        },
        RaftError::Fatal(_) => ChangeError::Stopped,
    }
}
