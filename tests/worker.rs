//! The worker process that computes for a node: how it is confined, and what its end, or the node's, does to the other.
//!
//! It is looked at from outside, as the system shows it. Must never end a process that no test here has started.

// It reads /proc.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use forgemesh_kernel::backend::Isa;
use forgemesh_kernel::job::Job;
use forgemesh_node::ports::Done;
use forgemesh_node::real::executor::Compute;
use forgemesh_node::real::worker::frame::{self, Asked, FIRST_BYTES, FRAME_BYTES, Piece, Ready, Start};
use forgemesh_node::real::worker::{Launch, Worker};
use forgemesh_protocol::plan::StageRun;
use forgemesh_tests::forgemesh;
use forgemesh_tests::node::Node;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A job of some twenty shards, a second of work.
const MIX: [&str; 4] = ["diag@1/mix.v1", "iterations=3000000", "--seed", "worker"];
/// A job whose shards want more memory than the least that a worker may be given.
const LARGE: [&str; 3] = ["mc@1/insurance.v1", "iterations=1000000000000", "claim_freq=3.5"];
/// How long a process may take to be gone.
const STUCK: Duration = Duration::from_secs(30);

/// The workers of a process.
fn workers(node: u32) -> Vec<u32> {
    let children = std::fs::read_dir("/proc").expect("it is mounted").filter_map(|entry| {
        let process: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(format!("/proc/{process}/cmdline")).ok()?;
        let is_worker = line.split(|byte| *byte == 0).any(|argument| argument == b"worker");
        (is_worker && status(process)?.get("PPid")? == &node.to_string()).then_some(process)
    });
    children.collect()
}

/// What the system says of a process; none of one that is gone, or that only waits to be reaped.
fn status(process: u32) -> Option<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    let fields: BTreeMap<_, _> =
        fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
    (!fields.get("State")?.starts_with('Z')).then_some(fields)
}

/// The worker of a process that has just one, or will soon.
fn worker(node: u32) -> u32 {
    let mut found = None;
    until("it has a worker", || {
        let all = workers(node);
        assert!(all.len() <= 1, "{all:?}");
        found = all.first().copied();
        found.is_some()
    });
    found.expect("it was waited for")
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < STUCK, "not after {STUCK:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// `kill -9`; it may have ended already.
fn kill(process: u32) {
    let process = Pid::from_raw(i32::try_from(process).expect("a process id")).expect("not zero");
    let _ = kill_process(process, Signal::KILL);
}

fn result_hash(job: &Value) -> String {
    job["result_hash"].as_str().unwrap_or_else(|| panic!("no result: {job}")).to_owned()
}

/// What an undisturbed run makes of [`MIX`].
fn expected() -> String {
    result_hash(&Node::new().ok(&[&["run"], &MIX[..], &["--json"]].concat()).json())
}

fn submit(node: &Node, job: &[&str], more: &[&str]) -> String {
    let said = node.ok(&[&["job", "submit"], job, more, &["--json"]].concat()).json();
    said["job_id"].as_str().expect("an id").to_owned()
}

#[test]
fn a_worker_is_confined_and_goes_with_its_node() {
    let node = Node::new();
    node.init(&[]);
    let running = node.up();
    let process = worker(running.id());
    until("it is confined", || status(process).is_some_and(|status| status["Seccomp"] == "2"));
    let status_of = status(process).expect("it runs");
    assert_eq!((status_of["NoNewPrivs"].as_str(), status_of["Threads"].as_str()), ("1", "3"));
    let limits = std::fs::read_to_string(format!("/proc/{process}/limits")).expect("it runs");
    let limit = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).expect("every limit is there");
        line.split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    for name in ["Max open files", "Max core file size", "Max file size"] {
        assert_eq!(limit(name), ["0", "0"], "{name}");
    }
    assert_ne!(limit("Max data size"), ["unlimited", "unlimited"]);
    assert_eq!(running.down(&node), Some(0));
    assert!(status(process).is_none(), "a node that was stopped has reaped its worker");

    let running = node.up();
    let process = worker(running.id());
    running.kill();
    until("a worker ends when its node is killed", || status(process).is_none());
}

