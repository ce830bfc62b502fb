//! Who belongs to the mesh: tickets, admitted nodes, and the list of all.

use std::collections::{BTreeMap, BTreeSet};

use forgemesh_consensus::enrolment::Enrolment;
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::charter::Charter;
use forgemesh_protocol::enrolment::{Expulsion, Invitation, Withdrawal};
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::keys::{Signable, Signed};
use forgemesh_protocol::limits;
use forgemesh_protocol::organization::Organization;
use forgemesh_protocol::ticket::Ticket;
use serde_json::{Value, json};

use super::standing::visibility;
use super::{Answer, Desk, plain};
use crate::cli::address;
use crate::cli::embedded::{now_ms, unexpected};
use crate::cli::error::CliError;
use crate::cli::home;
use crate::core::status::AgentStatus;
use crate::core::{EnrolmentCommand, Reply, Request as Ask};
use crate::real::swarm::{PeerStatus, SwarmHandle};

const MINUTE_MS: u64 = 60_000;

impl Desk {
    /// Makes a ticket, once its invitation is durable.
    pub(super) async fn invite(
        &self,
        minutes: u64,
        organization: Option<Organization>,
    ) -> Result<Answer, CliError> {
        self.require_member("tickets")?;
        if !(1..=limits::INVITATION_TTL_MS / MINUTE_MS).contains(&minutes) {
            let most = limits::INVITATION_TTL_MS / MINUTE_MS / 1_440;
            return Err(CliError::Usage(format!(
                "a ticket is good for 1 minute to {most} days; choose such a time"
            )));
        }
        let expires_ms = now_ms().max(self.handle.log_ms()) + minutes * MINUTE_MS;
        let bootstrap = match &self.network {
            Some(network) => address::reachable(&network.status()),
            None => Vec::new(),
        };
        let ticket = Ticket {
            genesis: self.genesis.clone(),
            seating: Some(self.handle.seated().seating.clone()).filter(|seating| seating.number > 0),
            bootstrap,
            network_key: self.network_key.map(|key| Bytes(key.to_vec())),
            secret: Bytes(home::random::<32>().map_err(CliError::Entropy)?.to_vec()),
            expires_ms,
            organization: organization.clone(),
        };
        let secret = ticket.invitation();
        let body = Invitation { secret, expires_ms, organization: organization.clone() };
        let invitation = Signed::new(body, self.handle.mesh(), &self.secret);
        self.enrol(EnrolmentCommand::Invite(invitation)).await?;
        let addresses = ticket.bootstrap.clone();
        plain(json!({
            "ticket": ticket.issue(&self.secret), "id": secret, "expires_ms": expires_ms, "addresses": addresses,
            "organization": organization,
        }))
    }

    pub(super) async fn tickets(&self) -> Result<Answer, CliError> {
        self.require_member("tickets")?;
        let current = self.catch_up().await?;
        let (members, now_ms) = (self.members().await?, now_ms());
        let mut tickets: Vec<_> = members.invitations.iter().collect();
        tickets.sort_by_key(|(_, invited)| std::cmp::Reverse(invited.at_ms));
        let ticket = |(id, invited): &(&Hash, &forgemesh_consensus::enrolment::Invited)| {
            let state = match (invited.used_by, invited.withdrawn) {
                (Some(_), _) => "used",
                (None, true) => "revoked",
                (None, false) if invited.expires_ms <= now_ms => "expired",
                (None, false) => "open",
            };
            json!({
                "id": id, "state": state, "used_by": invited.used_by, "at_ms": invited.at_ms,
                "expires_ms": invited.expires_ms, "organization": invited.organization,
            })
        };
        let tickets: Vec<Value> = tickets.iter().map(ticket).collect();
        plain(json!({ "tickets": tickets, "current": current }))
    }

    pub(super) async fn withdraw(&self, prefix: &str) -> Result<Answer, CliError> {
        self.require_member("tickets")?;
        // Whatever it misses, the hub decides.
        self.catch_up().await?;
        let members = self.members().await?;
        let found = one_of(members.invitations.keys().copied(), prefix);
        let secret = found.ok_or_else(|| CliError::NoTicket(prefix.to_owned()))?;
        let withdrawal = Signed::new(Withdrawal { secret }, self.handle.mesh(), &self.secret);
        self.enrol(EnrolmentCommand::Withdraw(withdrawal)).await?;
        plain(json!({ "revoked": secret }))
    }

