//! `kill -9` of the real process, at random moments and at observed phase events: what was accepted is finished
//! after a restart, once, with the bits of an undisturbed run. Must never open a data folder between a kill and
//! the recovery: what repairs it has to be the executable itself.
//!
//! `FORGEMESH_KILL_ROUNDS` sets the number of kills, `FORGEMESH_KILL_SEED` repeats a schedule (the moments are
//! then the same, but not the scheduling of threads). `FORGEMESH_KILL_KEEP=1` keeps the data folders. The long run:
//! `FORGEMESH_KILL_ROUNDS=200 cargo test -p forgemesh-tests --test kill --release -- --nocapture`

// SIGKILL is a thing of Unix.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use forgemesh_protocol::canon;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::ledger::LedgerEntry;
use forgemesh_protocol::limits;
use forgemesh_protocol::state::State;
use forgemesh_storage::Storage;
use forgemesh_storage::testing::Random;
use forgemesh_tests::forgemesh;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The events at which a run is killed, each in turn.
const EVENTS: [&str; 7] =
    ["accepted", "running", "progress", "verifying", "aggregating", "finalized", "recorded"];
/// Rounds in one data folder, in turn. A new folder means that creation is hit; every other one is as long used, so
/// that its log is replaced by a snapshot soon.
const ROUNDS_PER_FOLDER: [u64; 6] = [4, 16, 3, 8, 3, 6];
/// Log entries of a folder that is long used: a few jobs short of a snapshot.
const USED_ENTRIES: u64 = limits::LOG_ENTRIES - 60;
/// Longer than any of these commands takes on a slow machine: it is stuck then.
const STUCK: Duration = Duration::from_secs(120);
const SIGKILL: i32 = 9;

/// A stream of numbers from a seed.
struct Draws(Random);

impl Draws {
    fn below(&mut self, bound: u64) -> u64 {
        self.0.draw() % bound.max(1)
    }

    fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }

    fn duration(&mut self, bound: Duration) -> Duration {
        Duration::from_micros(self.below(bound.as_micros() as u64))
    }
}

/// When a process is killed.
#[derive(Clone, Copy, Debug)]
enum Kill {
    Never,
    After(Duration),
    /// As soon as this event is read.
    At(&'static str),
}

/// A job file, and what an undisturbed run made of it.
struct Reference {
    file: PathBuf,
    contract: Hash,
    result_hash: String,
    elapsed: Duration,
    events: BTreeSet<String>,
}

/// A process that has ended.
#[derive(Debug)]
struct Ended {
    killed: bool,
    /// The id it printed, and whether it was an old one.
    id: Option<(String, bool)>,
    result_hash: Option<String>,
    /// Everything seen, in order.
    events: Vec<String>,
    elapsed: Duration,
}

/// What the rounds did, for the summary.
#[derive(Debug, Default)]
struct Tally {
    rounds: u64,
    by_delay: u64,
    by_event: u64,
    /// The last event seen before the kill.
    phases: BTreeMap<String, u64>,
    /// The process was done before its kill came.
    outran: u64,
    /// Kills of a recovery.
    double: u64,
    resumed: u64,
    already_final: u64,
    by_job_resume: u64,
    left_open: u64,
    folders: u64,
    /// Folders in which a snapshot has replaced the log.
    compacted: u64,
}

/// A data folder with what is known of the jobs in it.
struct Folder {
    home: TempDir,
    /// Every id that was printed, with its job file.
    known: BTreeMap<String, usize>,
    /// The newest id of each job file that is not known to be final.
    open: BTreeMap<usize, String>,
    /// The first must have been final before the second was submitted.
    order: Vec<(String, String)>,
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() || std::env::var_os("FORGEMESH_KILL_KEEP").is_some() {
            self.home.disable_cleanup(true);
            println!("data folder kept: {}", self.home.path().display());
        }
    }
}

