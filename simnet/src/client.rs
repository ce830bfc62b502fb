//! A client: asks a node of the mesh at its time, asks the next one with the same signed bytes when that one is down or
//! has no answer, until it is told that its job is accepted; some take their job back.

use std::rc::Rc;

use forgemesh_node::core::{Reply, Request};
use forgemesh_protocol::cancellation::Cancellation;
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::keys::{SecretKey, Signed};
use forgemesh_protocol::limits;
use forgemesh_protocol::submission::{Offer, Submission};
use tokio::time::{Duration, sleep, sleep_until};

use crate::draws::Draws;
use crate::machine::{Ground, Machine};
use crate::witness::Witness;
use crate::world::{Broken, EPOCH_MS};

/// Until the next node is asked.
const AGAIN: Duration = Duration::from_secs(1);

/// What one client wants.
pub struct Client {
    /// Its job's number in the scenario.
    pub number: usize,
    pub at_ms: u64,
    pub cancel_ms: Option<u64>,
    pub envelope: Vec<u8>,
    pub secret: SecretKey,
}

impl Client {
    /// Asks until there is an answer.
    pub async fn ask(self, machines: Rc<Vec<Machine>>, ground: Ground) -> Result<(), Broken> {
        let submission = Submission {
            envelope: Bytes(self.envelope),
            offer: Offer::default(),
            nonce: Bytes(Hash::blob(&(self.number as u64).to_le_bytes()).0[..16].to_vec()),
            expires_ms: EPOCH_MS + self.at_ms + limits::SUBMISSION_TTL_MS,
        };
        let mesh = ground.genesis.mesh_id();
        let submission = Signed::new(submission, mesh, &self.secret);
        let id = submission.job_id(mesh);
        sleep_until(ground.trace.started() + Duration::from_millis(self.at_ms)).await;
        let mut nodes = Nodes::new(machines, &ground, self.number);
        let reply = nodes.ask(|| Request::Submit(Box::new(submission.clone()))).await;
        ground.trace.step("answer", self.number as u64, Hash::blob(format!("{reply:?}").as_bytes()));
        match reply {
            Reply::Accepted(job) if job == id => ground.witness.acknowledged(job),
            Reply::Refused(reason) => ground.witness.refused(id, &reason.to_string()),
            Reply::RefusedByHub(reason) => ground.witness.refused(id, &reason),
            other => return Err(Broken::Answer(format!("{other:?}"))),
        }
        if let Some(after_ms) = self.cancel_ms {
            sleep(Duration::from_millis(after_ms)).await;
            let cancellation = Signed::new(Cancellation { job: id }, mesh, &self.secret);
            ground.witness.cancelled(id);
            let reply = nodes.ask(|| Request::Cancel(Box::new(cancellation.clone()))).await;
            ground.trace.step("cancelled", self.number as u64, Hash::blob(format!("{reply:?}").as_bytes()));
        }
        Ok(())
    }
}

/// The nodes that a client knows, one of which it asks first.
pub(crate) struct Nodes {
    machines: Rc<Vec<Machine>>,
    turn: usize,
    witness: Witness,
}

impl Nodes {
    pub fn new(machines: Rc<Vec<Machine>>, ground: &Ground, client: usize) -> Nodes {
        let last = machines.len() as u64 - 1;
        let turn = Draws::new(ground.seed, &format!("client {client}")).between(0, last) as usize;
        Nodes { machines, turn, witness: ground.witness.clone() }
    }

    /// Asks one node after the other, until one answers.
    pub async fn ask(&mut self, request: impl Fn() -> Request) -> Reply {
        loop {
            if let Some(handle) = self.machines[self.turn % self.machines.len()].handle() {
                match handle.request(request()).await {
                    Ok(Reply::DiskLow) => self.witness.refused_for_room(),
                    // A leader without room.
                    Ok(Reply::RefusedByHub(reason)) if reason.contains("try again later") => {
                        self.witness.refused_for_room();
                    }
                    // It is full of questions, knows no leader, or has stopped.
                    Ok(Reply::Busy | Reply::NoAnswer) | Err(_) => {}
                    Ok(reply) => return reply,
                }
            }
            self.turn += 1;
            sleep(AGAIN).await;
        }
    }
}