    pub(super) async fn expel(&self, prefix: &str) -> Result<Answer, CliError> {
        self.require_member("nodes")?;
        self.catch_up().await?;
        let members = self.members().await?;
        let is_open = self.genesis.parameters.open;
        if is_open && !members.nodes.values().any(|node| node.organization.is_some()) {
            return Err(CliError::Usage(
                "this mesh is open: everybody may work in it, and nobody belongs to an organization from which to expel it; `forgemesh init --private` makes one with a list".to_owned(),
            ));
        }
        let seated = self.handle.seated();
        let of_the_hub = seated.charters.current().admitted.iter().map(|member| member.key.id());
        let all: BTreeSet<NodeId> = of_the_hub.chain(members.nodes.keys().copied()).collect();
        let found = one_of(all.into_iter().map(|node| node.0), prefix).map(NodeId);
        let node = found.ok_or_else(|| CliError::NoSuchNode(prefix.to_owned()))?;
        let admitted = members.nodes.get(&node).map_or(0, |found| found.index);
        let expulsion = Signed::new(Expulsion { node, admitted }, self.handle.mesh(), &self.secret);
        self.enrol(EnrolmentCommand::Expel(expulsion)).await?;
        plain(json!({ "expelled": node, "may_work": is_open }))
    }

    /// Hub members, admitted nodes, and whoever works here.
    pub(super) async fn nodes(&self) -> Result<Answer, CliError> {
        let current = self.catch_up().await?;
        // In this order: who is admitted in between is on the list at least.
        let status = self.handle_status().await?;
        let members = self.members().await?;
        let agents = status.hub.map(|hub| hub.agents).unwrap_or_default();
        let agents: BTreeMap<NodeId, AgentStatus> = agents.into_iter().map(|a| (a.node, a)).collect();
        let (seated, log) = (self.handle.seated(), self.handle.members());
        let hub: BTreeSet<NodeId> = seated.seating.seated.iter().copied().collect();
        let admitted = &seated.charters.current().admitted;
        let standby: BTreeSet<NodeId> = admitted.iter().map(|member| member.key.id()).collect();
        let mut all: BTreeSet<NodeId> = hub.union(&standby).copied().collect();
        all.extend(members.nodes.keys());
        all.extend(agents.keys());
        let is_open = self.genesis.parameters.open;
        let node = |id: &NodeId| {
            let (agent, admitted) = (agents.get(id), members.nodes.get(id));
            // Only who was admitted has been heard: who is in no list any more was expelled.
            let expelled = !is_open && admitted.is_none() && !standby.contains(id) && !hub.contains(id);
            json!({
                "node": id, "hub": hub.contains(id), "standby": standby.contains(id) && !hub.contains(id),
                "votes": log.as_ref().filter(|_| hub.contains(id)).map(|log| log.votes(id)),
                "candidate": agent.is_some_and(|agent| agent.candidacy.is_some()) && !standby.contains(id),
                "leads": Some(*id) == status.leader, "expelled": expelled,
                "name": admitted.map(|admitted| &admitted.name),
                "organization": members.organization(id, &seated.charters),
                "admitted_ms": admitted.map(|admitted| admitted.at_ms),
                "live": agent.is_some_and(|agent| agent.live) && !expelled,
                "heard_ms_ago": agent.map(|agent| agent.heard_ms_ago),
                "capacity": agent.map(|agent| agent.capacity),
                "backend": agent.map(|agent| &agent.backend),
                "accepts": agent.map(|agent| agent.accepts),
                "holds": agent.map(|agent| agent.holds),
                "pace_ppm": agent.map(|agent| agent.pace_ppm),
                "ops": agent.map(|agent| agent.ops.iter().map(ToString::to_string).collect::<Vec<_>>()),
                "region": agent.map(|agent| &agent.region),
                "visibility": agent.map(|agent| visibility(agent.clients.as_deref())),
                "clients": agent.map(|agent| &agent.clients),
                "organizations": agent.map(|agent| &agent.organizations),
                "billing": agent.map(|agent| &agent.billing),
            })
        };
        let nodes: Vec<Value> = all.iter().map(node).collect();
        plain(json!({ "nodes": nodes, "current": current }))
    }

