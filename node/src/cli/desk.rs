//! What a running node answers on its control socket, and what a hub member answers other nodes.
//!
//! The same lookups as on a closed data folder, and the node's own state by its handle. Must never let another node do
//! what only the operator may.

mod artifacts;
mod errands;
mod members;
mod standing;

pub use standing::Operator;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use forgemesh_consensus::job::JobRecord;
use forgemesh_kernel::job::Job;
use forgemesh_protocol::cancellation::Cancellation;
use forgemesh_protocol::canon::{self, Bytes};
use forgemesh_protocol::genesis::Genesis;
use forgemesh_protocol::id::{JobId, NodeId};
use forgemesh_protocol::keys::{SecretKey, Signed};
use forgemesh_protocol::region::Regions;
use forgemesh_protocol::submission::{Offer, Submission};
use forgemesh_protocol::{base64, limits};
use forgemesh_storage::Storage;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, watch};
use tokio::time::{Duration, timeout};

use super::cancel;
use super::embedded::{now_ms, unexpected};
use super::error::CliError;
use super::home;
use super::lookup::{self, Which};
use super::run;
use super::source::{self, Found};
use super::submit::event;
use super::view::{self, JobView};
use crate::bundle;
use crate::config::Config;
use crate::core::idleness::Idleness;
use crate::core::{Asked, Reply, Request as Ask};
use crate::driver::{Handle, Stopped};
use crate::real::control::request::Request;
use crate::real::control::{self, Answers};
use crate::real::executor::Throttle;
use crate::real::processors::Processors;
use crate::real::swarm::SwarmHandle;

/// A watcher hears something at least this often, so that one that is gone is noticed.
const BEAT: Duration = Duration::from_secs(10);
/// How soon a node that is no hub member asks again how a watched job stands: at first, so that a short job is not
/// waited for longer than it takes, and at most. The pause grows by half from one question to the next.
const LOOK_FIRST: Duration = Duration::from_millis(5);
const LOOK_MOST: Duration = Duration::from_millis(500);

/// The desk of one life of a node.
pub struct Desk {
    pub folder: PathBuf,
    pub storage: Arc<Storage>,
    pub secret: SecretKey,
    pub genesis: Genesis,
    pub handle: Handle,
    pub config: Config,
    pub throttle: Throttle,
    /// None in a mesh of one.
    pub network: Option<SwarmHandle>,
    /// The pre-shared key of a private mesh.
    pub network_key: Option<[u8; 32]>,
    /// Tells the node to stop.
    pub stop: watch::Sender<bool>,
    pub operator: Mutex<Operator>,
    /// What the processors do beside this node; read only if the settings ask for an idle machine.
    pub processors: Processors,
    pub idleness: Mutex<Idleness>,
    /// Questions of other nodes, taken by the background task.
    pub asked: Mutex<Option<mpsc::Receiver<Asked>>>,
    /// Those that are being answered.
    pub answering: Mutex<BTreeSet<(NodeId, u64)>>,
}

/// An answer, and what is attached to it.
type Answer = (Value, Vec<u8>);

/// An answer with nothing attached.
fn plain(value: Value) -> Result<Answer, CliError> {
    Ok((value, Vec::new()))
}

impl control::Desk for Desk {
    async fn answer(&self, line: &[u8], out: &mut Answers) -> Result<Value, Value> {
        let request = Request::read(line).map_err(|error| {
            CliError::Usage(format!(
                "not a request: {error}; the words are in node/src/real/control/request.rs"
            ))
            .object()
        })?;
        let answered = match request {
            Request::Watch { job } => self.watch(job, out).await.map(|value| (value, Vec::new())),
            Request::FetchArtifact { artifact } => {
                self.fetch_artifact(artifact, out).await.map(|value| (value, Vec::new()))
            }
            Request::GetArtifact { artifact, from, to } => {
                self.send_artifact(artifact, from, to, out).await.map(|value| (value, Vec::new()))
            }
            request => self.act(request).await,
        };
        let (value, attached) = answered.map_err(|error| error.object())?;
        // A client that has gone away reads no answer either.
        let _ = out.attach(&attached).await;
        Ok(value)
    }

    async fn background(self: Arc<Self>, stopped: watch::Receiver<bool>) {
        tokio::join!(Arc::clone(&self).keep_hours(stopped.clone()), self.answer_others(stopped));
    }
}

