//! What the leader does about who sits in the hub: it seats those whom a new charter admits, replaces who is lost by who
//! stands by, and has the log's voters be those who sit, whatever an earlier leader left undone.
//!
//! Newcomers follow the log before they sit, so that nobody waits for the vote of a member that has nothing to vote on.
//! What was final before that they have from the books of others: they sit once they have said that they have all of it, so
//! that whoever is counted on by the mesh has what it was trusted with.

use std::collections::{BTreeMap, BTreeSet};

use forgemesh_consensus::command::Command;
use forgemesh_protocol::charter::Charter;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::keys::Signable;
use forgemesh_protocol::limits;

use super::HubRole;
use crate::core::{Context, Output};

/// Where the leader is with it.
pub(super) struct Reseating {
    /// When each member was last heard; who is not here was not since this leader began.
    heard: BTreeMap<NodeId, u64>,
    /// Who did not come by the books in time, and how many entries it was to have.
    behind: BTreeMap<NodeId, u64>,
    step: Step,
    /// When to go on after something did not work.
    due_ms: u64,
}

/// What comes next.
enum Step {
    /// The log's voters may be others than those who sit.
    Settle,
    /// They are being made the same.
    Settling,
    /// They are the same.
    Settled,
    /// They could not be made the same.
    Unsettled,
    /// Newcomers are brought up to date: then these are to sit.
    Preparing { charter: Hash, seated: Vec<NodeId> },
    /// They follow the log, and come by so many entries of the books.
    Reading { charter: Hash, seated: Vec<NodeId>, books: u64, since_ms: u64 },
    /// That they sit is proposed.
    Proposed { since_ms: u64 },
}

impl Reseating {
    pub fn new() -> Reseating {
        Reseating { heard: BTreeMap::new(), behind: BTreeMap::new(), step: Step::Settle, due_ms: 0 }
    }

    /// Others sit: the log's voters follow.
    pub fn seated(&mut self) {
        (self.step, self.due_ms) = (Step::Settle, 0);
    }
}

impl HubRole {
    /// A member gave a sign of life.
    pub fn heard_member(&mut self, node: NodeId, up_ms: u64) {
        if let Some(lead) = &mut self.lead {
            if lead.reseating.heard.len() >= limits::RAFT_MEMBERS {
                lead.reseating.heard.clear();
            }
            lead.reseating.heard.insert(node, up_ms);
        }
    }

    /// The log's members are as asked, or could not be made so.
    pub fn reseated(&mut self, cx: &mut Context<'_>, done: bool) {
        let wanted = self.wanted(cx);
        let Some(lead) = &mut self.lead else { return };
        let retry_ms = cx.now.up_ms + limits::SEAT_RETRY_MS;
        match (std::mem::replace(&mut lead.reseating.step, Step::Settle), done) {
            (Step::Settling, true) => lead.reseating.step = Step::Settled,
            // Somebody may have gone while the others caught up.
            (Step::Preparing { charter, seated }, true)
                if wanted.as_ref() == Some(&(charter, seated.clone())) =>
            {
                let (books, since_ms) = (self.machine.state().ledger_len, cx.now.up_ms);
                lead.reseating.step = Step::Reading { charter, seated, books, since_ms };
            }
            // Who sits cannot be made to vote: perhaps another can sit instead.
            (Step::Settling, false) => {
                (lead.reseating.step, lead.reseating.due_ms) = (Step::Unsettled, retry_ms);
            }
            // What was left half done is settled first.
            (Step::Settle | Step::Unsettled | Step::Settled | Step::Preparing { .. }, _) => {
                lead.reseating.due_ms = retry_ms;
            }
            (step @ (Step::Reading { .. } | Step::Proposed { .. }), _) => lead.reseating.step = step,
        }
    }

    /// Takes the next step.
    pub(super) fn reseat(&mut self, cx: &mut Context<'_>) {
        let Some(lead) = &self.lead else { return };
        let up_ms = cx.now.up_ms;
        if up_ms < lead.reseating.due_ms {
            return;
        }
        let current: BTreeSet<NodeId> = self.machine.seated().iter().copied().collect();
        let (step, voters, learners) = match &lead.reseating.step {
            Step::Settle => (Step::Settling, Some(current), BTreeSet::new()),
            step @ (Step::Settled | Step::Unsettled) => match (self.wanted(cx), step) {
                (Some((charter, seated)), _) => {
                    let newcomers = seated.iter().copied().filter(|node| !current.contains(node)).collect();
                    (Step::Preparing { charter, seated }, None, newcomers)
                }
                (None, Step::Unsettled) => (Step::Settling, Some(current), BTreeSet::new()),
                (None, _) => return,
            },
            // The proposal was lost.
            Step::Proposed { since_ms } if up_ms >= since_ms + limits::SEAT_RETRY_MS => {
                (Step::Settling, Some(current), BTreeSet::new())
            }
            Step::Reading { .. } => return self.read(cx),
            Step::Proposed { .. } | Step::Settling | Step::Preparing { .. } => return,
        };
        if let Some(lead) = &mut self.lead {
            lead.reseating.step = step;
        }
        cx.out.push(Output::Reseat { voters, learners });
    }