#[test]
fn killed_jobs_are_finished_once_with_the_same_bits() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let rounds = number("FORGEMESH_KILL_ROUNDS").unwrap_or(40);
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = number("FORGEMESH_KILL_SEED").unwrap_or(clock);
    println!(
        "repeat with: FORGEMESH_KILL_SEED={seed} FORGEMESH_KILL_ROUNDS={rounds} \
         cargo test -p forgemesh-tests --test kill -- --nocapture"
    );
    let files = tempfile::tempdir().unwrap();
    let mut random = Draws(Random(seed));
    let (jobs, creation) = references(files.path());
    let used = used(files.path().join("home"), &jobs[0]);
    let mut tally = Tally::default();
    let mut folder = Folder::new(&used, false);
    let (mut lengths, mut left) = (ROUNDS_PER_FOLDER.iter().cycle(), 0);
    // A run that ends before its kill counts for neither half.
    let half = rounds.div_ceil(2);
    let mut round = 0;
    while (tally.by_delay < half || tally.by_event < half) && round < 3 * rounds {
        let next = left == 0;
        if next {
            left = *lengths.next().unwrap();
            if round > 0 {
                folder.close(&jobs, &mut random, &mut tally);
            }
            folder = Folder::new(&used, tally.folders % 2 == 1);
        }
        left -= 1;
        let fresh = !folder.path().exists();
        let by_event = tally.by_event < half && (tally.by_event <= tally.by_delay || tally.by_delay >= half);
        let (job, kill) = choose(round, by_event, &jobs, fresh.then_some(creation), &mut random);
        println!("round {round}: job {job}, {kill:?}{}", if fresh { ", new folder" } else { "" });
        folder.round(job, kill, &jobs, &mut random, &mut tally);
        round += 1;
    }
    folder.close(&jobs, &mut random, &mut tally);
    println!("{tally:?}");
    assert_eq!(tally.by_delay + tally.by_event + tally.outran, tally.rounds);
    assert!(tally.by_delay >= half && tally.by_event >= half, "too few runs were killed in time: {tally:?}");
    if rounds >= 40 {
        assert!(tally.resumed > 0 && tally.by_job_resume > 0, "{tally:?}");
        assert!(tally.compacted > 0, "no folder was used long enough for a snapshot: {tally:?}");
    }
}

/// Which job, and when it is killed: at a random moment, or at the events in turn, with a job that has such an event.
fn choose(
    round: u64,
    by_event: bool,
    jobs: &[Reference],
    creation: Option<Duration>,
    random: &mut Draws,
) -> (usize, Kill) {
    let any = random.below(jobs.len() as u64) as usize;
    if !by_event {
        // In a new folder half of the kills come while it is made.
        let most = match creation {
            Some(creation) if random.one_in(2) => creation,
            Some(creation) => creation + jobs[any].elapsed,
            None => jobs[any].elapsed,
        };
        return (any, Kill::After(random.duration(most)));
    }
    let event = EVENTS[round as usize % EVENTS.len()];
    let job = (any..any + jobs.len()).map(|i| i % jobs.len()).find(|&i| jobs[i].events.contains(event));
    (job.unwrap_or_else(|| panic!("no job ever says \"{event}\"")), Kill::At(event))
}

/// The jobs, run in peace; and how long a first start takes.
fn references(files: &Path) -> (Vec<Reference>, Duration) {
    let reserve: Value = serde_json::from_str(include_str!("../node/examples/reserve-raa.json")).unwrap();
    let insurance: Value =
        serde_json::from_str(include_str!("../node/examples/insurance-quickstart.json")).unwrap();
    let shapes = [
        (&reserve, 60_000, "spotcheck"),
        (&insurance, 1_500_000, "spotcheck"),
        (&reserve, 20_000, "full"),
        (&insurance, 400_000, "none"),
    ];
    let started = Instant::now();
    let first = run_command(&files.join("first")).args(["run", "diag@1/noop.v1"]).output().unwrap();
    let creation = started.elapsed();
    text_of(&first);
    let home = files.join("home");
    let jobs = shapes.iter().enumerate().map(|(i, (example, iterations, verify))| {
        let mut envelope = (*example).clone();
        envelope["args"]["iterations"] = json!(iterations);
        envelope["policy"]["verify"] = json!(verify);
        let file = files.join(format!("job-{i}.json"));
        std::fs::write(&file, envelope.to_string()).unwrap();
        let ended = launch(run_command(&home).arg("run").arg(&file), Kill::Never);
        let (id, resumed) = ended.id.clone().unwrap();
        assert!(!resumed);
        let last = ledger(&Storage::open(&home).unwrap()).pop().unwrap();
        assert_eq!(last.job.to_string(), id);
        let result_hash = ended.result_hash.unwrap();
        assert_eq!(last.result_hash.unwrap().to_string(), result_hash);
        println!("job {i}: {:?}, events {:?}", ended.elapsed, count(&ended.events));
        let events = ended.events.into_iter().collect();
        Reference { file, contract: last.contract, result_hash, elapsed: ended.elapsed, events }
    });
    let jobs = jobs.collect();
    println!("first start: {creation:?}");
    (jobs, creation)
}

