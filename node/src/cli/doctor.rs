//! `forgemesh doctor`: looks for what keeps a node from its work, and says how to mend it.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use forgemesh_kernel::backend::Isa;
use forgemesh_kernel::fpenv;
use forgemesh_storage::{KEY_FILE_NAME, KeyFile};
use serde_json::{Value, json};

use super::client::Client;
use super::embedded::now_ms;
use super::error::CliError;
use super::{Common, address, hint, home, near, network, print, print_json};
use crate::boot;
use crate::config::Config;
use crate::core::EXPELLED;
use crate::real::control::request::Request;
use crate::real::processors::Processors;
use crate::real::swarm::Addresses;
use crate::real::whereabouts::Whereabouts;
use crate::real::worker;

/// How long a hub member's address may take to answer.
const CONNECT: Duration = Duration::from_secs(3);
/// The first moment of 2026: a clock that is before this is wrong.
const EARLIEST_MS: u64 = 1_767_225_600_000;
/// How far the clock may be behind log time.
const SKEW_MS: u64 = 5_000;
/// How long the hub may be silent.
const LOST_MS: u64 = 15_000;

/// What a look found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Pass,
    Warn,
    Fail,
    Unknown,
}

struct Check {
    name: &'static str,
    verdict: Verdict,
    found: String,
    /// What to do; empty where nothing is to be done.
    fix: String,
}

impl Check {
    fn pass(name: &'static str, found: impl Into<String>) -> Check {
        Check { name, verdict: Verdict::Pass, found: found.into(), fix: String::new() }
    }

    fn new(name: &'static str, verdict: Verdict, found: impl Into<String>, fix: impl Into<String>) -> Check {
        Check { name, verdict, found: found.into(), fix: fix.into() }
    }
}

/// Looks at everything, running node or not.
pub fn doctor(common: &Common) -> Result<(), CliError> {
    let folder = match &common.node {
        Some(node) => hint::folder(node),
        None => home::folder(common)?,
    };
    let client = Client::find(common)?;
    let status = match client {
        Some(mut client) => Some(client.ask(&Request::Status {})?.value),
        None => None,
    };
    let mut checks = vec![data_folder(&folder), key(&folder), network_key(&folder)];
    let config = Config::read(&folder);
    checks.push(match &config {
        Ok(Some(config)) => settings(&folder, config),
        Ok(None) => no_settings(common, &folder, &status),
        Err(error) => Check::new("settings", Verdict::Fail, error.to_string(), "mend that line"),
    });
    let config = config.ok().flatten().unwrap_or_default();
    checks.push(node(&status));
    checks.push(room(common, &folder, &status));
    checks.push(clock(&status));
    let seat = seat(common, &status);
    checks.push(listens(&config, &status, seat));
    checks.push(hub(&folder, &config, &status, seat));
    checks.push(hello(&status));
    checks.push(instructions());
    checks.push(threads(common, &config, &status));
    if config.idle_only {
        checks.push(processors());
    }
    checks.push(confined(common, &config));
    report(common, &checks)
}

fn report(common: &Common, checks: &[Check]) -> Result<(), CliError> {
    let word = |verdict| match verdict {
        Verdict::Pass => "pass",
        Verdict::Warn => "warn",
        Verdict::Fail => "fail",
        Verdict::Unknown => "unknown",
    };
    if common.json {
        let check = |check: &Check| json!({ "check": check.name, "verdict": word(check.verdict), "found": check.found, "fix": check.fix });
        print_json(&json!({ "checks": checks.iter().map(check).collect::<Vec<_>>() }));
    } else {
        for check in checks {
            print(&format!("{:<8} {:<12} {}", word(check.verdict), check.name, check.found));
            if !check.fix.is_empty() {
                hint::print_whole(&format!("{:<8} {:<12} fix: {}", "", "", check.fix));
            }
        }
    }
    let failed = checks.iter().filter(|check| check.verdict == Verdict::Fail).count();
    if failed > 0 { Err(CliError::Unwell { failed, json: common.json }) } else { Ok(()) }
}

fn settings(folder: &Path, config: &Config) -> Check {
    const NAME: &str = "settings";
    // A key that cannot be read has a line of its own here.
    let has_key = network::read_key(folder).is_ok_and(|key| key.is_some());
    let Config { listen, external, bootstrap, .. } = config;
    if let Err(error) = (Addresses { listen, external, bootstrap }).check(has_key) {
        return Check::new(NAME, Verdict::Fail, error.to_string(), "mend that address in config.toml");
    }
    match near::foreign_ops(config) {
        None => Check::pass(NAME, "config.toml is read"),
        Some(found) => {
            let fix = "see `forgemesh op ls`; mend that line, or install a newer version";
            Check::new(NAME, Verdict::Warn, found, fix)
        }
    }
}

