//! A mesh that has grown goes on without its founder, even where everybody who is left has to start again.

use forgemesh_node::real::whereabouts::Whereabouts;
use forgemesh_tests::node::{Node, Running};
use serde_json::{Value, json};

use crate::pair::node;
use crate::promotion::{JOB, candidate, finished, id, settled};

fn status(asked: &Node) -> Value {
    let shown = asked.forgemesh(&["status", "--json"]);
    if shown.code == 0 { shown.json() } else { Value::Null }
}

/// A founder, two whom it has promoted, and an agent that nobody can dial; all are connected with each other.
fn grown() -> ((Node, Running), [(Node, Running); 3]) {
    let founder = Node::new();
    founder.init(&[]);
    let runs = founder.up();
    let members = [candidate(&founder, "first"), candidate(&founder, "second")];
    let agent = Node::new();
    let ticket = founder.ok(&["ticket", "create", "--json"]).json()["ticket"].clone();
    agent.ok(&["join", ticket.as_str().expect("a line"), "--name", "agent"]);
    let agent_runs = agent.up();
    let ids = members.each_ref().map(|(member, _)| id(member));
    founder.ok(&["node", "promote", &ids[0][..8], &ids[1][..8]]);
    let [first, second] = members;
    let others = [first, second, (agent, agent_runs)];
    for (asked, _) in &others {
        // By its own word: what it shows of nodes may be another's.
        asked.until("it knows who sits, and is connected with all", || {
            let status = status(asked);
            (&status["seats"], &status["network"]["peers"]) == (&json!(3), &json!(3))
        });
    }
    settled(&founder);
    for ((asked, _), members) in others.iter().zip([2, 2, 3]) {
        let known = || Whereabouts::read(&asked.home()).expect("it is as it was written").addresses().count();
        asked.until("it keeps where the others are", || known() >= members);
    }
    ((founder, runs), others)
}

#[test]
fn who_is_left_meets_again_after_the_founder_is_gone_for_good() {
    let ((founder, founder_runs), others) = grown();
    let gone = id(&founder);
    founder_runs.kill();
    drop(founder);
    let [(first, first_runs), (second, second_runs), (agent, agent_runs)] = others;
    assert_eq!(first_runs.down(&first), Some(0));
    second_runs.kill();
    agent_runs.kill();
    // All of them are off now: who starts first finds nobody.
    let others = [first, second, agent];
    let _running = others.each_ref().map(Node::up);
    let [first, second, agent] = &others;
    for asked in &others {
        asked.until("somebody leads", || status(asked)["leader"].as_str().is_some_and(|id| id != gone));
    }
    first.until("the agent is heard", || node(first, "agent")["live"] == json!(true));
    let job = agent.ok(&[&["job", "submit"], &JOB[..], &["--json"]].concat()).json()["job_id"].clone();
    let job = job.as_str().expect("an id");
    let alone = Node::new().ok(&[&["run"], &JOB[..], &["--json"]].concat()).json();
    for asked in [second, agent] {
        asked.until("the job is in its books", || finished(asked, job));
        let shown = asked.ok(&["job", "show", job, "--json"]).json();
        assert_eq!(shown["result_hash"], alone["result_hash"]);
    }
}
