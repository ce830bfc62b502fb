//! How the node stands, and how much of it the mesh may have.

use std::ops::Range;
use std::sync::{Arc, MutexGuard, PoisonError};

use forgemesh_kernel::registry;
use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::op::Op;
use forgemesh_protocol::organization::Organization;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Duration, timeout};

use super::{Answer, Desk, plain};
use crate::cli::embedded::{now_ms, unexpected};
use crate::cli::error::CliError;
use crate::cli::home;
use crate::config::Config;
use crate::core::availability::{Availability, Mode};
use crate::core::idleness::{IDLE_PERCENT, Idleness, READ_MS};
use crate::core::status::{OpenJob, OwnStatus, Status};
use crate::core::{EXPELLED, Reply, Request as Ask};
use crate::driver::Stopped;
use crate::real::control::request::Request;
use crate::real::control::told;
use crate::real::swarm::{Misled, SwarmHandle};

/// How often it is looked whether the hours for work have begun or ended, and whether the machine is in use.
const LOOK_AGAIN: Duration = Duration::from_millis(READ_MS);
/// An agent that has not heard of the hub for so long should be looked after.
const LOST_MS: u64 = 15_000;

/// What the operator has said since the node was started; it goes before the configuration.
#[derive(Debug, Default)]
pub struct Operator {
    mode: Option<Mode>,
    resumed: bool,
    threads: Option<u16>,
    ops: Option<Vec<Op>>,
    /// What the node was told last.
    told: Option<Availability>,
}

impl Desk {
    pub(super) async fn handle_status(&self) -> Result<Box<Status>, CliError> {
        match self.handle.request(Ask::Status).await? {
            Reply::Status(status) => Ok(status),
            _ => Err(Stopped.into()),
        }
    }

    pub(super) async fn status(&self) -> Result<Value, CliError> {
        let status = self.handle_status().await?;
        let network = self.network.as_ref().map(|network| {
            let network = network.status();
            let misled = |misled: &Misled| json!({ "address": misled.address, "node": misled.node, "instead": misled.instead });
            let misled: Vec<Value> = network.misled.values().map(misled).collect();
            json!({
                "misled": misled,
                "listen": network.listen, "external": network.external, "reachable": network.is_reachable,
                "peers": network.peers.len(), "relayed": network.relayed(), "known": network.known, "last_failure": network.last_failure,
            })
        });
        let (seated, log) = (self.handle.seated(), self.handle.members());
        let seats = seated.seating.seated.as_slice();
        let peers = self.network.as_ref().map(|network| network.status().peers);
        let is_there = |node: &NodeId| {
            *node == status.node || peers.as_ref().is_some_and(|peers| peers.contains_key(node))
        };
        let there: Vec<NodeId> = seats.iter().copied().filter(is_there).collect();
        let hub = status.hub.as_ref().map(|hub| {
            json!({
                "voting": log.as_ref().map(|log| seats.iter().filter(|node| log.votes(node)).count()),
                "away": seats.len() - there.len(), "spare": log.as_ref().map(|log| log.spare(&there)),
                "term": hub.term, "log": hub.log, "ledger": hub.ledger, "log_ms": hub.log_ms,
                "agents": hub.agents.len(), "live_agents": hub.agents.iter().filter(|agent| agent.live).count(),
                "jobs": hub.jobs.len(),
                "evidence": hub.evidence.map(|(jobs, missing)| json!({ "jobs": jobs, "missing": missing })),
            })
        });
        let own = &status.own;
        // A hub member has the list, which may have changed since; any other node has what it was told when it came.
        let organization = match &status.hub {
            Some(hub) => hub.organization.clone(),
            None => home::organization(&self.storage)?.filter(|_| !status.expelled),
        };
        Ok(json!({
            "node": status.node, "mesh": status.mesh, "mesh_name": self.genesis.name,
            "open": self.genesis.parameters.open, "private": self.network_key.is_some(),
            "role": if self.is_member() { "hub" } else { "agent" },
            "seats": seats.len(),
            "leader": status.leader, "leads": status.leader == Some(status.node), "expelled": status.expelled,
            "organization": organization, "books": status.books,
            "pid": std::process::id(), "version": env!("CARGO_PKG_VERSION"), "up_ms": status.up_ms,
            "folder": self.folder.display().to_string(),
            "mode": own.available.mode.as_str(), "threads": own.threads, "capacity": own.capacity,
            "backend": own.backend, "ops": own.available.ops.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "region": own.available.region, "visibility": visibility(own.available.clients.as_deref()),
            "clients": own.available.clients, "organizations": own.available.organizations,
            "billing": own.available.billing, "idle_only": self.config.idle_only,
            "held": own.held, "executing": own.executing, "executed": own.executed, "unlogged": own.unlogged,
            "heard_ms_ago": own.heard_ms_ago, "disk_low": is_disk_low(&status),
            "network": network, "hub": hub, "settings": self.settings(),
        }))
    }