/// Runs a job again and again, until the log of `home` is as long as that of a node that is long used.
fn used(home: PathBuf, job: &Reference) -> PathBuf {
    let entries = || Storage::open(&home).unwrap().log(0, usize::MAX).unwrap().len() as u64;
    let mut runs = 0;
    while entries() < USED_ENTRIES {
        launch(run_command(&home).arg("run").arg(&job.file), Kill::Never);
        runs += 1;
    }
    println!("{} log entries after {runs} more runs", entries());
    home
}

fn count(events: &[String]) -> BTreeMap<&str, u64> {
    let mut counts = BTreeMap::new();
    events.iter().for_each(|event| *counts.entry(event.as_str()).or_insert(0) += 1);
    counts
}

impl Folder {
    /// One that is not there yet, or a copy of one that is long used.
    fn new(used: &Path, copy: bool) -> Folder {
        let home = tempfile::tempdir().unwrap();
        if copy {
            let to = home.path().join("home");
            std::fs::create_dir(&to).unwrap();
            for file in std::fs::read_dir(used).unwrap() {
                let file = file.unwrap();
                std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
            }
        }
        Folder { home, known: BTreeMap::new(), open: BTreeMap::new(), order: Vec::new() }
    }

    /// Where the node lives: a folder that is not there before the first start.
    fn path(&self) -> PathBuf {
        self.home.path().join("home")
    }

    fn command(&self, random: &mut Draws) -> Command {
        let mut command = run_command(&self.path());
        command.arg("--threads").arg((1 + random.below(3)).to_string());
        command
    }

    /// Kills a run, and takes the job up again in one of several ways.
    fn round(&mut self, job: usize, kill: Kill, jobs: &[Reference], random: &mut Draws, tally: &mut Tally) {
        tally.rounds += 1;
        let ended = launch(self.command(random).arg("run").arg(&jobs[job].file), kill);
        self.learn(job, &ended, &jobs[job]);
        match kill {
            _ if !ended.killed => tally.outran += 1,
            Kill::At(_) => tally.by_event += 1,
            Kill::After(_) | Kill::Never => tally.by_delay += 1,
        }
        if ended.killed {
            let phase = ended.events.last().map_or("before accepted", String::as_str);
            *tally.phases.entry(phase.to_owned()).or_default() += 1;
        }
        if random.one_in(3) {
            self.is_visible();
        }
        match random.below(8) {
            // The next rounds find it open, beside their own.
            0 => tally.left_open += 1,
            1 | 2 => self.recover_all(jobs, random, tally),
            _ => self.recover(job, jobs, random, tally),
        }
    }

    /// Keeps what a run said, which must fit what earlier runs said.
    fn learn(&mut self, job: usize, ended: &Ended, reference: &Reference) {
        if let Some((id, resumed)) = &ended.id {
            let before = self.known.insert(id.clone(), job);
            assert!(before.is_none_or(|before| before == job), "{id} is the id of two jobs");
            assert!(*resumed || before.is_none(), "{id} was accepted twice");
            if let Some(open) = self.open.insert(job, id.clone())
                && open != *id
            {
                self.order.push((open, id.clone()));
            }
        }
        if !ended.killed {
            assert_eq!(ended.result_hash.as_ref(), Some(&reference.result_hash), "job {job}: {ended:?}");
            self.open.remove(&job);
        }
    }

    /// Right after the kill, whatever was accepted is there to be seen, open or final.
    fn is_visible(&self) {
        for id in self.known.keys() {
            let shown = run_command(&self.path()).args(["--json", "job", "show", id]).output().unwrap();
            let shown: Value = serde_json::from_str(&text_of(&shown)).unwrap();
            assert_eq!(shown["job_id"], id.as_str(), "{shown}");
        }
    }

