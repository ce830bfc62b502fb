//! Questions that go to another node: those of this node's clients to the hub, and those of others' clients to this one.

use std::collections::BTreeSet;
use std::sync::{Arc, MutexGuard, PoisonError};

use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::id::{JobId, NodeId};
use forgemesh_protocol::limits;
use forgemesh_protocol::wire;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{Answer, Desk, LOOK_FIRST, LOOK_MOST};
use crate::cli::embedded::unexpected;
use crate::cli::error::CliError;
use crate::core::{Asked, Reply, Request as Ask};
use crate::real::control::request::Request;
use crate::real::control::{Answers, told};

impl Desk {
    /// Asks the hub's leader.
    pub(super) async fn forward(&self, request: &Request) -> Result<Answer, CliError> {
        match self.handle.request(Ask::Ask(Bytes(request.line()))).await? {
            Reply::Answered(answer) => {
                let wire::Answer { refused, json, attached } = *answer;
                let value: Value = serde_json::from_slice(&json.0).map_err(|_| CliError::Hung)?;
                if refused { Err(CliError::Node(value)) } else { Ok((value, attached.0)) }
            }
            other => Err(unexpected(other)),
        }
    }

    /// The id of a job that the hub knows by this name.
    pub(super) async fn id_there(&self, name: &str) -> Result<JobId, CliError> {
        let (value, _) = self.forward(&Request::Show { job: name.to_owned() }).await?;
        let id = value["job_id"].as_str().and_then(|id| id.parse().ok());
        id.ok_or_else(|| CliError::NoJob(name.to_owned()))
    }

    /// Looks at a job of the hub again and again, and tells a client what changed.
    pub(super) async fn watch_there(&self, name: &str, out: &mut Answers) -> Result<Value, CliError> {
        let job = self.id_there(name).await?;
        let (mut last, mut pause) = (Value::Null, LOOK_FIRST);
        loop {
            let (value, _) = self.forward(&Request::Show { job: job.to_string() }).await?;
            let state = value["state"].clone();
            if value.get("receipt").is_some() {
                return Ok(json!({ "job_id": job, "state": state }));
            }
            let event = json!({
                "job_id": job, "state": state, "stage": value["stage"],
                "attested_shards": value["attested_shards"], "shards": value["shards"],
            });
            let beat = json!({ "alive": true });
            if out.event(if event == last { &beat } else { &event }).await.is_err() {
                return Ok(Value::Null);
            }
            last = event;
            sleep(pause).await;
            pause = (pause * 3 / 2).min(LOOK_MOST);
        }
    }

    /// Answers other nodes, as long as the node runs.
    pub(super) async fn answer_others(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut asked) = asked else { return };
        let mut errands = JoinSet::new();
        loop {
            tokio::select! {
                next = asked.recv() => match next {
                    Some(asked) => self.take_up(asked, &mut errands),
                    None => return,
                },
                Some(_) = errands.join_next() => {}
                () = told(&mut stopped) => return,
            }
        }
    }

    /// Begins to answer, unless it does already: who waits asks again.
    fn take_up(self: &Arc<Self>, asked: Asked, errands: &mut JoinSet<()>) {
        let key = (asked.from, asked.number);
        let of_node = self.answering().iter().filter(|(from, _)| *from == asked.from).count();
        let room = errands.len() < limits::ASKS && of_node < limits::ASKS_OF_NODE;
        if room && self.answering().insert(key) {
            let desk = Arc::clone(self);
            errands.spawn(async move {
                let answer = Box::new(desk.answer_one(&asked.body.0).await);
                let reply = Ask::Answer { to: asked.from, number: asked.number, answer };
                // A node that stops answers nobody.
                let _ = desk.handle.request(reply).await;
                desk.answering().remove(&key);
            });
        }
    }

    async fn answer_one(&self, line: &[u8]) -> wire::Answer {
        let answered = match Request::read(line) {
            _ if line.len() > limits::ASK_BYTES => Err(CliError::Usage("the request is too long".to_owned())),
            Ok(request) if request.is_relayed() => self.act(request).await,
            Ok(_) => Err(CliError::Usage("only a node's own operator may ask that; ask him".to_owned())),
            Err(error) => Err(CliError::Usage(format!("not a request: {error}"))),
        };
        let json = |value: &Value| Bytes(value.to_string().into_bytes());
        match answered {
            Ok((value, attached)) if attached.len() < limits::ACCUMULATOR_BYTES => {
                wire::Answer { refused: false, json: json(&value), attached: Bytes(attached) }
            }
            Ok(_) => {
                let text = "what was asked for is too large to be sent; ask on the hub member itself";
                let error = CliError::Usage(text.to_owned()).object();
                wire::Answer { refused: true, json: json(&error), attached: Bytes(Vec::new()) }
            }
            Err(error) => {
                wire::Answer { refused: true, json: json(&error.object()), attached: Bytes(Vec::new()) }
            }
        }
    }

    fn answering(&self) -> MutexGuard<'_, BTreeSet<(NodeId, u64)>> {
        self.answering.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
