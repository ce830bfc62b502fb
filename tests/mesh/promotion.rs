//! A mesh of one hub member becomes one of three by two commands, and then does without its founder.

use forgemesh_tests::node::{Node, Running};
use serde_json::{Value, json};

use crate::pair::node;

/// A job, as `run` and `job submit` take it.
pub const JOB: [&str; 4] = ["mc@1/insurance.v1", "iterations=300000", "--seed", "promotion"];

/// A node of the founder's mesh that stands for the hub, and listens on this machine.
pub fn candidate(founder: &Node, name: &str) -> (Node, Running) {
    standing(founder, name, &["--listen", "/ip4/127.0.0.1/tcp/0"])
}

/// One that was told this of where it listens.
fn standing(founder: &Node, name: &str, listen: &[&str]) -> (Node, Running) {
    let joined = Node::new();
    let ticket = founder.ok(&["ticket", "create", "--json"]).json()["ticket"].clone();
    joined.ok(&[&["join", ticket.as_str().expect("a line"), "--name", name], listen].concat());
    let config = joined.home().join("config.toml");
    let text = std::fs::read_to_string(&config).expect("it was written");
    std::fs::write(&config, text + "stand = true\n").expect("it can be written");
    let runs = joined.up();
    founder.until("the founder hears it", || node(founder, name)["candidate"] == json!(true));
    (joined, runs)
}

/// A node's id.
pub fn id(of: &Node) -> String {
    of.ok(&["node", "identity", "--json"]).json()["node"].as_str().expect("an id").to_owned()
}

/// Whom a node takes for the hub, in the order of their ids.
pub fn hub(asked: &Node) -> Vec<String> {
    let shown = asked.forgemesh(&["node", "ls", "--json"]);
    let nodes = if shown.code == 0 { shown.json()["nodes"].clone() } else { Value::Null };
    let members =
        nodes.as_array().cloned().unwrap_or_default().into_iter().filter(|n| n["hub"] == json!(true));
    members.map(|node| node["node"].as_str().expect("an id").to_owned()).collect()
}

/// Waits until its hub says that it bears the loss of a member, which takes a moment longer than that three sit.
pub fn settled(asked: &Node) {
    asked.until("one may be lost", || {
        let status = asked.forgemesh(&["status", "--json"]);
        status.code == 0 && status.json()["hub"]["spare"] == json!(1)
    });
}

/// Is the job final in its books?
pub fn finished(asked: &Node, job: &str) -> bool {
    let shown = asked.forgemesh(&["job", "show", job, "--json"]);
    shown.code == 0 && shown.json()["state"] == json!("finalized")
}

#[test]
fn a_mesh_of_one_grows_to_three_and_outlives_its_founder() {
    let founder = Node::new();
    let mesh = founder.init(&[])["mesh"].clone();
    let runs = founder.up();
    let ((first, _first_runs), (second, _second_runs)) =
        (candidate(&founder, "first"), candidate(&founder, "second"));
    let stranger = founder.forgemesh(&["node", "promote", &id(&founder)[..8]]);
    assert_eq!(stranger.code, 2, "it is admitted already: {}", stranger.stderr);
    let promoted = founder.ok(&["node", "promote", &id(&first)[..8], &id(&second)[..8], "--json"]).json();
    assert_eq!((&promoted["consents"], &promoted["needed"]), (&json!(1), &json!(1)), "{promoted}");
    let mut expected = vec![id(&founder), id(&first), id(&second)];
    expected.sort();
    for asked in [&founder, &first, &second] {
        asked.until("all three sit", || hub(asked) == expected);
    }
    // Any of them may go, even the one that began; a ticket, a job and its receipt need no more than the other two.
    settled(&founder);
    let told = founder.ok(&["status"]).text();
    assert!(told.contains("3 seats, any 1 may be lost"), "{told}");
    assert_eq!(node(&founder, "first")["votes"], json!(true));
    let gone = id(&founder);
    runs.kill();
    first.until("another leads", || {
        let status = first.forgemesh(&["status", "--json"]);
        let leader = if status.code == 0 { status.json()["leader"].clone() } else { Value::Null };
        leader.as_str().is_some_and(|leader| leader != gone)
    });
    let job = first.ok(&[&["job", "submit"], &JOB[..], &["--json"]].concat()).json()["job_id"].clone();
    let job = job.as_str().expect("an id").to_owned();
    second.until("the job is in the other's books", || finished(&second, &job));
    let receipt = second.ok(&["job", "receipt", &job]);
    let outside = Node::new();
    let file = outside.file("receipt.json", &receipt.stdout);
    let (file, mesh) = (file.to_str().expect("a path"), mesh.as_str().expect("an id"));
    let verified = outside.ok(&["verify", file, "--mesh", mesh, "--json"]).json();
    let check = |name: &str| {
        let found =
            verified["checks"].as_array().into_iter().flatten().find(|check| check["name"] == json!(name));
        found.map(|check| check["status"].clone())
    };
    assert_eq!((check("receipt.charter"), check("receipt.quorum")), (Some(json!("ok")), Some(json!("ok"))));
    let ticket = second.ok(&["ticket", "create", "--json"]).json()["ticket"].clone();
    let joined = Node::new();
    let joined = joined.ok(&["join", ticket.as_str().expect("a line"), "--name", "last", "--json"]).json();
    assert_eq!(joined["mesh"], json!(mesh));
}

#[test]
fn a_node_that_nobody_can_dial_is_not_promoted() {
    let founder = Node::new();
    founder.init(&[]);
    let _founder_runs = founder.up();
    let (mute, _mute_runs) = standing(&founder, "mute", &[]);
    let (open, _open_runs) = candidate(&founder, "open");
    let (mute_id, open_id) = (id(&mute), id(&open));
    // It says where it listens some moments after it is there. Whoever is named twice is not promoted in any case.
    founder.until("the founder knows that nobody can dial it", || {
        let seen = founder.forgemesh(&["node", "promote", &mute_id[..8], &mute_id[..8], "--json"]);
        seen.code == 2 && seen.json()["error"]["code"] == json!("not_dialable")
    });
    let error = founder.forgemesh(&["node", "promote", &open_id[..8], &mute_id[..8], "--json"]);
    let error = error.error(2, "not_dialable");
    let message = error["message"].as_str().expect("a text");
    assert!(message.contains(&mute_id) && message.contains("`listen` in its config.toml"), "{message}");
    assert_eq!(hub(&founder), [id(&founder)], "nothing has changed");
    let said = mute.ok(&["doctor", "--json"]).json();
    let checks = said["checks"].as_array().expect("a list");
    let listens = checks.iter().find(|check| check["check"] == json!("listens")).expect("it is looked at");
    assert_eq!(listens["verdict"], json!("warn"), "{listens}");
    assert!(listens["fix"].as_str().is_some_and(|fix| fix.contains("listen = [")), "{listens}");
    let log = std::fs::read_to_string(mute.path("up.log")).expect("its log");
    assert!(log.contains("no address under listen"), "{log}");
    let agent = Node::new();
    let ticket = founder.ok(&["ticket", "create", "--json"]).json()["ticket"].clone();
    agent.ok(&["join", ticket.as_str().expect("a line")]);
    let said = agent.ok(&["doctor", "--json"]).json();
    let checks = said["checks"].as_array().expect("a list");
    let listens = checks.iter().find(|check| check["check"] == json!("listens")).expect("it is looked at");
    assert_eq!(listens["verdict"], json!("pass"), "an agent needs no address: {listens}");
}