/// Without config.toml: nothing was made here yet, or a mesh of one, by the first `forgemesh run`.
fn no_settings(common: &Common, folder: &Path, status: &Option<Value>) -> Check {
    const NAME: &str = "settings";
    let genesis = || boot::genesis(&home::open_existing(common).ok()?.storage).ok().flatten();
    if status.is_some() || home::may_have_mesh(folder) && genesis().is_some() {
        let fix = "none is needed for jobs on this machine; to have other machines join, write config.toml with \
                   listen = [\"/ip4/0.0.0.0/tcp/4610\"], start the node, and `forgemesh ticket create`; to join another \
                   mesh, give another folder: --home DIR before the command, or FORGEMESH_HOME";
        return Check::new(NAME, Verdict::Warn, "no config.toml: this folder is a mesh of its own", fix);
    }
    Check::new(NAME, Verdict::Warn, "no config.toml", "`forgemesh init` or `forgemesh join`")
}

fn data_folder(folder: &Path) -> Check {
    const NAME: &str = "folder";
    let shown = folder.display();
    match std::fs::metadata(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let fix = "`forgemesh init` for a new mesh, `forgemesh join TICKET` for one that is there";
            Check::new(NAME, Verdict::Fail, format!("{shown} is not there"), fix)
        }
        Err(error) => {
            Check::new(NAME, Verdict::Fail, format!("{shown}: {error}"), "set --home to a folder of yours")
        }
        Ok(found) if !found.is_dir() => {
            Check::new(NAME, Verdict::Fail, format!("{shown} is no folder"), "set --home to a folder")
        }
        Ok(found) if found.mode() & 0o077 != 0 => Check::new(
            NAME,
            Verdict::Warn,
            format!("others may look into {shown}"),
            format!("chmod 700 {shown}"),
        ),
        Ok(_) => Check::pass(NAME, shown.to_string()),
    }
}

fn key(folder: &Path) -> Check {
    const NAME: &str = "key";
    if !folder.join(KEY_FILE_NAME).exists() {
        return Check::new(NAME, Verdict::Unknown, "no node.key yet", "it is made with the data folder");
    }
    // Never called: the file is there.
    match KeyFile::load_or_create(folder, home::random::<32>) {
        Ok(_) => Check::pass(NAME, "node.key is its owner's alone"),
        Err(error) => Check::new(NAME, Verdict::Fail, error.to_string(), "see there"),
    }
}

fn network_key(folder: &Path) -> Check {
    match network::read_key(folder) {
        Ok(Some(_)) => Check::pass("network key", "a private mesh, its key is its owner's alone"),
        Ok(None) => Check::pass("network key", "none: an open mesh"),
        Err(error) => Check::new("network key", Verdict::Fail, error.to_string(), "see there"),
    }
}

fn node(status: &Option<Value>) -> Check {
    match status {
        Some(status) => Check::pass("node", format!("runs, process {}", status["pid"])),
        None => Check::new("node", Verdict::Warn, "does not run", "`forgemesh up`"),
    }
}

fn room(common: &Common, folder: &Path, status: &Option<Value>) -> Check {
    const NAME: &str = "room";
    let low = match status {
        Some(status) => status["disk_low"].as_bool(),
        None if !folder.exists() => None,
        None => home::open_existing(common).ok().map(|home| home.storage.room().low),
    };
    match low {
        Some(false) => Check::pass(NAME, "enough for new work"),
        Some(true) => {
            Check::new(NAME, Verdict::Fail, "too little for new work", "free some space on that disk")
        }
        None => {
            Check::new(NAME, Verdict::Unknown, "the folder cannot be opened now", "try again when it is free")
        }
    }
}

fn clock(status: &Option<Value>) -> Check {
    const NAME: &str = "clock";
    let now_ms = now_ms();
    let fix = "set the clock, best by NTP";
    if now_ms < EARLIEST_MS {
        return Check::new(NAME, Verdict::Fail, "it is years behind", fix);
    }
    match status.as_ref().and_then(|status| status["hub"]["log_ms"].as_u64()) {
        Some(log_ms) if log_ms > now_ms + SKEW_MS => {
            let late = (log_ms - now_ms) / 1_000;
            Check::new(NAME, Verdict::Warn, format!("{late} s behind the mesh's log"), fix)
        }
        Some(_) => Check::pass(NAME, "not behind the mesh's log"),
        None => Check::new(NAME, Verdict::Unknown, "no log here to hold it against", ""),
    }
}