#[test]
fn a_worker_that_is_killed_costs_a_node_nothing_but_time() {
    let expected = expected();
    let node = Node::new();
    node.init(&[]);
    let running = node.up();
    let id = submit(&node, &MIX, &[]);
    let mut killed = Vec::new();
    for _ in 0..3 {
        let process = worker(running.id());
        std::thread::sleep(Duration::from_millis(150));
        kill(process);
        until("it is gone", || status(process).is_none());
        killed.push(process);
    }
    node.ok(&["job", "watch", &id]);
    assert_eq!(result_hash(&node.ok(&["job", "show", &id, "--json"]).json()), expected);
    assert!(!killed.contains(&worker(running.id())));
    let log = std::fs::read_to_string(node.path("up.log")).expect("its log");
    assert!(log.contains("it was killed (signal: 9 (SIGKILL))"), "{log}");
    assert_eq!(running.down(&node), Some(0));
}

#[test]
fn an_embedded_run_outlives_its_worker() {
    let expected = expected();
    let node = Node::new();
    let mut command = node.command(&[&["run"], &MIX[..], &["--json"]].concat());
    let run = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    std::thread::sleep(Duration::from_millis(100));
    kill(worker(run.id()));
    let output = run.wait_with_output().expect("a child of ours");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = serde_json::from_slice(&output.stdout).expect("one object");
    assert_eq!(result_hash(&said), expected);
}

#[test]
fn a_job_that_wants_too_much_memory_harms_no_other() {
    let node = Node::new();
    node.init(&[]);
    let settings = node.home().join("config.toml");
    let text = std::fs::read_to_string(&settings).expect("init wrote it");
    std::fs::write(&settings, format!("{text}\nmemory_mib = 64\n")).expect("our file");
    let expected = expected();
    let running = node.up();
    let large = submit(&node, &LARGE, &[]);
    let log = || std::fs::read_to_string(node.path("up.log")).expect("its log");
    node.until("the large job has met its limit", || {
        log().contains("more than the 64 MiB of memory that it may have")
    });
    // In the same workers, as long as the other goes on failing in them.
    let small = submit(&node, &MIX, &[]);
    node.ok(&["job", "watch", &small]);
    assert_eq!(result_hash(&node.ok(&["job", "show", &small, "--json"]).json()), expected);
    assert_ne!(node.ok(&["job", "show", &large, "--json"]).json()["state"], "finalized");
    assert_eq!(running.down(&node), Some(0));
}

#[test]
fn a_shard_that_wants_too_much_memory_fails_and_the_next_does_not() {
    let launch =
        Launch { program: forgemesh().into(), threads: 1, isa: Isa::Portable, memory_bytes: 1 << 20 };
    let worker = Worker::start(launch).expect("a thread");
    let Done::Failed { detail } = worker.compute(piece("mc", "insurance.v1")) else { panic!("in 1 MiB?") };
    assert!(detail.contains("more than the 1 MiB of memory that it may have"), "{detail}");
    assert!(detail.contains("memory_mib"), "the cure is named: {detail}");
    let done = worker.compute(noop());
    assert!(matches!(done, Done::Ran { .. }), "{done:?}");
}

/// What a worker makes of these bytes on its standard input.
fn fed(bytes: &[u8]) -> Output {
    let mut command = Command::new(forgemesh());
    command.arg("worker").env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    // It may hang up in the middle.
    let _ = child.stdin.take().expect("a pipe").write_all(bytes);
    child.wait_with_output().expect("a child of ours")
}

fn start() -> Start {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Start { version, threads: 2, isa: "portable".to_owned(), memory_bytes: 256 << 20 }
}

/// The first shard of a job.
fn piece(name: &str, profile: &str) -> Piece {
    let envelope = json!({ "op": { "name": name, "version": 1, "profile": profile }, "args": {} });
    let (job, _) = Job::read(envelope.to_string().as_bytes()).expect("a job");
    let run = StageRun { number: 0, stage: job.plan().stages[0].clone(), input: None };
    Piece::Run { contract: job.contract().clone(), run, shard: 0 }
}

