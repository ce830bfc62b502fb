//! The only event loop: it carries values between the core and the three ports, and nothing else.
//!
//! Its only clock is `tokio::time`, which is wall time in production and stands still in the simulator. Nothing leaves the
//! node before the batches that it follows from are durable (see `held.rs` for a mesh of one, where the core is told
//! sooner); after an error of the store nothing is done at all.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use forgemesh_consensus::raft::{Committed, Event, Failure, Members, Start, StartError};
use forgemesh_protocol::charter::{Charters, Seating};
use forgemesh_protocol::id::{MeshId, NodeId};
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::Message;
use forgemesh_storage::CommitError;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::{Duration, Instant};

use crate::core::availability::Availability;
use crate::core::hub::Halted;
use crate::core::{Asked, Core, Input, Now, Output, Progress, Reply, Request};
use crate::held::Held;
use crate::log::Log;
use crate::ports::{Brought, Executor, Mesh, Store};

/// Requests that wait for the loop.
const REQUESTS: usize = 256;
/// Progress reports that a slow observer may lag behind before it misses some.
const REPORTS: usize = 4_096;

/// The loop looks at the wall clock at least this often: it may be set while the node sleeps.
const LONGEST_WAIT_MS: u64 = 60_000;

/// A request on its way, with the channel for its answer.
type Call = (Request, oneshot::Sender<Reply>);

