//! A disk that fills up under a node, and has room again: a file system of a few hundred megabytes in memory. It takes
//! the right to mount one; where there is none, the test says so.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use super::node::{Node, path, small_job};

/// A small file system, until this is dropped.
struct Volume(PathBuf);

impl Volume {
    fn mount(place: PathBuf, mib: u64) -> Option<Volume> {
        std::fs::create_dir(&place).expect("the temporary folder can be written");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={mib}m,mode=700"), "none", path(&place)]);
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then_some(Volume(place))
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Whoever still has a file open there keeps it until it ends.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Writes until there is no room, or so many MiB are written.
fn fill(place: &Path, mib: usize) {
    let mut file = std::fs::File::create(place).expect("a file takes no room");
    let zeros = vec![0; 1 << 20];
    for _ in 0..mib {
        if file.write_all(&zeros).is_err() {
            return;
        }
    }
}

#[test]
fn a_node_whose_disk_fills_up_goes_on_and_takes_work_again_once_there_is_room() {
    let node = Node::new();
    let Some(volume) = Volume::mount(node.home(), 420) else {
        // Past the test runner, which shows what a test prints only if it fails.
        let text = "\nSKIPPED, for a file system may not be mounted here; run it as root\n";
        std::io::stderr().write_all(text.as_bytes()).expect("standard error is open");
        return;
    };
    node.init(&[]);
    let running = node.up();
    let file = node.file("small.json", small_job().to_string());
    let small = node.ok(&["job", "submit", path(&file), "--wait", "--json"]).json()["job_id"].clone();
    let small = small.as_str().expect("an id").to_owned();
    let is_low = |low: bool| node.ok(&["status", "--json"]).json()["disk_low"] == json!(low);

    // Little room: nothing new, but all that was is there.
    let filler = volume.0.join("filler");
    fill(&filler, 250);
    node.until("the node has seen that", || is_low(true));
    let error = node.forgemesh(&["job", "submit", path(&file), "--json"]).error(1, "disk_low");
    assert!(error["message"].as_str().is_some_and(|text| text.contains("free some")), "{error}");
    node.forgemesh(&["artifact", "put", path(&file), "--json"]).error(1, "disk_low");
    assert_eq!(node.ok(&["job", "show", &small, "--json"]).json()["state"], json!("finalized"));
    node.ok(&["job", "receipt", &small]);
    std::fs::remove_file(&filler).expect("our file");
    node.until("there is room", || is_low(false));

    // No room at all, in the middle of a job: it waits for some, and then the job is finished.
    let args = ["mc@1/insurance.v1", "iterations=100000000"];
    let job = node.ok(&[&["job", "submit"], &args[..], &["--json"]].concat()).json()["job_id"].clone();
    let job = job.as_str().expect("an id").to_owned();
    fill(&filler, usize::MAX);
    let log = || std::fs::read_to_string(node.path("up.log")).unwrap_or_default();
    // A failure gives some room back, which is filled again: for a while there is none.
    let (mut fillers, mut again) = (Vec::new(), 0);
    node.until("a write has failed", || {
        let another = volume.0.join(format!("filler{}", fillers.len()));
        fill(&another, usize::MAX);
        fillers.push(another);
        again += u32::from(log().contains("the node opens its data folder again"));
        again > 40
    });
    assert!(log().contains("the disk is full, what was accepted is kept: free some space"), "{}", log());
    fillers.push(filler);
    fillers.iter().for_each(|filler| std::fs::remove_file(filler).expect("our file"));
    let finished = || node.forgemesh(&["job", "show", &job, "--json"]);
    node.until("the job is finished", || {
        let ended = finished();
        ended.code == 0 && ended.json()["state"] == json!("finalized")
    });
    let elsewhere = Node::new();
    let same = elsewhere.ok(&[&["run"], &args[..], &["--json"]].concat()).json();
    assert_eq!(finished().json()["result_hash"], same["result_hash"]);
    node.until("there is room", || is_low(false));
    node.ok(&["job", "submit", path(&file), "--wait"]);
    assert_eq!(running.down(&node), Some(0));
}