fn noop() -> Piece {
    piece("diag", "noop.v1")
}

#[test]
fn a_worker_without_a_node_refuses() {
    let stdin_is_no_pipe =
        Command::new(forgemesh()).arg("worker").stdin(Stdio::null()).output().expect("it starts");
    let other = Start { version: "0.0.0".to_owned(), ..start() };
    let other = frame::encode(&other, FIRST_BYTES).expect("it is short");
    for (output, code, says) in [
        (stdin_is_no_pipe, 2, "is started by a node"),
        (fed(b""), 2, "is started by a node"),
        (fed(&[0xff; 5_000]), 2, "is started by a node"),
        (fed(b"\x03\0\0\0abc"), 2, "is started by a node"),
        (fed(&other), 1, "version 0.0.0"),
    ] {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(says) && !text.contains("panicked"), "{text}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn what_is_no_frame_ends_a_worker_with_a_reason() {
    let begin = frame::encode(&start(), FIRST_BYTES).expect("it is short");
    let asked = frame::encode(&Asked { ticket: 1, piece: noop() }, FRAME_BYTES).expect("it is short");
    let (cut, endless) = (&asked[..asked.len() - 1], &u32::MAX.to_le_bytes());
    for garbage in [cut, endless, b"\x03\0\0\0abc", &begin] {
        let output = fed(&[&begin, garbage].concat());
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("no frame of a node") && !text.contains("panicked"), "{text}");
        let first = frame::read::<Ready>(&mut &output.stdout[..], FIRST_BYTES);
        assert!(matches!(first, Ok(Some(Ready { gaps })) if gaps.is_empty()));
    }
}

/// A worker whose program is this script.
fn played(folder: &TempDir, script: &str) -> Worker {
    let program = folder.path().join("worker.sh");
    forgemesh_tests::script(&program, script);
    let launch = Launch { program, threads: 2, isa: Isa::Portable, memory_bytes: 256 << 20 };
    Worker::start(launch).expect("a thread")
}

#[test]
fn a_node_stands_whatever_its_worker_says() {
    let ready = frame::encode(&Ready { gaps: Vec::new() }, FIRST_BYTES).expect("it is short");
    let ready: String = ready.iter().map(|byte| format!("\\{byte:03o}")).collect();
    let ready = format!("printf '{ready}'");
    for (script, says) in [
        ("exit 3".to_owned(), "exit status: 3"),
        ("echo it is too late >&2; exit 1".to_owned(), "it is too late"),
        ("head -c 100000 /dev/zero".to_owned(), "no answer"),
        (format!("{ready}; exit 4"), "exit status: 4"),
        (format!("{ready}; printf '\\377\\377\\377\\377'; sleep 100"), "no answer"),
        (format!("{ready}; exec >&-; sleep 100"), "SIGKILL"),
        (format!("{ready}; yes >&2 & kill -9 $$"), "SIGKILL"),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let worker = played(&folder, &script);
        match worker.compute(noop()) {
            Done::Failed { detail } => assert!(detail.contains(says), "{script}: {detail}"),
            other => panic!("{script}: {other:?}"),
        }
    }
    let gone = Launch { program: "/nowhere".into(), threads: 1, isa: Isa::Portable, memory_bytes: 1 << 30 };
    let worker = Worker::start(gone).expect("a thread");
    let Done::Failed { detail } = worker.compute(noop()) else { panic!("it cannot be") };
    assert!(detail.contains("/nowhere"), "{detail}");
}

#[test]
fn doctor_says_how_far_a_worker_is_confined() {
    let node = Node::new();
    node.init(&[]);
    let checks = node.ok(&["doctor", "--json"]).json();
    let checks = checks["checks"].as_array().expect("a list");
    let found = checks.iter().find(|check| check["check"] == "worker").expect("it is looked at");
    assert_eq!(found["verdict"], "pass", "{found}");
}
