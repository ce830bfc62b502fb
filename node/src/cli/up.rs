//! `forgemesh up` and `forgemesh down`: the node of a data folder, until it is told to stop.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::TryLockError;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::Args;
use forgemesh_protocol::genesis::Genesis;
use forgemesh_protocol::id::JobId;
use forgemesh_protocol::limits;
use forgemesh_storage::LOCK_FILE_NAME;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};

use super::client::Client;
use super::desk::{Desk, Operator};
use super::embedded::now_ms;
use super::error::CliError;
use super::home::{self, Home};
use super::network::{self, Network};
use super::reopen::living_on;
use super::{Common, print, print_json};
use crate::boot::{self, Membership, Parts};
use crate::config::Config;
use crate::core::Progress;
use crate::driver::Driver;
use crate::real::allocator;
use crate::real::control::request::Request;
use crate::real::control::{Control, told};
use crate::real::executor::{ThreadPool, Throttle};
use crate::real::processors::Processors;
use crate::real::store::StoreThread;
use crate::real::swarm::{self, SwarmHandle};
use crate::real::whereabouts::{Keeper, Whereabouts};

/// Where a node in the background writes its log, within its data folder.
pub const LOG_FILE_NAME: &str = "node.log";
/// How long a node in the background may take to start, and any node to stop.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

/// Arguments of `up`.
#[derive(Args)]
pub struct UpArgs {
    /// Return once the node runs; it goes on in the background and writes node.log in its data folder.
    #[arg(long)]
    detach: bool,
}

/// Starts the node of the data folder.
pub fn up(common: &Common, args: &UpArgs) -> Result<(), CliError> {
    if common.node.is_some() {
        return Err(CliError::Usage(
            "--node names a node that runs; `up` starts the one of --home".to_owned(),
        ));
    }
    if Client::find(common)?.is_some() {
        return Err(CliError::Runs { folder: home::folder(common)? });
    }
    let folder = home::folder(common)?;
    if !folder.exists() {
        return Err(CliError::NoMesh { folder });
    }
    if args.detach {
        return detach(common, folder);
    }
    allocator::keep();
    let home = home::open(common)?;
    let (stop, stopped) = watch::channel(false);
    heed_signals(stop.clone())?;
    let was_up = Cell::new(false);
    let pause = |pause| waits(pause, stopped.clone());
    living_on(common, home, &was_up, pause, |home| live(common, home, &stop, stopped.clone(), &was_up))?;
    log("stopped");
    Ok(())
}

/// Has the node stop when the system asks, whichever of its lives it is in, and between them.
fn heed_signals(stop: watch::Sender<bool>) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(CliError::Thread)?;
    let wait = move || {
        runtime.block_on(signalled());
        log("interrupted");
        stop.send_replace(true);
    };
    // Until the process ends.
    std::thread::Builder::new().name("forgemesh-signal".to_owned()).spawn(wait).map_err(CliError::Thread)?;
    Ok(())
}

/// Waits between two lives; true if the node was told to stop.
fn waits(pause: Duration, mut stopped: watch::Receiver<bool>) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else {
        std::thread::sleep(pause);
        return *stopped.borrow();
    };
    runtime.block_on(async { tokio::time::timeout(pause, told(&mut stopped)).await.is_ok() })
}