    /// Runs the same file again, perhaps killed once more, until it is finished; then looks at everything.
    fn recover(&mut self, job: usize, jobs: &[Reference], random: &mut Draws, tally: &mut Tally) {
        let before = self.open.get(&job).cloned();
        if random.one_in(4) {
            let kill = match random.one_in(2) {
                true => Kill::At(EVENTS[random.below(EVENTS.len() as u64) as usize]),
                false => Kill::After(random.duration(jobs[job].elapsed)),
            };
            let ended = launch(self.command(random).arg("run").arg(&jobs[job].file), kill);
            self.learn(job, &ended, &jobs[job]);
            tally.double += u64::from(ended.killed);
        }
        let ended = launch(self.command(random).arg("run").arg(&jobs[job].file), Kill::Never);
        let (id, resumed) = ended.id.clone().expect("a finished run says its id");
        self.learn(job, &ended, &jobs[job]);
        match resumed {
            true => tally.resumed += 1,
            false => tally.already_final += u64::from(before.is_some()),
        }
        let finished = self.check(jobs);
        assert!(finished.contains_key(&id), "{id} was finished, but is not in the books");
        self.verify(&id);
        if let Some(before) = before.filter(|before| *before != id) {
            self.verify(&before);
        }
    }

    /// `job resume` finishes every job, perhaps at the second attempt.
    fn recover_all(&mut self, jobs: &[Reference], random: &mut Draws, tally: &mut Tally) {
        if !self.path().exists() {
            // Killed before there was anything; `job resume` says so instead of making a folder.
            return self.recover(0, jobs, random, tally);
        }
        tally.by_job_resume += 1;
        if random.one_in(4) {
            let kill = Kill::After(random.duration(jobs[0].elapsed));
            tally.double += u64::from(launch(self.command(random).args(["job", "resume"]), kill).killed);
        }
        let ended = launch(self.command(random).args(["job", "resume"]), Kill::Never);
        assert!(!ended.killed);
        let finished = self.check(jobs);
        for id in self.known.keys() {
            assert!(
                finished.contains_key(id),
                "accepted {id} is lost: `job resume` left it out of the books"
            );
        }
        let newest = finished.iter().max_by_key(|(_, seq)| **seq).map(|(id, _)| id.clone());
        self.open.clear();
        newest.iter().for_each(|id| self.verify(id));
    }

