//! The control socket against clients that misbehave: each is told what is wrong, and the others are served.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use forgemesh_protocol::limits;
use serde_json::{Value, json};

use super::draws::Draws;
use super::node::Node;

fn connect(node: &Node) -> BufReader<UnixStream> {
    let stream = UnixStream::connect(node.home().join("control.sock")).expect("the node listens");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket");
    BufReader::new(stream)
}

/// Sends bytes; the node may have hung up already.
fn send(client: &mut BufReader<UnixStream>, bytes: &[u8]) {
    let _ = client.get_mut().write_all(bytes);
}

fn line(client: &mut BufReader<UnixStream>) -> Value {
    let mut line = String::new();
    client.read_line(&mut line).expect("a line in time");
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

#[test]
fn what_is_no_request_is_named_and_the_connection_goes_on() {
    let node = Node::new();
    node.init(&[]);
    let running = node.up();
    let mut client = connect(&node);
    for (bytes, word) in [
        (&b"nonsense\n"[..], "expected"),
        (b"\n", "not a request"),
        (b"{\"do\":\"dance\"}\n", "dance"),
        (b"{\"do\":\"show\"}\n", "job"),
        (b"{\"do\":\"status\",\"loud\":true}\n", "loud"),
        (b"\xff\xfe{}\n", "not a request"),
    ] {
        send(&mut client, bytes);
        let error = line(&mut client)["error"].clone();
        assert_eq!(error["code"], json!("usage"), "{error}");
        assert!(error["message"].as_str().is_some_and(|text| text.contains(word)), "{word}: {error}");
    }
    // Several at once are answered in order; the last needs no line end.
    send(&mut client, b"{\"do\":\"jobs\"}\n{\"do\":\"status\"}\n{\"do\":\"refusals\"}");
    client.get_mut().shutdown(std::net::Shutdown::Write).expect("a socket");
    assert!(line(&mut client)["ok"]["jobs"].is_array());
    assert_eq!(line(&mut client)["ok"]["pid"], json!(running.id()));
    assert!(line(&mut client)["ok"]["refusals"].is_array());
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).expect("the end");
    assert!(rest.is_empty());
}

#[test]
fn a_line_that_is_too_long_ends_its_connection_alone() {
    let node = Node::new();
    node.init(&[]);
    let _running = node.up();
    let mut client = connect(&node);
    send(&mut client, &vec![b' '; limits::CONTROL_BYTES + 1]);
    let error = line(&mut client)["error"].clone();
    assert!(
        error["message"]
            .as_str()
            .is_some_and(|text| text.contains(&format!("{} bytes", limits::CONTROL_BYTES))),
        "{error}"
    );
    assert_eq!(client.read_line(&mut String::new()).unwrap_or(0), 0, "it hung up");
    node.ok(&["status"]);
}

#[test]
fn random_bytes_and_idle_clients_keep_nobody_waiting() {
    let node = Node::new();
    node.init(&[]);
    let _running = node.up();
    let mut draws = Draws::new("control");
    let mut idle = Vec::new();
    for _ in 0..40 {
        let mut client = connect(&node);
        let bytes: Vec<u8> = (0..draws.below(2_000)).map(|_| draws.below(256) as u8).collect();
        send(&mut client, &bytes);
        // Half of them stay and say nothing more.
        if draws.below(2) == 0 {
            idle.push(client);
        }
    }
    node.ok(&["status"]);
    // With as many as there may be, one more is turned away; when they have gone there is room again.
    while idle.len() < limits::CONTROL_CLIENTS {
        idle.push(connect(&node));
    }
    let mut one_more = connect(&node);
    send(&mut one_more, b"{\"do\":\"status\"}\n");
    assert_eq!(one_more.read_line(&mut String::new()).unwrap_or(0), 0);
    drop(idle);
    node.until("there is room again", || node.forgemesh(&["status"]).code == 0);
}

#[test]
fn watchers_see_every_step_of_a_job() {
    let node = Node::new();
    node.init(&[]);
    let _running = node.up();
    node.ok(&["node", "pause"]);
    // Long enough to be seen to run.
    let submit = ["job", "submit", "diag@1/mix.v1", "iterations=2000000", "--json"];
    let id = node.ok(&submit).json()["job_id"].clone();
    let mut watchers: Vec<_> = (0..3).map(|_| connect(&node)).collect();
    for watcher in &mut watchers {
        send(watcher, format!("{{\"do\":\"watch\",\"job\":{id}}}\n").as_bytes());
    }
    // One that reads nothing keeps nobody waiting.
    let mut deaf = connect(&node);
    send(&mut deaf, b"{\"do\":\"watch\"}\n");
    node.ok(&["node", "resume"]);
    for watcher in &mut watchers {
        let mut states = Vec::new();
        let last = loop {
            let value = line(watcher);
            match value["event"]["state"].as_str() {
                Some(state) => states.push(state.to_owned()),
                None if value["event"]["alive"] == json!(true) => {}
                None => break value,
            }
        };
        // The end is the answer; an event may have said so before, if nobody has seen it in the books by then.
        assert_eq!(last, json!({ "ok": { "job_id": id, "state": "finalized" } }));
        assert!(states.contains(&"running".to_owned()), "{states:?}");
    }
}
