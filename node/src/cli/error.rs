//! What can go wrong on the command line, and the exit code of each.

use std::path::PathBuf;
use std::process::ExitCode;

use forgemesh_kernel::registry::PROFILES;
use forgemesh_protocol::failure::Failure;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{JobId, MeshId, NodeId};
use forgemesh_protocol::problem::Problems;
use forgemesh_protocol::state::State;
use forgemesh_storage::CommitError;
use serde_json::{Value, json};

use super::{hint, interrupt};
use crate::boot::BootError;
use crate::driver::DriverError;
use crate::real::worker::inside::WorkerError;
use crate::stderr;

/// Every error of the command line; each message names its cure.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    #[error("refused:\n{problems}{}", record.map_or(String::new(), |id| format!("\nrecorded as refusal {id}")))]
    Refused { problems: Problems, record: Option<Hash> },
    #[error("cannot read {}: {}; check the path and its permissions", path.display(), reason(source))]
    Read { path: PathBuf, source: std::io::Error },
    #[error(
        "cannot read {}: no such file; check the path, or name an operation, such as {}: `forgemesh op ls` lists them",
        path.display(),
        example(near)
    )]
    NoJobFile { path: PathBuf, near: Vec<String> },
    #[error("{} is a folder; give the file receipt.json in it", path.display())]
    Folder { path: PathBuf },
    #[error("cannot write {}: {source}; check the path, its permissions and the disk", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error("{} is there already; give another name, or --force to write over it", path.display())]
    Exists { path: PathBuf },
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Open(#[from] forgemesh_storage::OpenError),
    #[error("{0}")]
    Key(#[from] forgemesh_storage::KeyFileError<getrandom::Error>),
    #[error("{}", match .0 { BootError::Commit(error @ CommitError::DiskFull) => commit(error), other => other.to_string() })]
    Boot(#[from] BootError),
    #[error("the data folder cannot be read: {0}")]
    Storage(#[from] forgemesh_storage::ReadError),
    #[error("the data folder cannot be written: {0}")]
    Commit(#[from] CommitError),
    #[error("{}", match .0 { DriverError::Store(error) => commit(error), other => other.to_string() })]
    Driver(#[from] DriverError),
    #[error("{0}")]
    Stopped(#[from] crate::driver::Stopped),
    #[error("{0}")]
    Isa(#[from] forgemesh_kernel::backend::IsaError),
    #[error("no random numbers from the system: {0}; try again")]
    Entropy(getrandom::Error),
    #[error("the system refuses a thread: {0}; raise the limit on threads or lower --threads")]
    Thread(std::io::Error),
    #[error("idle_only needs /proc/stat, which cannot be read here: {0}; take idle_only out of config.toml")]
    Processors(std::io::Error),
    #[error("the program cannot be found to start it again as a worker: {0}; install it anew")]
    Worker(std::io::Error),
    #[error("{0}")]
    InWorker(#[from] WorkerError),
    #[error("the hub refuses: {0}")]
    Rejected(crate::core::Rejected),
    #[error("the hub refuses it: {0}")]
    RefusedByHub(String),
    #[error(
        "no hub member leads, or none can be reached; what was asked may still be done, and asking again does no harm: `forgemesh doctor` looks for the cause"
    )]
    NoAnswer,
    #[error("too many requests wait in this node; try again in a while")]
    Busy,
    #[error(
        "the disk is nearly full: no new job is taken; free some space, or set FORGEMESH_HOME to a folder on another disk"
    )]
    DiskLow,
    #[error("job {job} failed: {failure}")]
    JobFailed { job: JobId, failure: Box<Failure> },
    #[error(
        "interrupted; job {0} is durable: run the same file again, or `forgemesh job resume`, to finish it"
    )]
    Interrupted(JobId),
    #[error(
        "interrupted; the job goes on: `forgemesh job watch {short}` shows how, `forgemesh job cancel {short}` gives it up",
        short = short(.0)
    )]
    Left(String),
    #[error("no job matches \"{0}\"; `forgemesh job ls` lists them")]
    NoJob(String),
    #[error("\"{0}\" matches more than one job; give more digits of the id")]
    ManyJobs(String),
    #[error("job {0} is finished: there is nothing to cancel; `forgemesh job show {short}` says how it ended", short = .0.0.short())]
    Final(JobId),
    #[error("job {job} is finished ({}) and waits for nothing; {}", state.as_str(), ended(job, *state))]
    Ended { job: JobId, state: State },
    #[error("job {0} is not final yet; `forgemesh job resume` finishes it")]
    NotFinal(JobId),
    #[error(
        "artifact {name} of job {job} is not kept: it was not asked for, or submitted with \"persist\": false"
    )]
    NoArtifact { job: JobId, name: &'static str },
    #[error(
        "no node that could be asked has artifact {0}; check the address, and with `forgemesh node ls` that the node which put it is up"
    )]
    NoSuchArtifact(Hash),
    #[error(
        "artifact {0} is not in this data folder, or not all of it; start its node with `forgemesh up` and ask again: it has it from the others"
    )]
    NotInFolder(Hash),
    #[error("these are not the bytes of artifact {0}; put the file again")]
    NotOfArtifact(Hash),
    #[error("{} has changed while it was read; put it again", path.display())]
    FileChanged { path: PathBuf },
    #[error("{0}")]
    Bundle(#[from] crate::bundle::BundleError),
    #[error("{0}")]
    Damaged(#[from] forgemesh_protocol::canon::CanonError),
    #[error("the picture cannot be drawn: {0}; please report it")]
    Picture(#[from] crate::picture::PictureError),
    #[error("{0}")]
    Replay(String),
    #[error("{what}: verification FAILED\n{failures}")]
    Verification { what: String, failures: String },
    #[error("{}", .0["message"].as_str().unwrap_or("the node refused without a reason"))]
    Node(Value),
    #[error("no node runs on {}; start one with `forgemesh up`", folder.display())]
    NoNode { folder: PathBuf },
    #[error(
        "no node runs on {}, which belongs to no mesh yet; `forgemesh init` makes one, `forgemesh join TICKET` joins one, and `forgemesh up` starts its node then",
        folder.display()
    )]
    NoNodeNorMesh { folder: PathBuf },
    #[error("cannot reach the node at {}: {source}; it is its owner's alone", path.display())]
    Socket { path: PathBuf, source: std::io::Error },
    #[error("the node ended in the middle of an answer; `forgemesh status` says whether it runs")]
    Hung,
    #[error("{0}")]
    Config(#[from] crate::config::ConfigError),
    #[error("{0}")]
    Control(#[from] crate::real::control::ControlError),
    #[error("{0}")]
    Swarm(#[from] crate::real::swarm::SwarmError),
    #[error("a node runs on {} already; `forgemesh status` shows it, `forgemesh down` stops it", folder.display())]
    Runs { folder: PathBuf },
    #[error("{} belongs to no mesh yet; `forgemesh init` makes one, `forgemesh join TICKET` joins one", folder.display())]
    NoMesh { folder: PathBuf },
    #[error(
        "{} belongs to mesh {mesh} already; start it with `forgemesh up`, have others join with `forgemesh ticket create`, or give another folder: --home DIR before the command, or FORGEMESH_HOME",
        folder.display()
    )]
    HasMesh { folder: PathBuf, mesh: MeshId },
    #[error(
        "{} was not written by forgemesh and stays as it is; move it away, or take what you need from `forgemesh service install --print`",
        path.display()
    )]
    ForeignUnit { path: PathBuf },
    #[error("`{command}` failed: {said}; `journalctl --user --unit forgemesh` may say more")]
    Systemd { command: String, said: String },
    #[error("{0}")]
    Unit(#[from] super::service::Unnameable),
    #[error("the node did not start: {last}; see {}", log.display())]
    NotStarted { log: PathBuf, last: String },
    #[error("{} can be read by others; if nobody did, run: chmod 600 {}", path.display(), path.display())]
    LooseKey { path: PathBuf },
    #[error("{} is no network key; copy it from another node of the mesh", path.display())]
    NetworkKey { path: PathBuf },
    #[error("the hub does not admit this node: {0}")]
    NotAdmitted(String),
    #[error(
        "no hub member answers at {0}; see that it runs, that no firewall stands between, and that the ticket is of this network"
    )]
    HubUnreachable(String),
    #[error(
        "nobody listens at {0}; is the node up there? Start it there with `forgemesh up`, and if it has moved, make a new ticket on it"
    )]
    NobodyListens(String),
    #[error("no ticket, or more than one, begins with \"{0}\"; `forgemesh ticket ls` lists them")]
    NoTicket(String),
    #[error("no node, or more than one, is called \"{0}\"; `forgemesh node ls` lists them")]
    NoSuchNode(String),
    #[error(
        "node {0} does not stand for the hub; write `stand = true` in its config.toml and start it again"
    )]
    NoCandidate(NodeId),
    #[error(
        "node {0} listens nowhere, and members of the hub must reach each other: write an address that the others reach under \
         `listen` in its config.toml, or a member's with /p2p-circuit at its end, and start it again"
    )]
    NotDialable(NodeId),
    #[error("{}", match failed { 1 => "1 check failed; it names its fix".to_owned(), _ => format!("{failed} checks failed; each names its fix") })]
    Unwell { failed: usize, json: bool },
    #[error("{0}")]
    Ticket(#[from] forgemesh_protocol::ticket::TicketError),
    #[error("replay of {what} FAILED: {detail}")]
    ReplayDiffers { what: String, detail: String },
}