impl Desk {
    /// Does what was asked for.
    async fn act(&self, request: Request) -> Result<Answer, CliError> {
        if !self.is_member() && request.is_relayed() {
            return self.forward(&request).await;
        }
        match request {
            Request::Status {} => plain(self.status().await?),
            Request::Submit { envelope, regions } => self.submit(envelope.as_bytes(), regions).await,
            Request::SubmitSigned { submission } => self.submit_signed(read_signed(&submission)?).await,
            Request::Jobs { limit } => self.jobs(limit).await,
            Request::Refusals {} => plain(json!({ "refusals": lookup::refusals(&self.storage)? })),
            Request::Show { job } => match self.find(&job).await? {
                (Found::Final(view), _) => plain(view.json(None)?),
                (Found::Open(record), note) => {
                    let mut shown = view::open_job(&record);
                    shown["current"] = json!(note.is_none());
                    plain(shown)
                }
                (Found::Refused(value), _) => plain(value),
            },
            Request::Fetch { job } => {
                let (found, note) = self.find(&job).await?;
                Ok(source::describe(&found, note.as_deref()))
            }
            Request::Artifact { job, kind } => {
                let view = self.require_final(&job).await?;
                let bytes = view.artifact(kind)?.to_vec();
                Ok((json!({ "job_id": view.id(), "kind": kind, "bytes": bytes.len() }), bytes))
            }
            Request::Receipt { job } => {
                let view = self.require_final(&job).await?;
                let bytes = view.file.receipt.to_bytes();
                Ok((json!({ "job_id": view.id(), "bytes": bytes.len() }), bytes))
            }
            Request::Bundle { job } => {
                let view = self.require_final(&job).await?;
                let bytes = bundle::pack(&self.storage, &view.file)?;
                Ok((json!({ "job_id": view.id(), "bytes": bytes.len() }), bytes))
            }
            Request::WhyPending { job } => self.why_pending(&job).await,
            Request::Cancel { job } => self.cancel(&job).await,
            Request::CancelSigned { cancellation } => self.cancel_signed(read_signed(&cancellation)?).await,
            Request::Invite { minutes, organization } => self.invite(minutes, organization).await,
            Request::Tickets {} => self.tickets().await,
            Request::Withdraw { ticket } => self.withdraw(&ticket).await,
            Request::Nodes {} => self.nodes().await,
            Request::Expel { node } => self.expel(&node).await,
            Request::Amend { admit, dismiss, seats } => self.amend(&admit, &dismiss, seats).await,
            Request::WhyIdle {} => self.why_idle().await,
            Request::Metrics {} => plain(json!({ "openmetrics": self.metrics() })),
            Request::Drain {} | Request::Pause {} | Request::Resume {} => self.set_mode(&request).await,
            Request::Limits { threads, ops } => self.set_limits(threads, ops).await,
            Request::Stop {} => {
                // Nobody listens any more if it stops already.
                let _ = self.stop.send(true);
                plain(json!({ "stopping": true }))
            }
            Request::PutArtifact { artifact, outline, last, until_ms } => {
                self.put_artifact(artifact, outline, last, until_ms).await
            }
            Request::PutPiece { artifact, index, bytes } => self.put_piece(artifact, index, bytes).await,
            Request::Artifacts {} => self.list_artifacts(),
            Request::CollectGarbage { dry } => self.collect_garbage(dry).await,
            Request::Watch { .. } | Request::GetArtifact { .. } | Request::FetchArtifact { .. } => {
                Err(CliError::Usage("this is for one client's connection".to_owned()))
            }
        }
    }

    /// Is this node a hub member?
    fn is_member(&self) -> bool {
        self.handle.seated().seating.seated.contains(&self.secret.public().id())
    }

    async fn submit(&self, envelope: &[u8], regions: Regions) -> Result<Answer, CliError> {
        // What no agent here can do waits for one that can: only what is wrong in itself is refused.
        let (job, terms) =
            Job::read(envelope).map_err(|problems| run::refuse(&self.storage, envelope, problems))?;
        let submission = Submission {
            envelope: Bytes(job.envelope(&terms)),
            offer: Offer { regions, ..Offer::default() },
            nonce: Bytes(home::random::<16>().map_err(CliError::Entropy)?.to_vec()),
            expires_ms: now_ms().max(self.handle.log_ms()) + limits::SUBMISSION_TTL_MS,
        };
        self.submit_signed(Signed::new(submission, self.handle.mesh(), &self.secret)).await
    }

    async fn submit_signed(&self, submission: Signed<Submission>) -> Result<Answer, CliError> {
        match self.handle.request(Ask::Submit(Box::new(submission))).await? {
            Reply::Accepted(job) => plain(json!({ "job_id": job })),
            other => Err(unexpected(other)),
        }
    }

