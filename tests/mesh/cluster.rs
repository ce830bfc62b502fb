//! Nodes under `forgemesh dev cluster`, five if a test does not say: n1 to n3 are the hub, the others agents. A node that a test has killed it
//! starts again itself.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use forgemesh_tests::node::{Ended, Node};
use serde_json::{Value, json};

/// How long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// The cluster.
pub struct Cluster {
    node: Node,
    count: usize,
    process: Option<Child>,
}

impl Cluster {
    /// Five new nodes, running.
    pub fn new() -> Cluster {
        Cluster::of(5)
    }

    /// So many new nodes, running.
    pub fn of(count: usize) -> Cluster {
        let mut cluster = Cluster { node: Node::new(), count, process: None };
        cluster.start();
        cluster
    }

    /// Starts the nodes of the folder, and waits until the cluster says that they run: until then none of them may end, and
    /// all are stopped if one does.
    pub fn start(&mut self) {
        let dir = self.dir();
        let (dir, count) = (dir.to_str().expect("a path"), self.count.to_string());
        let mut command = self.node.command(&["dev", "cluster", "--nodes", &count, "--dir", dir]);
        let (told, said) = (self.node.path("cluster.out"), self.node.path("cluster.log"));
        let [out, log] = [&told, &said].map(|path| std::fs::File::create(path).expect("a file"));
        let process = command.stdin(Stdio::null()).stdout(out).stderr(log).spawn();
        self.process = Some(process.expect("it starts"));
        until("all nodes know who leads", || {
            let ended = self.process.as_mut().map(|process| process.try_wait().expect("it was started"));
            assert_eq!(ended, Some(None), "{}", std::fs::read_to_string(&said).expect("its own"));
            let told = std::fs::read_to_string(&told).expect("its own");
            told.contains("nodes run in") && (1..=self.count).all(|node| self.leader_of(node).is_some())
        });
    }

    /// What somebody hears who starts a cluster in the same folder.
    pub fn start_another(&self) -> Ended {
        let (dir, count) = (self.dir(), self.count.to_string());
        self.node.forgemesh(&[
            "--json",
            "dev",
            "cluster",
            "--nodes",
            &count,
            "--dir",
            dir.to_str().expect("a path"),
        ])
    }

    /// Stops it as Ctrl-C would; every node is down afterwards.
    pub fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let id = rustix::process::Pid::from_child(&process);
        rustix::process::kill_process(id, rustix::process::Signal::INT).expect("it runs");
        assert!(process.wait().expect("it ends").success());
    }

    /// From the next start on every node begins with one address alone, that of the first one, and remembers no other.
    pub fn know_only_the_first(&self) {
        let first = self.first_address();
        for node in 1..=self.count {
            let mut config = self.config(node);
            let known: Vec<toml::Value> = if node == 1 { Vec::new() } else { vec![first.as_str().into()] };
            config.insert("bootstrap".to_owned(), known.into());
            std::fs::write(self.folder(node).join("config.toml"), config.to_string()).expect("its own");
            // It may have been too short a life to find anybody.
            let _ = std::fs::remove_file(self.folder(node).join("whereabouts"));
        }
    }

    /// Where the first node is reached, as the last one is told.
    pub fn first_address(&self) -> String {
        self.config(self.count)["bootstrap"][0].as_str().expect("the first member's address").to_owned()
    }

    fn config(&self, node: usize) -> toml::Table {
        let text = std::fs::read_to_string(self.folder(node).join("config.toml")).expect("it was written");
        text.parse().expect("TOML")
    }

    /// A node's data folder.
    pub fn folder(&self, node: usize) -> PathBuf {
        self.dir().join(format!("n{node}"))
    }

    fn dir(&self) -> PathBuf {
        self.node.path("cluster")
    }

    /// The command line, asking one of the nodes.
    pub fn ask(&self, node: usize, args: &[&str]) -> Ended {
        let folder = self.folder(node);
        let args = [&["--node", folder.to_str().expect("a path"), "--json"], args].concat();
        self.node.forgemesh(&args)
    }

    /// The command line, on the folder of a node that does not run.
    pub fn alone(&self, node: usize, args: &[&str]) -> Ended {
        let folder = self.folder(node);
        let mut command = Command::new(forgemesh_tests::forgemesh());
        let ended = command.arg("--home").arg(&folder).arg("--json").args(args).output();
        Ended::of(ended.expect("it starts"))
    }

    /// How a node stands, by its own word; none if it does not run.
    pub fn status(&self, node: usize) -> Option<Value> {
        let asked = self.ask(node, &["status"]);
        (asked.code == 0).then(|| asked.json())
    }

    /// Who leads, by the word of a node; none if it does not run or does not know.
    pub fn leader_of(&self, node: usize) -> Option<String> {
        self.status(node)?["leader"].as_str().map(str::to_owned)
    }

    /// The hub member that leads, by its own word.
    pub fn leader(&self) -> Option<usize> {
        (1..=3).find(|node| self.status(*node).is_some_and(|status| status["leads"] == json!(true)))
    }

    /// Submits a job through a node, and says its id.
    pub fn submit(&self, node: usize, args: &[&str]) -> String {
        let submitted = self.ask(node, &[&["job", "submit"], args].concat());
        assert_eq!(submitted.code, 0, "{}{}", submitted.text(), submitted.stderr);
        submitted.json()["job_id"].as_str().expect("an id").to_owned()
    }

    /// How a job stands, as a node shows it.
    pub fn job(&self, node: usize, id: &str) -> Value {
        let shown = self.ask(node, &["job", "show", id]);
        if shown.code == 0 { shown.json() } else { Value::Null }
    }

    /// The final jobs in a node's books: id and digest.
    pub fn books(&self, node: usize) -> Vec<(String, Value)> {
        let listed = self.ask(node, &["job", "ls", "--limit", "1000"]);
        let jobs = if listed.code == 0 { listed.json()["jobs"].clone() } else { Value::Null };
        let of =
            |job: &Value| (job["job_id"].as_str().unwrap_or_default().to_owned(), job["result_hash"].clone());
        let finals = |job: &&Value| job["state"] == json!("finalized") || job["state"] == json!("failed");
        jobs.as_array().into_iter().flatten().filter(finals).map(of).collect()
    }

    /// Kills a node as a power cut would.
    pub fn kill(&self, node: usize) {
        let id = self.status(node).expect("it runs")["pid"].as_i64().expect("a number");
        let id = rustix::process::Pid::from_raw(i32::try_from(id).expect("a process")).expect("not zero");
        rustix::process::kill_process(id, rustix::process::Signal::KILL).expect("it runs");
        until("it is gone", || self.status(node).is_none());
    }

    /// Starts a killed node again.
    pub fn revive(&self, node: usize) {
        let folder = self.folder(node);
        let mut up = Command::new(forgemesh_tests::forgemesh());
        let up = up.arg("--home").arg(&folder).args(["--threads", "1", "up", "--detach"]).output();
        let up = Ended::of(up.expect("it starts"));
        assert_eq!(up.code, 0, "{}{}", up.text(), up.stderr);
        until("it knows who leads", || self.leader_of(node).is_some());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Nodes that a test has started again are children of nobody here.
        for node in 1..=self.count {
            let _ = self.ask(node, &["down"]);
        }
        if let Some(mut process) = self.process.take() {
            let id = rustix::process::Pid::from_child(&process);
            let _ = rustix::process::kill_process(id, rustix::process::Signal::INT);
            let _ = process.wait();
        }
    }
}

/// Waits until something holds.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