/// An operation that may be meant, or else any.
fn example(near: &[String]) -> String {
    let any = || PROFILES.last().map(|profile| profile.op().to_string());
    near.first().cloned().or_else(any).unwrap_or_default()
}

/// The beginning of a job's id, or the name that its client gave it.
fn short(job: &str) -> &str {
    if job.parse::<JobId>().is_ok() { job.get(..8).unwrap_or(job) } else { job }
}

/// Where to look at a job that has ended.
fn ended(job: &JobId, state: State) -> String {
    let job = job.0.short();
    match state {
        State::Finalized => {
            format!(
                "`forgemesh job result {job}` shows its result, `forgemesh job receipt {job}` its receipt"
            )
        }
        _ => format!("`forgemesh job show {job}` says why, `forgemesh job receipt {job}` shows its receipt"),
    }
}

/// What the system said, in words for people.
fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "no such file".to_owned(),
        _ => error.to_string(),
    }
}

/// A commit of a node that has jobs. Storage knows folders and no commands, so its cure for a full disk is translated.
fn commit(error: &CommitError) -> String {
    match error {
        CommitError::DiskFull => {
            "the disk is full; what was accepted is kept: free some space, then run the same file again, or \
             `forgemesh job resume`"
                .to_owned()
        }
        _ => error.to_string(),
    }
}