/// One life of the node: until it is told to stop, or its disk fails. Notes in `was_up` that it has come up.
fn live(
    common: &Common,
    home: &Home,
    stop: &watch::Sender<bool>,
    mut stopped: watch::Receiver<bool>,
    was_up: &Cell<bool>,
) -> Result<(), CliError> {
    let genesis =
        boot::genesis(&home.storage)?.ok_or_else(|| CliError::NoMesh { folder: home.folder.clone() })?;
    let config = Config::read(&home.folder)?.unwrap_or_default();
    let key = network::read_key(&home.folder)?;
    let runtime = swarm::runtime().map_err(CliError::Thread)?;
    let known = Whereabouts::read(&home.folder).unwrap_or_else(|error| {
        log(&error.to_string());
        Whereabouts::default()
    });
    let assembled = runtime.block_on(assemble(common, home, &genesis, &config, &known, key));
    let (mut driver, throttle, network) = assembled?;
    let processors = Processors::default();
    if config.idle_only {
        processors.read().map_err(CliError::Processors)?;
    }
    driver.make_available(config.availability(home.secret.public().id(), now_ms(), false));
    let asked = driver.asked();
    let handle = driver.handle();
    let reports = handle.watch();
    let keeper = |network| Keeper::new(home.folder.clone(), known, network, handle.clone());
    let mut keeper = network.clone().map(keeper);
    let desk = Desk {
        folder: home.folder.clone(),
        storage: home.storage.clone(),
        secret: home.secret.clone(),
        genesis: genesis.clone(),
        handle,
        config,
        throttle,
        network: network.clone(),
        network_key: key,
        stop: stop.clone(),
        operator: Mutex::new(Operator::default()),
        processors,
        idleness: Mutex::default(),
        asked: Mutex::new(Some(asked)),
        answering: Mutex::new(BTreeSet::new()),
    };
    let control = Control::start(&home.folder, Arc::new(desk))?;
    was_up.set(true);
    log(&format!("node {} of mesh {} ({})", home.secret.public().id(), genesis.mesh_id(), genesis.name));
    for address in network.iter().flat_map(|network| network.status().listen) {
        log(&format!("listens at {address}"));
    }
    runtime.spawn(allocator::tend());
    let ended = runtime.block_on(async {
        let watched = async {
            tokio::select! {
                () = told(&mut stopped) => log("told to stop"),
                () = follow(reports) => {}
                () = tend(keeper.as_mut()) => {}
            }
            if let Some(keeper) = &mut keeper {
                keeper.end().await;
            }
        };
        driver.run(now_ms, watched).await
    });
    // With it go the connections; what is being encoded or decoded is wanted by nobody any more.
    runtime.shutdown_background();
    // The last answers are given before the folder is closed.
    drop(control);
    Ok(ended?)
}

/// A node that is ready to run, what limits its executor, and what tells of its network.
type Assembled = (Driver<Network, ThreadPool, StoreThread>, Throttle, Option<SwarmHandle>);

/// The node's parts, put together.
async fn assemble(
    common: &Common,
    home: &Home,
    genesis: &Genesis,
    config: &Config,
    known: &Whereabouts,
    key: Option<[u8; 32]>,
) -> Result<Assembled, CliError> {
    let membership = match genesis.member(&home.secret.public()) {
        Some(_) => Membership::Founder { name: genesis.name.clone(), nonce: [0; 16] },
        None if home.is_guest()? => Membership::Joined(genesis.clone()),
        None => return Err(boot::BootError::ForeignKey.into()),
    };
    let charters = boot::charters(&home.storage, genesis.clone())?;
    let executor = home::executor(common, home, config)?;
    let throttle = executor.throttle();
    let store = StoreThread::start(home.storage.clone()).map_err(CliError::Thread)?;
    let told = network::config(&home.secret, &charters, config, key);
    let remembered = known.addresses().cloned().collect();
    let mesh = Network::start(swarm::Config { remembered, ..told }).await?;
    let network = mesh.handle();
    let parts = Parts {
        secret: home.secret.clone(),
        membership,
        stand: config.stand.then_some(limits::BEACON_LENGTH),
        mesh,
        executor,
        store,
    };
    Ok((boot::boot(&home.storage, parts)?, throttle, network))
}

/// Keeps where the hub's members are; of a node alone there is nothing to keep.
async fn tend(keeper: Option<&mut Keeper>) {
    match keeper {
        Some(keeper) => keeper.tend().await,
        None => std::future::pending().await,
    }
}

/// Ctrl-C, or the system asking.
async fn signalled() {
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        },
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}