    /// Newcomers follow the log: they sit once their books have what was final by then. More that becomes final they make
    /// from the log themselves. Who needs longer is passed over until it has what it lacked, as long as others can fill the seats.
    fn read(&mut self, cx: &mut Context<'_>) {
        let (wanted, up_ms) = (self.wanted(cx), cx.now.up_ms);
        let Some(lead) = &mut self.lead else { return };
        let Step::Reading { charter, seated, books, since_ms } = &mut lead.reseating.step else {
            return;
        };
        let (charter, books) = (*charter, *books);
        if wanted.as_ref() != Some(&(charter, seated.clone())) {
            // Somebody has gone meanwhile, or is back.
            (lead.reseating.step, lead.reseating.due_ms) = (Step::Settle, up_ms + limits::SEAT_RETRY_MS);
            return;
        }
        let newcomers = seated.iter().filter(|node| !self.machine.seated().contains(node));
        let has_books = |node: &NodeId| self.scheduler.agent(node).is_some_and(|agent| agent.books >= books);
        let slow: Vec<NodeId> = newcomers.copied().filter(|node| !has_books(node)).collect();
        if slow.is_empty() {
            let seated = std::mem::take(seated);
            lead.reseating.step = Step::Proposed { since_ms: up_ms };
            self.propose(cx, Command::Seat { charter, seated });
        } else if up_ms >= *since_ms + limits::SEAT_LOST_MS {
            if lead.reseating.behind.len() >= limits::RAFT_MEMBERS {
                lead.reseating.behind.clear();
            }
            lead.reseating.behind.extend(slow.into_iter().map(|node| (node, books)));
            (lead.reseating.step, lead.reseating.due_ms) = (Step::Settle, 0);
        }
    }

    /// Who should sit, and by which charter, if not those who do: by the one that is agreed on, if its seats can be filled.
    fn wanted(&self, cx: &Context<'_>) -> Option<(Hash, Vec<NodeId>)> {
        let agreed = self.machine.agreed().and_then(|charter| self.seating_by(cx, charter));
        agreed.or_else(|| self.seating_by(cx, self.machine.charters().current()))
    }

    fn seating_by(&self, cx: &Context<'_>, charter: &Charter) -> Option<(Hash, Vec<NodeId>)> {
        let (current, seated) = (self.machine.charters().current(), self.machine.seated());
        // Asked after every input: those who sit by this charter fill its seats.
        if charter.version == current.version && seated.iter().all(|node| self.lives(cx, node)) {
            return None;
        }
        let mut found: Vec<NodeId> = Vec::new();
        // This member first, then who sits and lives, who stands by, and who sits and may be gone.
        let own = seated.iter().filter(|node| **node == self.node);
        let live = seated.iter().filter(|node| self.lives(cx, node));
        let standby = charter.admitted.iter().map(|member| member.key.id());
        let standby: Vec<NodeId> = standby.filter(|node| self.stands_by(cx, charter, node)).collect();
        for node in own.chain(live).chain(&standby).chain(seated) {
            let admitted = charter.node(node).is_some();
            if admitted && !found.contains(node) && (found.len() as u64) < charter.seats {
                found.push(*node);
            }
        }
        if (found.len() as u64) < charter.seats {
            return None;
        }
        // Who stays keeps its place.
        let mut order: Vec<NodeId> = seated.iter().copied().filter(|node| found.contains(node)).collect();
        found.retain(|node| !order.contains(node));
        order.extend(found);
        let same = charter.version == current.version && order == seated;
        (!same).then(|| (charter.digest(), order))
    }

    fn lives(&self, cx: &Context<'_>, node: &NodeId) -> bool {
        let Some(lead) = &self.lead else { return false };
        let heard_ms = lead.reseating.heard.get(node).copied().unwrap_or(lead.since_ms);
        *node == self.node || cx.now.up_ms < heard_ms + limits::SEAT_LOST_MS
    }

    /// Would this node, which does not sit, follow the log if it were let?
    fn stands_by(&self, cx: &Context<'_>, charter: &Charter, node: &NodeId) -> bool {
        let said = self.scheduler.agent(node).filter(|agent| agent.is_live(cx.now.up_ms));
        let candidacy = said.and_then(|agent| agent.candidacy.as_ref());
        let lacks = self.lead.as_ref().and_then(|lead| lead.reseating.behind.get(node));
        let has_books = said.is_some_and(|agent| agent.books >= lacks.copied().unwrap_or(0));
        candidacy.is_some() && candidacy == charter.node(node) && has_books
    }

    /// In how many milliseconds there may be something to do about who sits.
    pub(super) fn reseat_deadline(&self, up_ms: u64) -> u64 {
        let Some(lead) = &self.lead else { return u64::MAX };
        match &lead.reseating.step {
            Step::Settle | Step::Unsettled => lead.reseating.due_ms.saturating_sub(up_ms),
            Step::Proposed { since_ms } => (since_ms + limits::SEAT_RETRY_MS).saturating_sub(up_ms),
            Step::Reading { since_ms, .. } => (since_ms + limits::SEAT_LOST_MS).saturating_sub(up_ms),
            // Whoever could take a seat says hello meanwhile.
            Step::Settled | Step::Settling | Step::Preparing { .. } => u64::MAX,
        }
    }
}