impl CliError {
    fn exit_code(&self) -> u8 {
        match self {
            CliError::Refused { .. } | CliError::Usage(_) | CliError::Isa(_) => 2,
            CliError::InWorker(WorkerError::NoNode) => 2,
            CliError::Config(_) | CliError::Ticket(_) | CliError::NoTicket(_) | CliError::NoSuchNode(_) => 2,
            CliError::NoCandidate(_) | CliError::NotDialable(_) => 2,
            CliError::NoMesh { .. } | CliError::HasMesh { .. } => 2,
            CliError::Node(error) => {
                error["exit"].as_u64().and_then(|exit| u8::try_from(exit).ok()).unwrap_or(1)
            }
            CliError::Read { .. } | CliError::NoJobFile { .. } | CliError::Folder { .. } => 2,
            CliError::NoJob(_) | CliError::ManyJobs(_) => 2,
            CliError::Verification { .. } | CliError::ReplayDiffers { .. } => 3,
            CliError::Interrupted(_) | CliError::Left(_) => interrupt::EXIT,
            _ => 1,
        }
    }

    fn code(&self) -> &str {
        match self {
            CliError::Node(error) => error["code"].as_str().unwrap_or("node"),
            CliError::NoNode { .. } | CliError::NoNodeNorMesh { .. } => "no_node",
            CliError::Socket { .. } | CliError::Hung => "node_unreachable",
            CliError::Config(_) => "config",
            CliError::Control(_) => "control",
            CliError::Ticket(_) | CliError::NoTicket(_) => "ticket",
            CliError::Swarm(_) => "network",
            CliError::Runs { .. } => "node_runs",
            CliError::NoMesh { .. } => "no_mesh",
            CliError::HasMesh { .. } => "has_mesh",
            CliError::NotStarted { .. } => "not_started",
            CliError::LooseKey { .. } | CliError::NetworkKey { .. } => "network_key",
            CliError::NotAdmitted(_) => "not_admitted",
            CliError::ForeignUnit { .. } | CliError::Systemd { .. } | CliError::Unit(_) => "service",
            CliError::HubUnreachable(_) | CliError::NobodyListens(_) => "hub_unreachable",
            CliError::NoAnswer | CliError::Busy => "hub_unreachable",
            CliError::NoSuchNode(_) => "no_such_node",
            CliError::NoCandidate(_) => "no_candidate",
            CliError::NotDialable(_) => "not_dialable",
            CliError::Unwell { .. } => "unwell",
            CliError::Refused { .. } => "refused",
            CliError::Read { .. } | CliError::NoJobFile { .. } | CliError::Folder { .. } => "cannot_read",
            CliError::Write { .. } => "cannot_write",
            CliError::Exists { .. } => "file_exists",
            CliError::Usage(_) | CliError::Isa(_) | CliError::InWorker(WorkerError::NoNode) => "usage",
            CliError::Open(forgemesh_storage::OpenError::InUse { .. }) => "data_folder_in_use",
            CliError::Open(_) | CliError::Key(_) | CliError::Boot(_) | CliError::Storage(_) => "data_folder",
            CliError::Commit(_) | CliError::Driver(_) | CliError::Stopped(_) => "storage_failed",
            CliError::Entropy(_) | CliError::Thread(_) | CliError::Processors(_) => "system",
            CliError::Worker(_) | CliError::InWorker(_) => "system",
            CliError::Rejected(_) | CliError::RefusedByHub(_) => "rejected",
            CliError::DiskLow => "disk_low",
            CliError::JobFailed { failure, .. } => failure.code.as_str(),
            CliError::Interrupted(_) | CliError::Left(_) => "interrupted",
            CliError::NoJob(_) | CliError::ManyJobs(_) => "no_such_job",
            CliError::NotFinal(_) => "not_final",
            CliError::Final(_) | CliError::Ended { .. } => "already_final",
            CliError::NoArtifact { .. } | CliError::Bundle(_) => "no_artifact",
            CliError::NoSuchArtifact(_) | CliError::NotInFolder(_) => "no_such_artifact",
            CliError::NotOfArtifact(_) | CliError::FileChanged { .. } => "artifact_differs",
            CliError::Damaged(_) => "damaged",
            CliError::Picture(_) | CliError::Replay(_) => "internal",
            CliError::Verification { .. } => "verification_failed",
            CliError::ReplayDiffers { .. } => "replay_differs",
        }
    }

