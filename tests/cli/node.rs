//! A node of a test's own: a data folder, and the processes that use it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::forgemesh;

/// A data folder with room beside it for the test's files; both go when this is dropped.
pub struct Node {
    folder: TempDir,
    /// The words before its commands: what brings them to another place of the network. None: they run as they are.
    within: Vec<String>,
}

/// How a process ended.
pub struct Ended {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Default for Node {
    fn default() -> Node {
        Node::new()
    }
}

impl Node {
    /// A node that has never run.
    pub fn new() -> Node {
        Node::within(Vec::new())
    }

    /// One whose commands follow these words.
    pub fn within(words: Vec<String>) -> Node {
        Node { folder: tempfile::tempdir().expect("a temporary folder"), within: words }
    }

    /// Its data folder; it is there after the first command that makes one.
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// A path beside the data folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file beside the data folder.
    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).expect("the temporary folder can be written");
        path
    }

    /// A command of this node, its environment free of settings of the person who runs the tests.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut words = self.within.iter().map(AsRef::as_ref).chain([forgemesh().as_os_str()]);
        let mut command = Command::new(words.next().expect("the executable at least"));
        command.args(words).env_remove("FORGEMESH_HOME").env_remove("FORGEMESH_ISA");
        command
            .arg("--home")
            .arg(self.home())
            .args(args)
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn forgemesh(&self, args: &[&str]) -> Ended {
        Ended::of(self.command(args).output().expect("the executable starts"))
    }

    /// Runs a command that must succeed.
    pub fn ok(&self, args: &[&str]) -> Ended {
        let ended = self.forgemesh(args);
        assert_eq!(ended.code, 0, "forgemesh {args:?}:\n{}\n{}", ended.stderr, ended.text());
        ended
    }

    /// Runs an envelope with `--json --out out`; the object that it prints.
    pub fn run(&self, envelope: &Value, out: &str) -> Value {
        let file = self.file(&format!("{out}.job.json"), envelope.to_string());
        self.ok(&["run", path(&file), "--json", "--out", out]).json()
    }
}

/// Longer than any node takes to start or to stop on a slow machine: it is stuck then.
const STUCK: Duration = Duration::from_secs(120);

/// A node that runs, until it is told to stop or this is dropped.
pub struct Running(Child);

impl Node {
    /// Makes a mesh of this node that listens at a free port of this machine alone; what `init --json` says.
    pub fn init(&self, args: &[&str]) -> Value {
        let args = [&["init", "--json", "--listen", "/ip4/127.0.0.1/tcp/0"], args].concat();
        self.ok(&args).json()
    }

    /// Starts `forgemesh up`, and returns once it answers. Its log goes beside the data folder.
    pub fn up(&self) -> Running {
        let log = std::fs::File::create(self.path("up.log")).expect("the temporary folder can be written");
        let mut command = self.command(&["up", "--threads", "2"]);
        let mut running = Running(command.stdout(Stdio::null()).stderr(log).spawn().expect("it starts"));
        self.until("it answers", || {
            let ended = running.0.try_wait().expect("a child of ours");
            assert!(ended.is_none(), "{}", std::fs::read_to_string(self.path("up.log")).unwrap_or_default());
            self.forgemesh(&["status", "--json"]).code == 0
        });
        running
    }

    /// Waits until something holds.
    pub fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !holds() {
            assert!(begun.elapsed() < STUCK, "not after {STUCK:?}: {what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Running {
    /// Stops it as its operator does; its exit code.
    pub fn down(mut self, node: &Node) -> Option<i32> {
        node.ok(&["down"]);
        self.0.wait().expect("a child of ours").code()
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.end();
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    fn end(&mut self) {
        // One that has ended already is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

impl Ended {
    /// Of what the process left; a panic is always a failure of the test.
    pub fn of(output: Output) -> Ended {
        let stderr = String::from_utf8(output.stderr).expect("what people read is UTF-8");
        assert!(!stderr.contains("panicked"), "{stderr}");
        let code = output.status.code().expect("an exit code, not a signal");
        Ended { code, stdout: output.stdout, stderr }
    }

    /// Its standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Its standard output, which must be one JSON value.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|error| panic!("not one JSON value: {error}\n{}\n{}", self.text(), self.stderr))
    }

    /// Fails unless the process refused with this exit code and a `--json` error of this code; the error.
    pub fn error(&self, exit: i32, code: &str) -> Value {
        let error = self.json()["error"].clone();
        assert_eq!((self.code, &error["code"]), (exit, &json!(code)), "{}\n{}", self.text(), self.stderr);
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{error}");
        error
    }
}

/// A path as an argument.
pub fn path(path: &Path) -> &str {
    path.to_str().expect("temporary folders have UTF-8 names")
}

/// A small job whose result has percentiles and a distribution: a few milliseconds of work.
pub fn small_job() -> Value {
    json!({
        "op": {"name": "mc", "version": 1, "profile": "reserve.v1"},
        "args": {
            "triangle": [[100, 180, 220, 230], [110, 200, 240], [90, 170], [120]],
            "iterations": 3000, "levels": [0.5, 0.99],
        },
        "seed": {"mode": "explicit", "value": "cli"},
    })
}