    async fn open_jobs(&self) -> Result<Vec<crate::core::status::OpenJob>, CliError> {
        Ok(self.handle_status().await?.hub.map(|hub| hub.jobs).unwrap_or_default())
    }

    /// Unfinished jobs, then final ones, newest first.
    async fn jobs(&self, limit: Option<usize>) -> Result<Answer, CliError> {
        let current = self.catch_up().await?;
        let open = self.open_jobs().await?;
        // Those that have just become final are in the books after this.
        let current = current && self.catch_up().await?;
        let mut unfinished = Vec::new();
        for job in open {
            if self.storage.job(&job.job.0)?.is_none() {
                unfinished.push(job);
            }
        }
        // What enters the books now is listed there, and not as open too.
        let done = lookup::final_jobs(&self.storage, limit)?;
        unfinished.retain(|job| done.jobs.iter().all(|row| row["job_id"] != json!(job.job)));
        let mut jobs: Vec<Value> = unfinished.iter().map(standing::open_job).collect();
        jobs.extend(done.jobs);
        plain(json!({ "jobs": jobs, "more": done.more, "current": current }))
    }

    /// Has this member know all that was agreed on before now. False if nobody leads whom a majority follows: then what is
    /// read here is what this member last knew.
    async fn catch_up(&self) -> Result<bool, CliError> {
        match self.handle.request(Ask::Current).await? {
            Reply::Current => Ok(true),
            Reply::NoAnswer => Ok(false),
            other => Err(unexpected(other)),
        }
    }

    async fn which(&self, name: &str) -> Result<(Which, Option<String>), CliError> {
        // What is in the books stays as it is, whatever else has been agreed on.
        if let Ok(job) = name.parse::<JobId>()
            && self.storage.job(&job.0)?.is_some()
        {
            return Ok((Which::Final(job), None));
        }
        let current = self.catch_up().await?;
        let open = self.open_jobs().await?;
        let open: Vec<_> = open.into_iter().map(|job| (job.job, job.client_job_id)).collect();
        // What has become final between the two looks is in the books after this: otherwise an older job of the same
        // name would be taken for it.
        let is_open = open.iter().any(|open| lookup::is_called(open, name));
        let current = current && (is_open || self.catch_up().await?);
        match lookup::which(&self.storage, &open, name) {
            Ok((which @ Which::Open(_), _)) if !current => {
                Ok((which, Some(lookup::AS_LAST_KNOWN.to_owned())))
            }
            Err(CliError::NoJob(_)) if !current => Err(CliError::NoAnswer),
            found => found,
        }
    }

    async fn record(&self, job: JobId) -> Result<Option<Box<JobRecord>>, CliError> {
        match self.handle.request(Ask::Open(job)).await? {
            Reply::Open(record) => Ok(record),
            other => Err(unexpected(other)),
        }
    }

    /// The job of that name, with a note if there is something to say about the name.
    async fn find(&self, name: &str) -> Result<(Found, Option<String>), CliError> {
        let (which, note) = self.which(name).await?;
        let job = match which {
            Which::Refused(value) => return Ok((Found::Refused(value), note)),
            Which::Final(job) => job,
            Which::Open(job) => match self.record(job).await? {
                Some(record) => return Ok((Found::Open(record), note)),
                // It became final in between, and is in the books in a moment.
                None => {
                    self.recorded(job).await?;
                    job
                }
            },
        };
        let view = JobView::read(&self.storage, &job)?.ok_or_else(|| CliError::NoJob(name.to_owned()))?;
        Ok((Found::Final(Box::new(view)), note))
    }

    async fn require_final(&self, name: &str) -> Result<JobView, CliError> {
        match self.find(name).await?.0 {
            Found::Final(view) => Ok(*view),
            Found::Open(record) => Err(CliError::NotFinal(record.id)),
            Found::Refused(_) => Err(CliError::NoJob(name.to_owned())),
        }
    }

    async fn why_pending(&self, name: &str) -> Result<Answer, CliError> {
        let (which, note) = self.which(name).await?;
        let job = match which {
            Which::Open(job) => job,
            Which::Final(job) => return Err(self.ended(job)?),
            Which::Refused(_) => return Err(CliError::NoJob(name.to_owned())),
        };
        match self.handle.request(Ask::Pending(job)).await? {
            Reply::Pending(Some(reasons)) => {
                let reason = |reason: &crate::core::status::Reason| json!({ "code": reason.code, "text": reason.text });
                let reasons: Vec<Value> = reasons.iter().map(reason).collect();
                plain(json!({ "job_id": job, "reasons": reasons, "current": note.is_none() }))
            }
            Reply::Pending(None) => Err(self.ended(job)?),
            other => Err(unexpected(other)),
        }
    }