    /// The error as one JSON object, with the exit code of a command that ends with it.
    pub fn object(&self) -> Value {
        if let CliError::Node(error) = self {
            return error.clone();
        }
        let mut error = json!({ "code": self.code(), "message": self.to_string(), "exit": self.exit_code() });
        match self {
            CliError::Refused { problems, record } => {
                let problem = |p| serde_json::to_value(p).unwrap_or_default();
                error["problems"] = problems.iter().map(problem).collect();
                error["refusal"] = json!(record);
            }
            CliError::JobFailed { job, failure } => {
                error["job_id"] = json!(job);
                error["phase"] = json!(failure.phase);
            }
            CliError::Interrupted(job) | CliError::NotFinal(job) => error["job_id"] = json!(job),
            CliError::Left(job) => {
                // It may be the beginning of an id, or its client's name for it.
                job.parse::<JobId>().into_iter().for_each(|job| error["job_id"] = json!(job));
            }
            _ => {}
        }
        error
    }

    /// Do the commands that it names belong on another machine, or in another folder?
    fn is_of_others(&self) -> bool {
        matches!(
            self,
            CliError::Ticket(_)
                | CliError::Config(_)
                | CliError::NobodyListens(_)
                | CliError::HubUnreachable(_)
        )
    }

    /// Says what went wrong, as text or as one JSON object, and gives the exit code.
    pub fn report(&self, as_json: bool) -> ExitCode {
        if matches!(self, CliError::Unwell { json: true, .. }) {
            // The checks themselves were printed: one object is enough.
        } else if as_json {
            let mut error = self.object();
            let mut value = json!({});
            if let Some(fields) = error.as_object_mut() {
                // The process's own exit code says it.
                fields.remove("exit");
                fields.remove("job_id").into_iter().for_each(|job| value["job_id"] = job);
            }
            value["error"] = error;
            super::print_json(&value);
        } else {
            let text = self.to_string();
            stderr::say(&format!(
                "forgemesh: {}",
                if self.is_of_others() { text } else { hint::whole(&text) }
            ));
        }
        ExitCode::from(self.exit_code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_id_is_called_one() {
        let id = "ab".repeat(32);
        assert_eq!(CliError::Left(id.clone()).object()["job_id"], json!(id));
        for name in ["abababab", "my-name-for-it"] {
            assert_eq!(CliError::Left(name.to_owned()).object().get("job_id"), None, "{name}");
        }
    }

    #[test]
    fn a_disk_that_fills_in_mid_job_names_the_commands_that_go_on() {
        let running = CliError::from(DriverError::Store(CommitError::DiskFull));
        let starting = CliError::from(BootError::Commit(CommitError::DiskFull));
        for text in [running.to_string(), starting.to_string()] {
            for part in ["free some space", "run the same file again", "`forgemesh job resume`"] {
                assert!(text.contains(part), "{part} is not in {text}");
            }
        }
        let other = CommitError::Io { detail: "the cable was loose".to_owned() };
        assert_eq!(CliError::from(DriverError::Store(other.clone())).to_string(), other.to_string());
    }
}
