//! `forgemesh dev cluster`: a whole mesh on this machine, for trying things out: real processes, real sockets, one folder.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use forgemesh_protocol::canon;
use forgemesh_protocol::charter::Charters;
use forgemesh_protocol::genesis::Genesis;
use forgemesh_protocol::limits;
use forgemesh_storage::{Batch, MetaKey};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use super::client::Client;
use super::error::CliError;
use super::home::Home;
use super::{Common, address, home, network, print, print_json, up};
use crate::boot;
use crate::config::{CONFIG_FILE_NAME, Config};
use crate::real::control::request::Request;

/// How long the nodes may take to start, and to stop.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the view is renewed.
const LOOK: Duration = Duration::from_millis(250);
/// Open jobs that the view shows.
const SHOWN_JOBS: usize = 8;
/// Nodes of one cluster.
const NODES: u8 = 50;

/// Tools for developers.
#[derive(Subcommand)]
pub enum DevCommand {
    /// Start several nodes on this machine as one mesh, show how they stand, and stop them with Ctrl-C.
    Cluster(ClusterArgs),
}

/// Arguments of `dev cluster`.
#[derive(Args)]
pub struct ClusterArgs {
    /// Nodes in all.
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=50))]
    nodes: u8,
    /// Hub members among them: 1, 3 or 5 [default: 3, or 1 if there are fewer nodes].
    #[arg(long, value_name = "N")]
    hub: Option<u8>,
    /// Where the nodes have their data folders, n1, n2, …: kept, and gone on with the next time [default: a
    /// temporary folder, removed at the end].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Runs what was asked for.
pub fn dev(common: &Common, command: &DevCommand) -> Result<(), CliError> {
    match command {
        DevCommand::Cluster(args) => cluster(common, args),
    }
}

/// One node of the cluster.
struct Node {
    name: String,
    folder: PathBuf,
    process: Child,
    exit: Option<String>,
}

fn cluster(common: &Common, args: &ClusterArgs) -> Result<(), CliError> {
    let hub = args.hub.unwrap_or(if args.nodes >= 3 { 3 } else { 1 });
    if !matches!(hub, 1 | 3 | 5) || hub > args.nodes || args.nodes > NODES {
        let text =
            format!("a hub has 1, 3 or 5 members, and no more than the {} nodes there are", args.nodes);
        return Err(CliError::Usage(text));
    }
    let scratch = std::env::temp_dir().join(format!("forgemesh-dev-{}", std::process::id()));
    let dir = args.dir.clone().unwrap_or_else(|| scratch.clone());
    let ended = run(common, &dir, args.nodes, hub);
    if args.dir.is_none() {
        // Also what a failed start has left; most of it is of no use to anybody.
        let _ = std::fs::remove_dir_all(&scratch);
    }
    ended
}

fn run(common: &Common, dir: &Path, count: u8, hub: u8) -> Result<(), CliError> {
    let interrupted = interruption()?;
    let folders: Vec<PathBuf> = (1..=count).map(|i| dir.join(format!("n{i}"))).collect();
    // Before anything is touched: what runs there is somebody else's to stop.
    if let Some(folder) = folders.iter().find(|folder| up::is_used(folder)) {
        return Err(CliError::Runs { folder: folder.clone() });
    }
    if !folders.iter().all(|folder| folder.join(CONFIG_FILE_NAME).exists()) {
        found(common, &folders, usize::from(hub), share(common, count))?;
    }
    let mut nodes = Vec::new();
    let at_once = home::threads(common);
    let begun = folders.iter().try_for_each(|folder| {
        nodes.push(start(common, folder, count)?);
        // No more are starting at once than there are cores: the hub members among them have to hear each other.
        let starting = nodes.len().saturating_sub(at_once);
        wait_for(&mut nodes, &interrupted, |nodes| {
            nodes[starting.saturating_sub(1)..starting].iter().all(|node| client(common, node).is_some())
        })
    });
    let knows = |node: &Node| status(common, node).is_some_and(|status| status["leader"].is_string());
    let all_know = |nodes: &[Node]| nodes.iter().all(knows);
    let ended = begun.and_then(|()| wait_for(&mut nodes, &interrupted, all_know)).and_then(|()| {
        announce(common, dir, &nodes);
        watch(common, &mut nodes, &interrupted)
    });
    let stopped = stop(common, &mut nodes);
    ended.and(stopped)
}