/// Writes each job's steps into the log, as long as the node runs.
async fn follow(mut reports: broadcast::Receiver<Progress>) {
    let mut last: Option<(JobId, forgemesh_protocol::state::State)> = None;
    loop {
        match reports.recv().await {
            Ok(report) if report.recorded || last != Some((report.job, report.state)) => {
                last = Some((report.job, report.state));
                let what = if report.recorded { "in the books" } else { report.state.as_str() };
                log(&format!("job {} {what}", report.job.0.short()));
            }
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}

/// One line of the log, with the time of day (UTC).
fn log(text: &str) {
    let seconds = now_ms() / 1_000 % 86_400;
    let line = format!("{:02}:{:02}:{:02} {text}\n", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    // At once: standard error is not buffered, and would be written word by word. Nobody reading it is no error.
    drop(std::io::stderr().write_all(line.as_bytes()));
}

/// Starts this program again in the background, and waits until it answers.
fn detach(common: &Common, folder: PathBuf) -> Result<(), CliError> {
    // What it says of its settings nobody may read in its log. Why it does not start is told below.
    if let Ok(Some(config)) = Config::read(&folder) {
        home::warn(&config);
    }
    let path = folder.join(LOG_FILE_NAME);
    let failed = |source| CliError::Write { path: path.clone(), source };
    let log = std::fs::File::create(&path).map_err(failed)?;
    let program = std::env::current_exe().map_err(CliError::Thread)?;
    let mut command = Command::new(program);
    command.arg("--home").arg(&folder);
    if let Some(threads) = common.threads {
        command.arg("--threads").arg(threads.to_string());
    }
    // A group of its own: what ends this terminal does not end the node.
    command.arg("up").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0);
    let mut child = command.spawn().map_err(CliError::Thread)?;
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if child.try_wait().map_err(CliError::Thread)?.is_some() {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            return Err(CliError::NotStarted { log: path, last: last_words(&text) });
        }
        if let Some(mut client) = Client::find(common)? {
            let value = client.ask(&Request::Status {})?.value;
            if common.json {
                print_json(
                    &json!({ "pid": value["pid"], "node": value["node"], "log": path.display().to_string() }),
                );
            } else {
                print(&format!("node runs, process {}; its log is {}", value["pid"], path.display()));
            }
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
    Err(CliError::NotStarted { log: path, last: "it does not answer yet".to_owned() })
}

/// Why a node ended, by its log: the error, which may have several lines, or else the last one.
fn last_words(log: &str) -> String {
    let error = log.rfind("forgemesh: ").filter(|at| *at == 0 || log[..*at].ends_with('\n'));
    let words = match error {
        Some(at) => log[at..].trim_start_matches("forgemesh: "),
        None => log.lines().last().unwrap_or("it said nothing"),
    };
    words.trim_end().to_owned()
}

/// Stops the node, and returns once its folder is free.
pub fn down(common: &Common) -> Result<(), CliError> {
    let mut client = Client::require(common)?;
    let status = client.ask(&Request::Status {})?.value;
    let folder = PathBuf::from(status["folder"].as_str().unwrap_or_default());
    client.ask(&Request::Stop {})?;
    drop(client);
    let begun = Instant::now();
    while is_used(&folder) {
        if begun.elapsed() >= PATIENCE {
            return Err(CliError::Hung);
        }
        std::thread::sleep(PAUSE);
    }
    if common.json {
        print_json(&json!({ "stopped": true }));
    } else {
        print("stopped");
    }
    Ok(())
}

/// Does a process hold this data folder?
pub fn is_used(folder: &Path) -> bool {
    let lock = std::fs::File::open(folder.join(LOCK_FILE_NAME));
    lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
}

#[cfg(test)]
mod tests {
    use super::last_words;

    #[test]
    fn a_node_that_did_not_start_has_said_why() {
        let settings = "forgemesh: config.toml, line 2: invalid type: string \"yes\", expected a boolean, in \"mdns = \"yes\"\"; mend that line, or put a # before it\n";
        // An error of a library may have several lines.
        let lines = "12:00:00 up\nforgemesh: the network does not start: no address\nleft: it says why\n";
        for (log, words) in [
            ("", "it said nothing"),
            ("12:00:00 up\n12:00:01 gone\n", "12:00:01 gone"),
            (settings, settings.trim_start_matches("forgemesh: ").trim_end()),
            (lines, "the network does not start: no address\nleft: it says why"),
            ("12:00:00 up\nforgemesh: no disk\n", "no disk"),
            ("12:00:00 said forgemesh: up\n", "12:00:00 said forgemesh: up"),
        ] {
            assert_eq!(last_words(log), words);
        }
    }
}