    /// Does config.toml say still what this node runs with? It is read at the start alone.
    fn settings(&self) -> Value {
        let read = Config::read(&self.folder).map(Option::unwrap_or_default);
        let changed = !read.as_ref().is_ok_and(|config| *config == self.config);
        json!({ "changed": changed, "error": read.err().map(|error| error.to_string()) })
    }

    /// Of a node alone there is nothing to count.
    pub(super) fn metrics(&self) -> String {
        self.network.as_ref().map_or_else(|| "# EOF\n".to_owned(), SwarmHandle::metrics)
    }

    /// Why this node executes nothing: the nearest cause first.
    pub(super) async fn why_idle(&self) -> Result<Answer, CliError> {
        let status = self.handle_status().await?;
        let mut reasons = Vec::new();
        let mut reason = |code: &str, text: String| reasons.push(json!({ "code": code, "text": text }));
        let disk_low = is_disk_low(&status);
        let OwnStatus { available, heard_ms_ago, held, executing, capacity, accepts, .. } = &status.own;
        let busy = *held > 0 || *executing > 0;
        if disk_low {
            reason("disk_low", "the disk has too little room for new work: free some space".to_owned());
        }
        match available.mode {
            Mode::Working => {}
            _ if !self.config.is_open(now_ms()) && self.operator().mode.is_none() => {
                reason(
                    "hours",
                    "it is outside hours_utc of config.toml: it takes work when they begin".to_owned(),
                );
            }
            Mode::Yielding => reason("in_use", self.in_use()),
            mode => reason("paused", format!("the node is {}: `forgemesh node resume`", mode.as_str())),
        }
        match heard_ms_ago {
            _ if status.expelled => reason("expelled", EXPELLED.to_owned()),
            None if !self.is_member() => reason(
                "hub_silent",
                "no hub member has answered yet: `forgemesh doctor` looks for the cause".to_owned(),
            ),
            Some(ago_ms) if *ago_ms > LOST_MS => {
                reason(
                    "hub_silent",
                    format!("the hub was last heard {} s ago: `forgemesh doctor`", ago_ms / 1_000),
                );
            }
            _ => {}
        }
        if let Some(hub) = &status.hub {
            if hub.jobs.is_empty() {
                reason("no_jobs", "the mesh has no open job: `forgemesh job submit` gives it one".to_owned());
            }
            if let Some(clients) = &available.clients {
                let others = clients.len().saturating_sub(1);
                let of: Vec<&str> = available.organizations.iter().map(Organization::as_str).collect();
                let of = if of.is_empty() {
                    String::new()
                } else {
                    format!(", and of nodes of {},", of.join(", "))
                };
                let text = format!(
                    "it is private: it takes jobs of its own and of {others} other clients{of} alone"
                );
                reason("private", text);
            }
            for job in hub.jobs.iter().filter(|job| job.attested + job.lent < job.shards) {
                let id = job.job.0.short();
                let text = format!("job {id} waits, see `forgemesh job why-pending {id}`");
                reason("pending", text);
            }
        }
        if *accepts == 0 && available.mode == Mode::Working && !disk_low {
            reason(
                "backed_up",
                "the hub has not logged what was executed: it takes more once it has".to_owned(),
            );
        }
        plain(json!({
            "node": status.node, "idle": !busy, "held": held, "executing": executing, "capacity": capacity,
            "reasons": reasons,
        }))
    }

    pub(super) async fn set_mode(&self, request: &Request) -> Result<Answer, CliError> {
        {
            let mut operator = self.operator();
            operator.mode = match request {
                Request::Drain {} => Some(Mode::Draining),
                Request::Pause {} => Some(Mode::Paused),
                _ => None,
            };
            operator.resumed |= operator.mode.is_none();
        }
        let available = self.apply().await?;
        let held = self.handle_status().await?.own.held;
        plain(json!({ "mode": available.mode.as_str(), "held": held }))
    }