/// Makes a mesh of which the first nodes are the hub, and all the data folders.
fn found(common: &Common, folders: &[PathBuf], hub: usize, threads: u16) -> Result<(), CliError> {
    let open =
        |folder: &PathBuf| home::open(&Common { home: Some(folder.clone()), node: None, ..common.clone() });
    let homes = folders.iter().map(open).collect::<Result<Vec<Home>, _>>()?;
    let nonce = home::random::<16>().map_err(CliError::Entropy)?;
    let secrets: Vec<_> = homes.iter().take(hub).map(|home| home.secret.clone()).collect();
    let (genesis, beacons) =
        boot::found_together(&secrets, "cluster".to_owned(), nonce, limits::BEACON_LENGTH);
    // One for each: a port is free until its node has started.
    let mut listens = BTreeSet::new();
    while listens.len() < homes.len() {
        listens.insert(address::settle_port("/ip4/127.0.0.1/tcp/0")?);
    }
    let mut addresses = Vec::new();
    for (home, listen) in homes.iter().zip(&listens).take(hub) {
        let config = Config { listen: vec![listen.clone()], ..Config::default() };
        addresses.push(address::of(network::config(
            &home.secret,
            &Charters::new(genesis.clone()),
            &config,
            None,
        ))?);
    }
    for (i, (home, listen)) in homes.iter().zip(&listens).enumerate() {
        let others = addresses.iter().enumerate().filter(|(j, _)| *j != i);
        let bootstrap: Vec<String> = others.flat_map(|(_, addresses)| addresses.clone()).collect();
        let path = home.folder.join(CONFIG_FILE_NAME);
        // For whoever starts one of them by hand, too.
        let settings = Config::template(std::slice::from_ref(listen), &bootstrap, Some(threads));
        std::fs::write(&path, settings).map_err(|source| CliError::Write { path, source })?;
        match beacons.get(i) {
            Some(beacon) => place(home, &genesis, beacon.checkpoint_bytes())?,
            None => home.enter(&genesis, None, None)?,
        }
    }
    Ok(())
}

fn place(home: &Home, genesis: &Genesis, beacon: Vec<u8>) -> Result<(), CliError> {
    let mut batch = Batch::new();
    batch.put_meta(MetaKey::Beacon, beacon);
    batch.put_meta(MetaKey::Genesis, canon::to_bytes(genesis));
    Ok(home.storage.commit(&batch)?)
}

/// How many threads each of so many nodes has: they share the cores.
fn share(common: &Common, count: u8) -> u16 {
    u16::try_from(home::threads(common) / usize::from(count)).unwrap_or(u16::MAX).clamp(1, 1024)
}

/// Starts the node of a folder; its log is beside it.
fn start(common: &Common, folder: &Path, count: u8) -> Result<Node, CliError> {
    let path = folder.join(up::LOG_FILE_NAME);
    let log = File::create(&path).map_err(|source| CliError::Write { path, source })?;
    let program = std::env::current_exe().map_err(CliError::Thread)?;
    let mut command = Command::new(program);
    command.arg("--home").arg(folder).arg("--threads").arg(share(common, count).to_string()).arg("up");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    // Ctrl-C reaches this process alone; it stops the others in order.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let process = command.spawn().map_err(CliError::Thread)?;
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Node { name, folder: folder.to_path_buf(), process, exit: None })
}

/// A client of one node; none while it does not answer.
fn client(common: &Common, node: &Node) -> Option<Client> {
    Client::find(&Common { node: Some(node.folder.clone()), ..common.clone() }).ok().flatten()
}

fn status(common: &Common, node: &Node) -> Option<Value> {
    Some(client(common, node)?.ask(&Request::Status {}).ok()?.value)
}