/// Why the loop ended.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    #[error("{0}")]
    Store(#[from] CommitError),
    #[error("{0}")]
    LogStart(#[from] StartError),
    #[error("{0}")]
    Log(#[from] Failure),
    #[error(
        "the hub's log in the data folder is older than its mesh, whose other members have gone on without it (is it a restored backup?); set FORGEMESH_HOME to an empty folder and join the mesh with a ticket and a key of its own"
    )]
    Forked,
    #[error("{0}")]
    Halted(#[from] Halted),
}

/// A node that runs: the core between its ports.
pub struct Driver<M, E, S> {
    core: Core,
    mesh: M,
    executor: E,
    store: S,
    /// The hub's log, in a member of the hub that has not started yet.
    log: Option<Start>,
    calls: mpsc::Receiver<Call>,
    caller: mpsc::Sender<Call>,
    reports: broadcast::Sender<Progress>,
    replies: BTreeMap<u64, oneshot::Sender<Reply>>,
    next_call: u64,
    /// The log here and the mesh's are two.
    forked: bool,
    /// The hub's log cannot be followed.
    halted: Option<Halted>,
    held: Held,
    /// The second in which each member of the log was last heard.
    heard: BTreeMap<NodeId, u64>,
    /// For observers.
    seating: watch::Sender<Arc<Seated>>,
    members: watch::Sender<Option<Arc<Members>>>,
    log_ms: Arc<AtomicU64>,
    /// Where questions of other nodes go, if anybody here answers them.
    desk: Option<mpsc::Sender<Asked>>,
}

/// How clients in this process reach the node.
#[derive(Clone)]
pub struct Handle {
    caller: mpsc::Sender<Call>,
    reports: broadcast::Sender<Progress>,
    seating: watch::Receiver<Arc<Seated>>,
    members: watch::Receiver<Option<Arc<Members>>>,
    log_ms: Arc<AtomicU64>,
    mesh: MeshId,
}

/// Who sits in the hub, as far as the node has heard, and by which charters.
#[derive(Debug)]
pub struct Seated {
    pub charters: Arc<Charters>,
    pub seating: Seating,
}

/// The node has stopped.
#[derive(Debug, thiserror::Error)]
#[error("the node has stopped; start it again")]
pub struct Stopped;

impl Handle {
    /// Asks the node; the answer comes when it is durable.
    pub async fn request(&self, request: Request) -> Result<Reply, Stopped> {
        let (answer, answered) = oneshot::channel();
        self.caller.send((request, answer)).await.map_err(|_| Stopped)?;
        answered.await.map_err(|_| Stopped)
    }

    /// Reports on all jobs, from now on.
    pub fn watch(&self) -> broadcast::Receiver<Progress> {
        self.reports.subscribe()
    }

    /// Who sits in the hub.
    pub fn seated(&self) -> Arc<Seated> {
        Arc::clone(&self.seating.borrow())
    }

    /// The members of the hub's log that are agreed on, as far as this node follows it. They are made the same as those who
    /// sit after these are named, so for a moment a hub bears fewer losses than its seats would.
    pub fn members(&self) -> Option<Arc<Members>> {
        self.members.borrow().clone()
    }

    /// The time of the newest entry in the hub's log, in milliseconds since 1970, as far as this node follows it; 0 if it
    /// does not. The hub holds expiries against it, and it never goes back.
    pub fn log_ms(&self) -> u64 {
        self.log_ms.load(Ordering::Relaxed)
    }

    /// The mesh the node belongs to.
    pub fn mesh(&self) -> MeshId {
        self.mesh
    }
}

impl<M: Mesh, E: Executor, S: Store> Driver<M, E, S> {
    pub(crate) fn new(core: Core, mesh: M, executor: E, store: S, log: Option<Start>) -> Self {
        let (caller, calls) = mpsc::channel(REQUESTS);
        let (reports, _) = broadcast::channel(REPORTS);
        let (charters, seating) = core.seating();
        let log_ms = core.hub().map_or(0, |hub| hub.state().now_ms);
        let seated = Seated { charters: Arc::new(charters.clone()), seating: seating.clone() };
        Driver {
            core,
            mesh,
            executor,
            store,
            log,
            calls,
            caller,
            reports,
            replies: BTreeMap::new(),
            next_call: 0,
            forked: false,
            halted: None,
            held: Held::default(),
            heard: BTreeMap::new(),
            seating: watch::channel(Arc::new(seated)).0,
            members: watch::channel(None).0,
            log_ms: Arc::new(AtomicU64::new(log_ms)),
            desk: None,
        }
    }

    /// A way to reach this node.
    pub fn handle(&self) -> Handle {
        Handle {
            caller: self.caller.clone(),
            reports: self.reports.clone(),
            seating: self.seating.subscribe(),
            members: self.members.subscribe(),
            log_ms: Arc::clone(&self.log_ms),
            mesh: self.core.mesh(),
        }
    }

    /// What other nodes ask of this one, from its first step on. A question that finds no room is lost; it is asked again.
    pub fn asked(&mut self) -> mpsc::Receiver<Asked> {
        let (desk, asked) = mpsc::channel(limits::ASKS);
        self.desk = Some(desk);
        asked
    }

    /// The node's logic, for readers.
    pub fn core(&self) -> &Core {
        &self.core
    }

    /// Lends the mesh so much of this node, from its first step on.
    pub fn make_available(&mut self, available: Availability) {
        self.core.make_available(available);
    }

    /// Runs until the store fails or `stop` is ready. `wall_ms` reads the wall clock, in milliseconds since 1970; it
    /// may be set while the node runs. What passes is measured by `tokio::time`.
    pub async fn run(
        mut self,
        mut wall_ms: impl FnMut() -> u64,
        stop: impl Future<Output = ()>,
    ) -> Result<(), DriverError> {
        let mut log = Log::start(self.log.take()).await?;
        self.members.send_replace(log.agreed_members().map(Arc::new));
        let started = Instant::now();
        let mut now = move || Now { wall_ms: wall_ms(), up_ms: started.elapsed().as_millis() as u64 };
        tokio::pin!(stop);
        self.step(&mut log, now(), Input::Tick);
        let mut low = false;
        loop {
            if self.forked {
                return Err(DriverError::Forked);
            }
            if let Some(halted) = self.halted {
                return Err(halted.into());
            }
            log.flush(now().wall_ms);
            if self.store.is_low() != low {
                low = !low;
                self.step(&mut log, now(), Input::DiskLow(low));
            }
            let wait = Duration::from_millis(self.core.next_deadline(now()).min(LONGEST_WAIT_MS));
            let input = tokio::select! {
                biased;
                () = &mut stop => return Ok(()),
                stored = self.store.next() => {
                    let token = Token::of(stored?);
                    self.held.stored().into_iter().for_each(|output| self.emit(output));
                    match token {
                        Token::Log(token) => {
                            log.stored(token);
                            continue;
                        }
                        Token::Core(token) if self.held.was_told(token) => continue,
                        Token::Core(token) => Input::Stored { token },
                    }
                }
                event = log.next() => match self.happened(&mut log, event)? {
                    Some(input) => input,
                    None => continue,
                },
                (ticket, done) = self.executor.next() => Input::Worked { ticket, done },
                // Before the mesh, which may never be silent; whoever calls waits for the answer before calling again.
                Some((request, answer)) = self.calls.recv() => {
                    self.next_call += 1;
                    self.replies.insert(self.next_call, answer);
                    Input::Request { token: self.next_call, request }
                }
                (from, brought) = self.mesh.next() => match brought {
                    Brought::Message(Message::Raft { bytes }) => {
                        if !self.core.may_replicate(&from) && !log.has(&from) {
                            continue;
                        }
                        log.receive(from, &bytes);
                        let second = started.elapsed().as_secs();
                        if self.heard.insert(from, second) == Some(second) {
                            continue;
                        }
                        Input::Heard { from }
                    }
                    Brought::Message(message) => Input::Message { from, message },
                    Brought::Met => Input::Met { node: from },
                    Brought::Parted => Input::Parted { node: from },
                },
                () = tokio::time::sleep(wait) => Input::Tick,
            };
            self.step(&mut log, now(), input);
        }
    }

    /// Does what the log wants done; what the core has to hear of it.
    fn happened(&mut self, log: &mut Log, event: Event) -> Result<Option<Input>, DriverError> {
        Ok(match event {
            Event::Write { token, batch, urgent } => {
                self.store.submit(Token::Log(token).number(), batch, urgent);
                self.held.submitted();
                None
            }
            Event::Send { to, bytes } => {
                // Entries may say what the core was told too early to be written.
                self.let_go(log, Output::Send { to, message: Message::Raft { bytes } });
                None
            }
            Event::Apply(entries) => {
                if entries.iter().any(|entry| matches!(entry, Committed::Other { .. })) {
                    self.members.send_replace(log.agreed_members().map(Arc::new));
                }
                Some(Input::Committed(entries))
            }
            Event::Restore { state, .. } => {
                self.members.send_replace(log.agreed_members().map(Arc::new));
                Some(Input::Restored { state })
            }
            Event::Led { term, leader } => {
                log.forget();
                Some(Input::Led { term, leader })
            }
            Event::Changed { token, result } => {
                log.is_last_change(token).then_some(Input::Reseated { done: result.is_ok() })
            }
            Event::Confirmed { token, next } => Some(Input::Confirmed { token, next }),
            Event::Failed(failure) => return Err(failure.into()),
        })
    }

    fn step(&mut self, log: &mut Log, now: Now, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut out = Vec::new();
            self.core.handle(now, input, &mut out);
            for output in out {
                match output {
                    Output::Store { token, batch, urgent } => {
                        let ahead = log.is_sole() && self.held.has_room();
                        self.store.submit(Token::Core(token).number(), batch, urgent && !ahead);
                        self.held.submitted();
                        if ahead {
                            self.held.tell(token);
                            inputs.push_back(Input::Stored { token });
                        }
                    }
                    Output::Propose(command) => log.propose(command),
                    Output::Confirm { token } => log.confirm(token),
                    Output::Snapshot { index, state } => log.snapshot(index, state),
                    Output::Reseat { voters, learners } => {
                        if log.change(voters, learners) {
                            inputs.push_back(Input::Reseated { done: true });
                        }
                    }
                    Output::Halt(halted) => {
                        self.halted = Some(halted);
                        return;
                    }
                    output => {
                        if let Output::Seated { seating, told: true, .. } = &output {
                            // Its own log knows of nobody else, and others have gone on without it.
                            let node = self.core.node();
                            let others = seating.seated.iter().any(|seated| *seated != node);
                            self.forked |= others && log.is_alone(node);
                        }
                        self.let_go(log, output);
                    }
                }
            }
        }
        if self.held.hurries() {
            self.store.hurry();
        }
        let log_ms = self.core.hub().map_or(0, |hub| hub.state().now_ms);
        self.log_ms.store(log_ms, Ordering::Relaxed);
    }

    /// Carries out an output, now or once what it follows from is durable.
    fn let_go(&mut self, log: &Log, output: Output) {
        let passed = self.held.pass(output, log.is_ahead());
        passed.into_iter().for_each(|output| self.emit(output));
    }

    /// Carries out what waits for nothing more to be durable.
    fn emit(&mut self, output: Output) {
        match output {
            Output::Reply { token, reply } => {
                if let Some(answer) = self.replies.remove(&token) {
                    // A client that went away does not want its answer.
                    let _ = answer.send(reply);
                }
            }
            Output::Send { to, message } => self.mesh.send(to, message),
            Output::Announce(message) => self.mesh.announce(message),
            Output::Provide(artifacts) => self.mesh.provide(artifacts),
            Output::Seek(artifact) => self.mesh.seek(artifact),
            Output::Vouch { node, belongs } => self.mesh.vouch(node, belongs),
            Output::Seated { charters, seating, .. } => {
                self.seating.send_replace(Arc::new(Seated { charters, seating }));
            }
            Output::Work { ticket, work } => self.executor.start(ticket, work),
            Output::Progress(progress) => {
                // Nobody watching is no error.
                let _ = self.reports.send(progress);
            }
            Output::Asked(asked) => {
                // Who asked asks again.
                self.desk.iter().for_each(|desk| drop(desk.try_send(asked.clone())));
            }
            // The log's and the store's: `step` has handed them over.
            Output::Propose(_) | Output::Confirm { .. } | Output::Snapshot { .. } => {}
            Output::Reseat { .. } | Output::Store { .. } | Output::Halt(_) => {}
        }
    }
}

/// Whose batch it is that the store was given.
enum Token {
    Core(u64),
    Log(u64),
}

impl Token {
    fn of(number: u64) -> Token {
        if number.is_multiple_of(2) { Token::Core(number / 2) } else { Token::Log(number / 2) }
    }

    fn number(&self) -> u64 {
        match self {
            Token::Core(token) => token * 2,
            Token::Log(token) => token * 2 + 1,
        }
    }
}