    /// That a job waits for nothing any more, and how it ended as far as the books have it.
    fn ended(&self, job: JobId) -> Result<CliError, CliError> {
        let view = JobView::read(&self.storage, &job)?;
        Ok(match view.map(|view| view.file.finished.record.state) {
            Some(state) => CliError::Ended { job, state },
            None => CliError::Final(job),
        })
    }

    async fn cancel(&self, name: &str) -> Result<Answer, CliError> {
        if !self.is_member() {
            let job = self.id_there(name).await?;
            let signed = Signed::new(Cancellation { job }, self.handle.mesh(), &self.secret);
            let cancellation = base64::encode(&canon::to_bytes(&signed));
            return self.forward(&Request::CancelSigned { cancellation }).await;
        }
        match self.which(name).await?.0 {
            Which::Open(job) => {
                cancel::give_up(&self.handle, &self.storage, &self.secret, job).await?;
                plain(json!({ "cancelled": job }))
            }
            Which::Final(job) => Err(CliError::Final(job)),
            Which::Refused(_) => Err(CliError::NoJob(name.to_owned())),
        }
    }

    async fn cancel_signed(&self, cancellation: Signed<Cancellation>) -> Result<Answer, CliError> {
        let job = cancellation.body.job;
        match self.handle.request(Ask::Cancel(Box::new(cancellation))).await? {
            Reply::Accepted(_) => {
                self.recorded(job).await?;
                plain(json!({ "cancelled": job }))
            }
            other => Err(unexpected(other)),
        }
    }

    /// Waits until a job that is final is in the books.
    async fn recorded(&self, job: JobId) -> Result<(), CliError> {
        let mut reports = self.handle.watch();
        while self.storage.job(&job.0)?.is_none() {
            // Whatever came, it is looked at again.
            if let Ok(Err(RecvError::Closed)) = timeout(BEAT, reports.recv()).await {
                return Err(Stopped.into());
            }
        }
        Ok(())
    }

    /// Tells a client of every step, until the job is final or the client gone.
    async fn watch(&self, name: Option<String>, out: &mut Answers) -> Result<Value, CliError> {
        let Some(name) = name else {
            let mut reports = self.handle.watch();
            loop {
                let told = match timeout(BEAT, reports.recv()).await {
                    Ok(Ok(report)) => out.event(&event(&report)).await,
                    Ok(Err(RecvError::Closed)) => return Err(Stopped.into()),
                    Ok(Err(RecvError::Lagged(missed))) => out.event(&json!({ "missed": missed })).await,
                    Err(_) => out.event(&json!({ "alive": true })).await,
                };
                if told.is_err() {
                    return Ok(Value::Null);
                }
            }
        };
        if !self.is_member() {
            return self.watch_there(&name, out).await;
        }
        // Before the look: no step is missed in between.
        let mut reports = self.handle.watch();
        let job = match self.which(&name).await?.0 {
            Which::Open(job) | Which::Final(job) => job,
            Which::Refused(_) => return Err(CliError::NoJob(name)),
        };
        loop {
            if let Some(record) = self.storage.job(&job.0)? {
                let file = crate::job_file::JobFile::decode(&record)?;
                return Ok(json!({ "job_id": job, "state": file.finished.record.state }));
            }
            let told = match timeout(BEAT, reports.recv()).await {
                Ok(Ok(report)) if report.job == job => out.event(&event(&report)).await,
                Ok(Ok(_) | Err(RecvError::Lagged(_))) => Ok(()),
                Ok(Err(RecvError::Closed)) => return Err(Stopped.into()),
                Err(_) => out.event(&json!({ "alive": true })).await,
            };
            if told.is_err() {
                return Ok(Value::Null);
            }
        }
    }
}

/// Reads what somebody signed, from base64 of its canonical bytes.
fn read_signed<T>(text: &str) -> Result<T, CliError>
where
    T: serde::Serialize + serde::de::DeserializeOwned,
{
    let bytes = base64::decode(text)
        .map_err(|error| CliError::Usage(format!("not base64: {error}; send canonical bytes in base64")))?;
    Ok(canon::from_bytes(&bytes, limits::CONTROL_BYTES)?)
}