/// Until something holds of the nodes, all of which must run meanwhile, or the user has enough.
fn wait_for(
    nodes: &mut [Node],
    interrupted: &AtomicBool,
    holds: impl Fn(&[Node]) -> bool,
) -> Result<(), CliError> {
    let begun = Instant::now();
    while !interrupted.load(Ordering::Relaxed) {
        look_after(nodes)?;
        if holds(nodes) {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            return Err(CliError::Usage("the nodes do not find each other; their logs say why".to_owned()));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Notes who has ended. None may, while the cluster starts.
fn look_after(nodes: &mut [Node]) -> Result<(), CliError> {
    for node in nodes {
        if let Some(exit) = node.process.try_wait().map_err(CliError::Thread)? {
            let log = node.folder.join(up::LOG_FILE_NAME);
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let last = text.lines().last().unwrap_or("it said nothing").to_owned();
            node.exit = Some(exit.to_string());
            return Err(CliError::NotStarted { log, last });
        }
    }
    Ok(())
}

fn announce(common: &Common, dir: &Path, nodes: &[Node]) {
    let folder = dir.display();
    if common.json {
        let node = |node: &Node| json!({ "name": node.name, "folder": node.folder.display().to_string(), "pid": node.process.id() });
        let nodes: Vec<Value> = nodes.iter().map(node).collect();
        return print_json(&json!({ "folder": folder.to_string(), "nodes": nodes }));
    }
    print(&format!("{} nodes run in {folder}; in another terminal:", nodes.len()));
    print(&format!("  forgemesh --node {folder}/{} job submit FILE", nodes[nodes.len() - 1].name));
    print(&format!("  forgemesh --node {folder}/n1 status"));
    print("Ctrl-C stops them");
}

/// Shows how all of them stand until the user has enough.
fn watch(common: &Common, nodes: &mut [Node], interrupted: &AtomicBool) -> Result<(), CliError> {
    let lines = MultiProgress::new();
    let style = ProgressStyle::with_template("{wide_msg}").expect("invariant: a valid template");
    let line = || lines.add(ProgressBar::new_spinner().with_style(style.clone()));
    let shown = std::io::stderr().is_terminal() && !common.json;
    let node_lines: Vec<ProgressBar> = nodes.iter().map(|_| line()).collect();
    let job_lines: Vec<ProgressBar> = (0..SHOWN_JOBS).map(|_| line()).collect();
    while !interrupted.load(Ordering::Relaxed) {
        std::thread::sleep(LOOK);
        for node in nodes.iter_mut() {
            if node.exit.is_none() {
                node.exit = node.process.try_wait().map_err(CliError::Thread)?.map(|exit| exit.to_string());
            }
        }
        if !shown {
            continue;
        }
        let standing: Vec<Option<Value>> = nodes.iter().map(|node| status(common, node)).collect();
        for ((node, status), line) in nodes.iter().zip(&standing).zip(&node_lines) {
            line.set_message(node_line(node, status.as_ref()));
        }
        let leads = |status: &&Option<Value>| status.as_ref().is_some_and(|status| status["leads"] == true);
        let leader = nodes.iter().zip(&standing).find(|(_, status)| leads(status)).map(|(node, _)| node);
        let jobs = leader
            .and_then(|node| client(common, node)?.ask(&Request::Jobs { limit: Some(job_lines.len()) }).ok());
        let jobs = jobs.and_then(|jobs| jobs.value["jobs"].as_array().cloned()).unwrap_or_default();
        for (i, line) in job_lines.iter().enumerate() {
            line.set_message(jobs.get(i).map(job_line).unwrap_or_default());
        }
    }
    for line in node_lines.iter().chain(&job_lines) {
        line.finish_and_clear();
    }
    Ok(())
}

fn node_line(node: &Node, status: Option<&Value>) -> String {
    let Some(status) = status else {
        let why = node.exit.as_deref().unwrap_or("does not answer");
        return format!("{:<4} {why}", node.name);
    };
    let text = |key: &str| status[key].as_str().unwrap_or_default().to_owned();
    let role = match (text("role").as_str(), status["leads"] == true) {
        ("hub", true) => "hub, leads",
        ("hub", false) => "hub",
        _ => "agent",
    };
    format!(
        "{:<4} {}  {role:<10} {:>3} peers  {:>4} shards held  {:>3} executing",
        node.name,
        text("node").get(..8).unwrap_or_default(),
        status["network"]["peers"].as_u64().unwrap_or(0),
        status["held"].as_u64().unwrap_or(0),
        status["executing"].as_u64().unwrap_or(0),
    )
}

fn job_line(job: &Value) -> String {
    let text = |key: &str| job[key].as_str().unwrap_or_default().to_owned();
    let id = text("job_id");
    format!("job  {}  {:<12} {}", id.get(..8).unwrap_or_default(), text("state"), text("op"))
}

/// Stops all nodes, and kills who does not stop.
fn stop(common: &Common, nodes: &mut [Node]) -> Result<(), CliError> {
    for node in nodes.iter() {
        // Who does not answer has ended, or is killed below.
        let _ = client(common, node).map(|mut client| client.ask(&Request::Stop {}));
    }
    let begun = Instant::now();
    for node in nodes {
        while node.process.try_wait().map_err(CliError::Thread)?.is_none() {
            if begun.elapsed() > PATIENCE {
                node.process.kill().map_err(CliError::Thread)?;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(())
}

/// Becomes true with Ctrl-C, or when the system asks: from here on that is this program's to answer.
fn interruption() -> Result<Arc<AtomicBool>, CliError> {
    let flag = Arc::new(AtomicBool::new(false));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::Thread)?;
    let signals =
        runtime.block_on(async { Ok((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)) });
    let (mut terminate, mut interrupt) = signals.map_err(CliError::Thread)?;
    let told = Arc::clone(&flag);
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        told.store(true, Ordering::Relaxed);
    });
    Ok(flag)
}
