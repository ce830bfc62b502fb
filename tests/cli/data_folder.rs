//! The data folder and the settings of the process: what is wrong with them is named, and nothing is overwritten.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use serde_json::json;

use super::node::{Node, path};

/// A node that has run one job.
fn used() -> Node {
    let node = Node::new();
    node.ok(&["run", "diag@1/noop.v1"]);
    node
}

#[test]
fn a_second_process_is_told_that_the_folder_is_in_use() {
    let node = Node::new();
    let args = ["run", "mc@1/insurance.v1", "iterations=1e11", "--threads", "1", "--progress", "none"];
    let mut first =
        node.command(&args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    let mut line = String::new();
    BufReader::new(first.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    let id = line.strip_prefix("accepted ").unwrap_or_else(|| panic!("{line}")).trim_end().to_owned();
    for args in
        [vec!["job", "ls"], vec!["run", "diag@1/noop.v1"], vec!["job", "resume"], vec!["job", "show", &id]]
    {
        let args: Vec<&str> = args.into_iter().chain(["--json"]).collect();
        let error = node.forgemesh(&args).error(1, "data_folder_in_use");
        let message = error["message"].as_str().expect("a text");
        assert!(message.contains(path(&node.home())), "{message}");
        assert!(message.contains("wait until it ends, or stop it"), "{message}");
    }
    // What needs no folder works meanwhile.
    node.ok(&["op", "ls"]);
    node.ok(&["plan", "mc@1/insurance.v1"]);
    first.kill().expect("it runs");
    first.wait().expect("it ends");
    // Accepted is durable: the job is still there, not final, and says so.
    let jobs = node.ok(&["job", "ls", "--json"]).json();
    assert_eq!(jobs["jobs"][0]["job_id"], json!(id));
    let shown = node.ok(&["job", "show", &id[..8], "--json"]).json();
    assert_eq!(shown["job_id"], json!(id));
    let ended = node.forgemesh(&["job", "result", &id, "--json"]);
    ended.error(1, "not_final");
    assert_eq!(ended.json()["job_id"], json!(id));
}

#[test]
fn an_unknown_instruction_set_is_refused() {
    let node = Node::new();
    for name in ["nonsense", "AVX2", "avx2 "] {
        let mut command = node.command(&["run", "diag@1/noop.v1", "--json"]);
        let output = command.env("FORGEMESH_ISA", name).output().expect("it starts");
        let error = super::node::Ended::of(output).error(2, "usage");
        assert!(
            error["message"].as_str().is_some_and(|text| text.contains("portable, avx2, avx512")),
            "{error}"
        );
    }
    let empty =
        node.command(&["run", "diag@1/noop.v1"]).env("FORGEMESH_ISA", "").output().expect("it starts");
    assert!(empty.status.success(), "empty means the best one");
}

#[test]
fn a_key_file_that_others_can_read_is_not_used() {
    let node = used();
    let key = node.home().join("node.key");
    let mode = |mode| std::fs::set_permissions(&key, PermissionsExt::from_mode(mode)).expect("our file");
    let before = std::fs::read(&key).expect("the key");
    assert_eq!(std::fs::metadata(&key).expect("the key").permissions().mode() & 0o777, 0o600);
    for bits in [0o644, 0o640, 0o604] {
        mode(bits);
        let error = node.forgemesh(&["run", "diag@1/noop.v1", "--json"]).error(1, "data_folder");
        let message = error["message"].as_str().expect("a text");
        assert!(message.contains("node.key") && message.contains("chmod 600"), "{message}");
    }
    assert_eq!(std::fs::read(&key).expect("the key"), before);
    mode(0o600);
    node.ok(&["run", "diag@1/noop.v1"]);
}

#[test]
fn a_damaged_or_foreign_key_file_is_named_and_kept() {
    let node = used();
    let key = node.home().join("node.key");
    let genuine = std::fs::read_to_string(&key).expect("the key");
    for text in [
        String::new(),
        genuine[1..].to_owned(),
        genuine.replace("key v1", "key v2"),
        "x".repeat(genuine.len()),
    ] {
        std::fs::write(&key, &text).expect("our file");
        let error = node.forgemesh(&["job", "ls", "--json"]).error(1, "data_folder");
        assert!(error["message"].as_str().is_some_and(|text| text.contains("node.key")), "{error}");
        assert_eq!(std::fs::read_to_string(&key).expect("the key"), text);
    }
    // Another identity cannot take over this one's books.
    let stranger = used();
    std::fs::copy(stranger.home().join("node.key"), &key).expect("our file");
    node.forgemesh(&["run", "diag@1/noop.v1", "--json"]).error(1, "data_folder");
    std::fs::write(&key, genuine).expect("our file");
    node.ok(&["run", "diag@1/noop.v1"]);
}

#[test]
fn a_folder_that_cannot_be_one_is_named() {
    let node = Node::new();
    node.file("home", "a file");
    let error = node.forgemesh(&["run", "diag@1/noop.v1", "--json"]).error(1, "data_folder");
    assert!(error["message"].as_str().is_some_and(|text| text.contains(path(&node.home()))), "{error}");
}

#[test]
fn reading_commands_make_no_folder() {
    let node = Node::new();
    for args in [
        vec!["job", "ls"],
        vec!["job", "show", "abcd"],
        vec!["receipt", "bundle", "abcd"],
        vec!["job", "resume"],
    ] {
        let args: Vec<&str> = args.into_iter().chain(["--json"]).collect();
        let error = node.forgemesh(&args).error(2, "usage");
        assert!(
            error["message"].as_str().is_some_and(|text| text.contains("`forgemesh run` makes one")),
            "{error}"
        );
    }
    assert!(!node.home().exists());
}

#[test]
fn the_folder_is_taken_from_the_environment_too() {
    let node = Node::new();
    let home = node.path("from the environment");
    let mut command = std::process::Command::new(forgemesh_tests::forgemesh());
    command.args(["run", "diag@1/noop.v1"]).env("FORGEMESH_HOME", &home);
    assert!(command.status().expect("it starts").success());
    assert!(home.join("node.key").exists());
    assert_eq!(std::fs::metadata(&home).expect("the folder").permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_damaged_database_is_an_error_and_no_panic() {
    for damage in [0, 1, 100, 4096] {
        let node = used();
        let database = node.home().join(forgemesh_storage::DATABASE_FILE_NAME);
        let bytes = std::fs::read(&database).expect("the database");
        std::fs::write(&database, &bytes[..damage]).expect("our file");
        let ended = node.forgemesh(&["job", "ls", "--json"]);
        ended.error(1, "data_folder");
    }
}