    pub(super) async fn set_limits(
        &self,
        threads: Option<u16>,
        ops: Option<Vec<String>>,
    ) -> Result<Answer, CliError> {
        let read = |text: &String| {
            let op = text.parse::<Op>().map_err(|error| CliError::Usage(format!("\"{text}\": {error}")))?;
            // A later version is started anew, with a file that may name what it knows.
            registry::require(&op).map_err(|problems| CliError::Refused { problems, record: None })?;
            Ok::<_, CliError>(op)
        };
        let ops: Option<Vec<Op>> = ops.map(|ops| ops.iter().map(read).collect()).transpose()?;
        {
            let mut operator = self.operator();
            operator.threads = threads.or(operator.threads);
            operator.ops = ops.or(operator.ops.take());
        }
        let available = self.apply().await?;
        let own = self.handle_status().await?.own;
        let ops: Vec<_> = available.ops.iter().map(ToString::to_string).collect();
        let hours: Vec<String> = self.config.hours.iter().map(span).collect();
        plain(json!({
            "threads": own.threads, "capacity": own.capacity, "ops": ops, "hours_utc": hours,
            "idle_only": self.config.idle_only, "region": available.region,
            "visibility": visibility(available.clients.as_deref()), "clients": available.clients,
            "organizations": available.organizations, "billing": available.billing,
        }))
    }

    /// What the mesh may have of this node now, by configuration, clock and operator.
    fn available(&self) -> Availability {
        let (idle, now_ms) = (self.idleness().is_idle(), now_ms());
        let mut available = self.config.availability(self.secret.public().id(), now_ms, idle);
        let operator = self.operator();
        if operator.resumed && self.config.is_open(now_ms) {
            // That others use the machine is no pause that an operator could end.
            let yields = self.config.idle_only && !idle;
            available.mode = if yields { Mode::Yielding } else { Mode::Working };
        }
        available.mode = operator.mode.unwrap_or(available.mode);
        if let Some(threads) = operator.threads {
            available.threads = (threads > 0).then_some(u64::from(threads));
        }
        if let Some(ops) = &operator.ops {
            available.ops.clone_from(ops);
        }
        available
    }

    async fn apply(&self) -> Result<Availability, CliError> {
        let available = self.available();
        if self.operator().told.replace(available.clone()).as_ref() == Some(&available) {
            return Ok(available);
        }
        self.throttle.set(available.threads.and_then(|threads| usize::try_from(threads).ok()));
        match self.handle.request(Ask::Available(Box::new(available.clone()))).await? {
            Reply::Done => Ok(available),
            other => Err(unexpected(other)),
        }
    }

    /// Has the node begin and end its work at the hours of its configuration, and as others use the machine.
    pub(super) async fn keep_hours(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        loop {
            if self.config.idle_only {
                match self.processors.read() {
                    Ok(reading) => self.idleness().note(reading),
                    Err(_) => self.idleness().forget(),
                }
            }
            // A node that has stopped needs no hours.
            let _ = self.apply().await;
            if timeout(LOOK_AGAIN, told(&mut stopped)).await.is_ok() {
                return;
            }
        }
    }

    /// Why it yields.
    fn in_use(&self) -> String {
        let (others, needed_s) = (self.idleness().others_percent(), Idleness::needed_s());
        match others {
            Some(percent) => format!(
                "others use {percent} % of the processors: with idle_only it takes work once that is below {IDLE_PERCENT} % over {needed_s} s"
            ),
            None => format!("idle_only: it takes work once the machine was seen to be idle for {needed_s} s"),
        }
    }

    fn idleness(&self) -> MutexGuard<'_, Idleness> {
        self.idleness.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn operator(&self) -> MutexGuard<'_, Operator> {
        self.operator.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The word for whose jobs a node takes.
pub fn visibility(clients: Option<&[NodeId]>) -> &'static str {
    if clients.is_some() { "private" } else { "public" }
}

/// Hours as in the settings.
fn span(minutes: &Range<u32>) -> String {
    let time = |minute: u32| format!("{:02}:{:02}", minute / 60, minute % 60);
    format!("{}-{}", time(minutes.start), time(minutes.end))
}

/// A row of the list of jobs.
pub fn open_job(job: &OpenJob) -> Value {
    json!({
        "job_id": job.job, "client_job_id": job.client_job_id, "state": job.state, "op": job.op.to_string(),
        "contract_hash": job.contract, "accepted_ms": job.accepted_ms, "stage": job.stage, "attested_shards": job.attested,
        "shards": job.shards, "lent_shards": job.lent, "unverified": job.unverified,
    })
}

/// Has its disk too little room for new work? A leader executes what it has accepted even then, and accepts no more.
fn is_disk_low(status: &Status) -> bool {
    status.own.disk_low || status.hub.as_ref().is_some_and(|hub| hub.disk_low)
}