    /// The last look: nothing is open, nothing is lost, the list says what the books say.
    fn close(&mut self, jobs: &[Reference], random: &mut Draws, tally: &mut Tally) {
        tally.folders += 1;
        self.recover_all(jobs, random, tally);
        let finished = self.check(jobs);
        tally.compacted += u64::from(Storage::open(&self.path()).unwrap().snapshot().unwrap().is_some());
        let listed = text_of(&run_command(&self.path()).args(["--json", "job", "ls"]).output().unwrap());
        let listed: Value = serde_json::from_str(&listed).unwrap();
        let listed = listed["jobs"].as_array().unwrap();
        assert!(listed.iter().all(|job| job["state"] == "finalized"), "{listed:?}");
        let ids: BTreeSet<&str> = listed.iter().map(|job| job["job_id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), listed.len(), "a job is listed twice");
        assert!(ids.into_iter().eq(finished.keys().map(String::as_str)), "the list and the books differ");
    }

    /// The books: contiguous, chained, each job once, each with its reference's bits. The final jobs, with their
    /// numbers.
    fn check(&self, jobs: &[Reference]) -> BTreeMap<String, u64> {
        let storage = Storage::open(&self.path()).unwrap();
        let (mut finished, mut prev) = (BTreeMap::new(), Hash::ZERO);
        for (seq, entry) in (0..).zip(ledger(&storage)) {
            let id = entry.job.to_string();
            assert_eq!((entry.seq, entry.prev), (seq, prev), "the ledger is broken at {seq}");
            prev = entry.hash();
            assert_eq!(entry.state, State::Finalized, "{id}: {:?}", entry.failure);
            let job = jobs.iter().position(|job| job.contract == entry.contract).expect("a contract of ours");
            assert!(self.known.get(&id).is_none_or(|known| *known == job), "{id} is another job");
            assert_eq!(entry.result_hash.unwrap().to_string(), jobs[job].result_hash, "job {id}");
            assert!(storage.job(&entry.job.0).unwrap().is_some(), "{id} is in the ledger and has no record");
            assert!(finished.insert(id, seq).is_none(), "{} has two results", entry.job);
        }
        assert_eq!(
            storage.jobs(None, usize::MAX).unwrap().len(),
            finished.len(),
            "records and ledger differ"
        );
        for (first, second) in &self.order {
            let before = finished.get(first);
            assert!(before.is_some(), "accepted {first} is lost: {second} took its place");
            assert!(
                finished.get(second).is_none_or(|after| before < Some(after)),
                "{second} was submitted while {first} was open"
            );
        }
        finished
    }

    /// Receipt, result and evidence of a job hold.
    fn verify(&self, id: &str) {
        let bundle = self.home.path().join(format!("{id}.tar"));
        text_of(
            &run_command(&self.path()).args(["receipt", "bundle", id, "-o"]).arg(&bundle).output().unwrap(),
        );
        let verified =
            text_of(&run_command(&self.path()).arg("--json").arg("verify").arg(&bundle).output().unwrap());
        let verified: Value = serde_json::from_str(&verified).unwrap();
        assert_eq!(verified["ok"], true, "{verified}");
        assert_eq!(verified["receipt"]["job_id"], id);
        std::fs::remove_file(bundle).unwrap();
    }
}

fn ledger(storage: &Storage) -> Vec<LedgerEntry> {
    let entry = |seq| {
        let bytes = storage.ledger(seq).unwrap().expect("the ledger has no gaps");
        canon::from_bytes::<LedgerEntry>(&bytes, limits::COMMAND_BYTES).unwrap()
    };
    (0..storage.ledger_len().unwrap()).map(entry).collect()
}

fn run_command(home: &Path) -> Command {
    let mut command = Command::new(forgemesh());
    command.arg("--home").arg(home).stdin(Stdio::null());
    command
}

/// The standard output of a command that must have succeeded.
fn text_of(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success(), "{:?}: {errors}{text}", output.status);
    text
}

/// Runs a command to its end or to its kill; any other end than success or that kill fails the test.
fn launch(command: &mut Command, kill: Kill) -> Ended {
    if command.get_args().any(|arg| arg == "run") {
        command.args(["--progress", "json"]);
    }
    let started = Instant::now();
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (sender, lines) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        // A torn last line is a kill in the middle of it.
        BufReader::new(stderr).lines().map_while(Result::ok).all(|line| sender.send(line).is_ok())
    });
    let (mut events, mut errors) = (Vec::new(), Vec::new());
    let deadline = match kill {
        Kill::After(delay) => started + delay,
        Kill::Never | Kill::At(_) => started + STUCK,
    };
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                let event = event_of(&line).ok_or(line);
                let now = matches!((&event, kill), (Ok(event), Kill::At(wanted)) if is(event, wanted));
                if now {
                    child.kill().unwrap();
                }
                event.map_or_else(|line| errors.push(line), |event| events.push(event));
                if now {
                    break;
                }
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                child.kill().unwrap();
                assert!(matches!(kill, Kill::After(_)), "stuck after {events:?}, killed: {command:?}");
                break;
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = child.wait().unwrap();
    // The events that were on their way when the kill came happened before it.
    lines.iter().for_each(|line| match event_of(&line) {
        Some(event) => events.push(event),
        None => errors.push(line),
    });
    reader.join().unwrap();
    let mut text = String::new();
    stdout.read_to_string(&mut text).unwrap();
    let killed = status.signal() == Some(SIGKILL) && !matches!(kill, Kill::Never);
    assert!(killed || status.success(), "{status:?} of {command:?}: {errors:?}, output {text:?}");
    let id = text.lines().find_map(|line| match line.split_once(' ')? {
        ("accepted", id) => Some((id.to_owned(), false)),
        ("resumed", id) => Some((id.to_owned(), true)),
        _ => None,
    });
    let hash = text.lines().find_map(|line| line.trim().strip_prefix("result_hash"));
    let result_hash = hash.map(|hash| hash.trim().to_owned()).filter(|hash| hash.len() == 64);
    Ended { killed, id, result_hash, events, elapsed: started.elapsed() }
}

fn event_of(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    Some(line["event"].as_str()?.to_owned())
}

/// A job that goes on says "resumed" where a new one says "accepted".
fn is(event: &str, wanted: &str) -> bool {
    event == wanted || (event == "resumed" && wanted == "accepted")
}
