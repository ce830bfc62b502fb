//! A client: asks the hub at its time, asks again after every crash with the same signed bytes, until it is told that
//! its job is accepted or refused; some take their job back.

use forgemesh_node::core::{Reply, Request};
use forgemesh_protocol::cancellation::Cancellation;
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::keys::{SecretKey, Signed};
use forgemesh_protocol::limits;
use forgemesh_protocol::submission::{Offer, Submission};
use tokio::time::{Duration, sleep, sleep_until};

use crate::machine::{Ground, Machine};
use crate::world::{Answer, Broken, EPOCH_MS};

/// Until a hub without room is asked again.
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
    pub async fn ask(self, hub: Machine, ground: Ground) -> Result<Answer, Broken> {
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
        let reply = ask(&hub, || Request::Submit(Box::new(submission.clone()))).await;
        ground.trace.step("answer", self.number as u64, Hash::blob(format!("{reply:?}").as_bytes()));
        match reply {
            Reply::Accepted(job) if job == id => ground.witness.acknowledged(job),
            Reply::Refused(reason) => return Ok(Answer::Refused(reason.to_string())),
            other => return Err(Broken::Answer(format!("{other:?}"))),
        }
        if let Some(after_ms) = self.cancel_ms {
            sleep(Duration::from_millis(after_ms)).await;
            let cancellation = Signed::new(Cancellation { job: id }, mesh, &self.secret);
            ground.witness.cancelled(id);
            let reply = ask(&hub, || Request::Cancel(Box::new(cancellation.clone()))).await;
            ground.trace.step("cancelled", self.number as u64, Hash::blob(format!("{reply:?}").as_bytes()));
        }
        Ok(Answer::Accepted(id))
    }
}

/// Asks one life of the hub after the other, until one answers.
async fn ask(hub: &Machine, request: impl Fn() -> Request) -> Reply {
    let mut last = 0;
    loop {
        let (life, handle) = hub.alive(last).await;
        match handle.request(request()).await {
            Ok(Reply::DiskLow) => sleep(AGAIN).await,
            Ok(reply) => return reply,
            // A node that has stopped answers nobody; its next life is asked.
            Err(_) => last = life,
        }
    }
}