    /// Wants these nodes to be admitted to the hub and those to be dismissed. In force once a quorum wants the same.
    pub(super) async fn amend(
        &self,
        admit: &[String],
        dismiss: &[String],
        seats: Option<u64>,
    ) -> Result<Answer, CliError> {
        self.require_member("the hub")?;
        let (status, seated) = (self.handle_status().await?, self.handle.seated());
        let hub =
            status.hub.ok_or_else(|| CliError::Usage("the node does not sit in the hub yet".to_owned()))?;
        let current = seated.charters.current();
        let mut admitted = current.admitted.clone();
        for prefix in dismiss {
            let found = one_of(admitted.iter().map(|member| member.key.id().0), prefix).map(NodeId);
            let node = found.ok_or_else(|| CliError::NoSuchNode(prefix.clone()))?;
            admitted.retain(|member| member.key.id() != node);
        }
        let mut newcomers = Vec::new();
        for prefix in admit {
            let found = one_of(hub.agents.iter().map(|agent| agent.node.0), prefix).map(NodeId);
            let node = found.ok_or_else(|| CliError::NoSuchNode(prefix.clone()))?;
            let known = seated.charters.node(&node).cloned();
            let said = hub.agents.iter().find(|agent| agent.node == node).and_then(|a| a.candidacy.clone());
            newcomers.push(known.or(said).ok_or(CliError::NoCandidate(node))?);
        }
        // The same words give the same charter, whoever says them.
        newcomers.sort_by_key(|member| member.key.id());
        newcomers.retain(|member| !admitted.contains(member));
        // Two whom nobody can dial would meet through others alone, and not at all once these are gone.
        let network = self.network.as_ref().map(SwarmHandle::status);
        let mut unknown = Vec::new();
        for node in newcomers.iter().map(|member| member.key.id()) {
            let peer = network.as_ref().and_then(|network| network.peers.get(&node));
            match peer.and_then(PeerStatus::is_dialable) {
                Some(true) => {}
                Some(false) => return Err(CliError::NotDialable(node)),
                None => unknown.push(node),
            }
        }
        admitted.extend(newcomers);
        let most = (admitted.len() as u64).min(limits::HUB_MEMBERS as u64);
        // An even number of members bears no more losses than the odd one below it; fewer seats have to be asked for.
        let seats = seats.unwrap_or((most.saturating_sub(1) | 1).max(current.seats));
        let charter = Charter { version: current.version + 1, previous: current.digest(), seats, admitted };
        seated.charters.check(&charter).map_err(|error| CliError::Usage(error.to_string()))?;
        let (digest, needed) = (charter.digest(), current.majority() as u64);
        let signed = Signed::new(charter, self.handle.mesh(), &self.secret);
        self.enrol(EnrolmentCommand::Consent(signed)).await?;
        let consents = self.handle_status().await?.hub.and_then(|hub| hub.consents.get(&digest).copied());
        // None are left once it is in force.
        let consents = consents.unwrap_or(needed);
        plain(json!({
            "charter": digest, "seats": seats, "consents": consents, "needed": needed, "reach_unknown": unknown,
        }))
    }

    async fn members(&self) -> Result<Box<Enrolment>, CliError> {
        match self.handle.request(Ask::Members).await? {
            Reply::Members(members) => Ok(members),
            other => Err(unexpected(other)),
        }
    }

    async fn enrol(&self, command: EnrolmentCommand) -> Result<(), CliError> {
        match self.handle.request(Ask::Enrolment(Box::new(command))).await? {
            Reply::Done => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    fn require_member(&self, what: &str) -> Result<(), CliError> {
        if self.is_member() {
            return Ok(());
        }
        let text = format!("only a hub member manages {what}; run the command there");
        Err(CliError::Usage(text))
    }
}

/// The one that begins so; none if there is none, or more than one.
fn one_of(all: impl Iterator<Item = Hash>, prefix: &str) -> Option<Hash> {
    let mut found = all.filter(|id| prefix.len() >= 4 && id.to_string().starts_with(prefix));
    let first = found.next()?;
    found.next().is_none().then_some(first)
}