/// The node's place in the hub.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seat {
    None,
    /// It is the whole hub.
    Alone,
    WithOthers,
}

fn seat(common: &Common, status: &Option<Value>) -> Seat {
    let seats = match status {
        Some(status) => status["seats"].as_u64().filter(|_| status["role"] == json!("hub")),
        None => home::open_existing(common).ok().and_then(|home| {
            let seated = boot::seating(&home.storage).ok()??.seated;
            seated.contains(&home.secret.public().id()).then_some(seated.len() as u64)
        }),
    };
    match seats {
        None => Seat::None,
        Some(1) => Seat::Alone,
        Some(_) => Seat::WithOthers,
    }
}

fn listens(config: &Config, status: &Option<Value>, seat: Seat) -> Check {
    const NAME: &str = "listens";
    if config.listen.is_empty() && (config.stand || seat == Seat::WithOthers) {
        let found = "nowhere, and members of the hub must reach each other";
        let fix = "in config.toml, name an address that the others reach, as in listen = [\"/ip4/0.0.0.0/tcp/4610\"], or a \
                   member's with /p2p-circuit at its end; start the node again";
        return Check::new(NAME, Verdict::Warn, found, fix);
    }
    if config.listen.is_empty() {
        return Check::pass(NAME, "nowhere: it reaches others, nobody reaches it");
    }
    let Some(status) = status else {
        let used = config.listen.iter().filter_map(|text| address::socket_of(text));
        let taken = used.filter(|at| std::net::TcpListener::bind(at).is_err()).map(|at| at.to_string());
        return match taken.collect::<Vec<_>>().join(", ") {
            taken if taken.is_empty() => Check::pass(NAME, config.listen.join(", ")),
            taken => Check::new(
                NAME,
                Verdict::Fail,
                format!("{taken} cannot be had"),
                "choose another in config.toml",
            ),
        };
    };
    let network = &status["network"];
    let at: Vec<&str> =
        network["listen"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let at = at.join(", ");
    match network["reachable"].as_bool() {
        _ if at.is_empty() => Check::new(NAME, Verdict::Fail, "nowhere", "start the node again"),
        Some(true) => Check::pass(NAME, format!("{at}, and others reach it")),
        Some(false) => {
            Check::new(NAME, Verdict::Warn, format!("{at}, nobody reaches it"), "open or forward the port")
        }
        None => Check::new(NAME, Verdict::Unknown, format!("{at}; nobody outside has tried it yet"), ""),
    }
}

fn hub(folder: &Path, config: &Config, status: &Option<Value>, seat: Seat) -> Check {
    const NAME: &str = "hub";
    if seat != Seat::None {
        let hub = status.as_ref().map_or(&Value::Null, |status| &status["hub"]);
        let voting = hub["voting"].as_u64().zip(status.as_ref().and_then(|status| status["seats"].as_u64()));
        let away = hub["away"].as_u64().unwrap_or(0);
        return match voting {
            Some((voting, seats)) if voting < seats => Check::new(
                NAME,
                Verdict::Warn,
                format!(
                    "{} of {seats} members have no vote yet: the mesh may not lose the others",
                    seats - voting
                ),
                "wait a moment; if it stays so, see that all of them run: `forgemesh node ls`",
            ),
            Some((_, seats)) if away > 0 => Check::new(
                NAME,
                Verdict::Warn,
                format!("not connected with {away} of {seats} members: the mesh bears fewer losses"),
                "see that all of them run: `forgemesh node ls`",
            ),
            _ => Check::pass(NAME, "this node is a hub member"),
        };
    }
    if let Some(misled) = status.as_ref().and_then(misled) {
        return misled;
    }
    // Where members were found the last time counts as well: the settings may name one that is gone.
    let known = Whereabouts::read(folder).unwrap_or_default();
    let named = config.bootstrap.iter().chain(known.addresses());
    let sockets: Vec<SocketAddr> = named.filter_map(|text| address::socket_of(text)).collect();
    if sockets.is_empty() {
        if config.mdns {
            return Check::pass(NAME, "none is named; the local network is searched");
        }
        let fix = "name one under bootstrap in config.toml";
        return Check::new(NAME, Verdict::Unknown, "no TCP address of a hub member is known", fix);
    }
    match sockets.iter().find(|at| TcpStream::connect_timeout(at, CONNECT).is_ok()) {
        Some(at) => Check::pass(NAME, format!("{at} takes connections")),
        None => {
            let found = format!("none of {} addresses takes connections", sockets.len());
            Check::new(
                NAME,
                Verdict::Fail,
                found,
                "see that the hub runs, and that no firewall stands between",
            )
        }
    }
}

/// An address of the settings at which another node answers.
fn misled(status: &Value) -> Option<Check> {
    let misled = status["network"]["misled"].as_array()?.first()?;
    let text = |key: &str| misled[key].as_str().unwrap_or_default();
    let is_heard = status["heard_ms_ago"].as_u64().is_some_and(|ago_ms| ago_ms <= LOST_MS);
    let verdict = if is_heard { Verdict::Warn } else { Verdict::Fail };
    let found = format!("at {} another node answers: {}", text("address"), text("node"));
    let fix = format!(
        "mend bootstrap in config.toml, and start the node again; if that node is meant, it is {}",
        text("instead")
    );
    Some(Check::new("hub", verdict, found, fix))
}

fn hello(status: &Option<Value>) -> Check {
    const NAME: &str = "hello";
    let Some(status) = status else {
        return Check::new(NAME, Verdict::Unknown, "the node does not run", "`forgemesh up`");
    };
    if status["expelled"] == json!(true) {
        let (found, fix) = EXPELLED.split_once("; ").unwrap_or((EXPELLED, ""));
        return Check::new(NAME, Verdict::Fail, found, fix);
    }
    match status["heard_ms_ago"].as_u64() {
        Some(ago_ms) if ago_ms <= LOST_MS => {
            Check::pass(NAME, format!("the hub answered {} s ago", ago_ms / 1_000))
        }
        Some(ago_ms) => {
            let found = format!("the hub answered {} s ago", ago_ms / 1_000);
            Check::new(NAME, Verdict::Fail, found, "see that it runs and that the network does")
        }
        None => Check::new(NAME, Verdict::Warn, "the hub has not answered yet", "wait some seconds"),
    }
}

fn instructions() -> Check {
    const NAME: &str = "processor";
    if let Err(error) = fpenv::check() {
        return Check::new(
            NAME,
            Verdict::Fail,
            error.to_string(),
            "no program in this process may change it",
        );
    }
    match home::isa() {
        Ok(Isa::Portable) => {
            let found = "neither AVX2 nor AVX-512: the bits are right, the speed is lower";
            Check::new(NAME, Verdict::Warn, found, "unset FORGEMESH_ISA, or use a newer processor")
        }
        Ok(isa) => Check::pass(NAME, isa.to_string()),
        Err(error) => Check::new(NAME, Verdict::Fail, error.to_string(), "unset FORGEMESH_ISA"),
    }
}

fn threads(common: &Common, config: &Config, status: &Option<Value>) -> Check {
    const NAME: &str = "threads";
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // A node that runs knows what it was started with, and what its operator has said since.
    let used = status.as_ref().and_then(|status| usize::try_from(status["capacity"].as_u64()?).ok());
    let wanted = used.or(common.threads.or(config.threads).map(usize::from)).unwrap_or(cores);
    if wanted > cores {
        let found = format!("{wanted} on {cores} cores");
        return Check::new(NAME, Verdict::Warn, found, format!("threads = {cores} in config.toml"));
    }
    Check::pass(NAME, format!("{wanted} of {cores} cores"))
}

/// Can it be seen whether others use the machine?
fn processors() -> Check {
    const NAME: &str = "idle only";
    match Processors::default().read() {
        Ok(_) => Check::pass(NAME, "others' use of the processors can be read"),
        Err(error) => Check::new(NAME, Verdict::Fail, error.to_string(), "take idle_only out of config.toml"),
    }
}

/// Starts one, as a node does, and hears how far it could confine itself.
fn confined(common: &Common, config: &Config) -> Check {
    const NAME: &str = "worker";
    let launch = match home::launch(common, config) {
        Ok(launch) => launch,
        Err(error) => return Check::new(NAME, Verdict::Fail, error.to_string(), "see there"),
    };
    let mib = launch.memory_bytes >> 20;
    match worker::probe(&launch) {
        Ok(gaps) if gaps.is_empty() => {
            Check::pass(NAME, format!("shards run without network and files, in {mib} MiB"))
        }
        Ok(gaps) => {
            let found = gaps.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            Check::new(NAME, Verdict::Warn, found, gaps_fix())
        }
        Err(reason) => {
            let fix = "see that this program may start itself, and that memory_mib is not too small";
            Check::new(NAME, Verdict::Fail, format!("it does not start: {reason}"), fix)
        }
    }
}

/// What lets a worker be confined.
fn gaps_fix() -> &'static str {
    if cfg!(target_os = "linux") {
        "let the container use seccomp (a kernel with CONFIG_SECCOMP_FILTER, no profile that forbids it), or run the node under a user of its own, without network"
    } else {
        "run the node on Linux, or under a user of its own that may read and reach nothing else"
    }
}
