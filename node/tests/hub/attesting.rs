//! From an attestation to the log: in order, with its blobs, and an answer whatever became of it.

use forgemesh_consensus::command::Command;
use forgemesh_consensus::job::Reason;
use forgemesh_node::core::{Input, Reply, Request};
use forgemesh_node::ports::{Done, Work};
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::challenge::{CheckOutcome, Mismatch, MismatchKind};
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::JobId;
use forgemesh_protocol::keys::{SecretKey, Signable, Signed};
use forgemesh_protocol::limits;
use forgemesh_protocol::state::State;
use forgemesh_protocol::wire::Message;

use super::bench::{Agent, Bench, mix, shards};

fn attests(command: &Command) -> bool {
    matches!(command, Command::Attest { .. })
}

/// One agent with all three shards of a job.
fn lent(verify: &str) -> (Bench, Agent, JobId) {
    let mut bench = Bench::new();
    let mut agent = Agent::new(10, 1);
    bench.hello(&[&agent]);
    let id = bench.submit(&mix(3, &format!(r#"{{"verify":"{verify}"}}"#)));
    assert_eq!(bench.deliver(&mut agent), 3);
    bench.sent.clear();
    (bench, agent, id)
}

#[test]
fn an_attestation_is_logged_once_its_blobs_are_here() {
    let (mut bench, mut agent, _) = lent("none");
    let offer = agent.leases[0].clone();
    let (message, blobs) = agent.attest(&bench, &offer, &[0, 1]);
    bench.from(&agent, message.clone());
    let addresses: Vec<Hash> = blobs.iter().map(|bytes| Hash::blob(bytes)).collect();
    let told = bench.told(&agent);
    let [Message::Fetch { blobs: asked }] = told.as_slice() else { panic!("{told:?}") };
    assert!(asked.len() == 2 && asked.iter().all(|blob| addresses.contains(blob)));
    bench.from(&agent, Message::Blob { bytes: Bytes(b"nobody asked for this".to_vec()) });
    bench.from(&agent, Message::Blob { bytes: Bytes(blobs[0].clone()) });
    assert_eq!(bench.logged(attests), 0);
    // Nobody answers: it asks again for what is missing.
    bench.pass(limits::RETRY_MS + 1, &[&agent]);
    assert_eq!(bench.told(&agent), [Message::Fetch { blobs: vec![addresses[1]] }]);
    bench.from(&agent, Message::Blob { bytes: Bytes(blobs[1].clone()) });
    assert_eq!(bench.logged(attests), 1);
    let Message::Attest(attested) = message else { panic!("an attestation") };
    let members = attested.attestation.body.members;
    assert!(addresses.iter().chain([&members]).all(|blob| bench.blobs.contains(blob)), "all of it is kept");
    assert!(!bench.blobs.contains(&Hash::blob(b"nobody asked for this")));
}

#[test]
fn links_that_come_out_of_order_are_logged_in_order() {
    let (mut bench, mut agent, id) = lent("none");
    let offer = agent.leases[0].clone();
    let links: Vec<_> = (0..3).map(|shard| agent.attest(&bench, &offer, &[shard])).collect();
    for (message, blobs) in links.iter().rev() {
        assert_eq!(bench.logged(attests), 0);
        bench.from(&agent, message.clone());
        bench.from(&agent, Message::Blob { bytes: Bytes(blobs[0].clone()) });
    }
    assert_eq!(bench.logged(attests), 3);
    let credited: Vec<_> = bench
        .job(&id)
        .expect("open")
        .batches
        .iter()
        .map(|b| b.credited.iter().next().expect("one"))
        .collect();
    assert_eq!(credited, [0, 1, 2]);
    // A repetition is answered, not logged.
    bench.sent.clear();
    bench.from(&agent, links[0].0.clone());
    assert!(matches!(bench.sent.pop_front(), Some((_, Message::Logged { seq: 3, .. }))));
    assert_eq!(bench.logged(attests), 3);
}

#[test]
fn a_blob_that_is_gone_does_not_stop_the_chain() {
    let (mut bench, mut agent, id) = lent("none");
    let offer = agent.leases[0].clone();
    let (message, blobs) = agent.attest(&bench, &offer, &[0, 1, 2]);
    bench.from(&agent, message);
    bench.from(&agent, Message::Blob { bytes: Bytes(blobs[0].clone()) });
    bench.from(&agent, Message::Blob { bytes: Bytes(blobs[1].clone()) });
    bench.from(&agent, Message::NoBlob { blob: Hash::blob(&blobs[2]) });
    assert_eq!((bench.logged(attests), bench.job(&id).expect("open").state), (1, State::Aggregating));
    // The reduction says what it lacks; the batch is given up and its shards lent again.
    let Some((ticket, Work::Reduce { job })) = bench.works.pop_front() else { panic!("a reduction") };
    let (batches, blob) = (vec![job.batches[0].digest], Hash::blob(&blobs[2]));
    let done = Done::Lacking { batches, blobs: vec![blob], detail: "gone".to_owned() };
    bench.sent.clear();
    bench.hand(Input::Worked { ticket, done });
    // Perhaps the agent has it again: it is asked a few times before the batch is given up.
    let mut asked = 0;
    while bench.job(&id).expect("open").state == State::Aggregating {
        let told = bench.told(&agent);
        asked += told.iter().filter(|message| **message == Message::Fetch { blobs: vec![blob] }).count();
        bench.from(&agent, Message::NoBlob { blob });
        bench.pass(1_000, &[]);
        assert!(bench.now.up_ms < 20_000, "it is given up");
    }
    assert!(asked > 1);
    let job = bench.job(&id).expect("open");
    assert_eq!((job.state, job.set_aside[0].reason), (State::Running, Reason::Lost));
    assert_eq!(bench.deliver(&mut agent), 3, "there is no other agent: the same does them over");
    let offer = agent.leases.last().expect("a lease").clone();
    bench.attest(&mut agent, &offer, &[0, 1, 2]);
    assert!(matches!(bench.works.pop_front(), Some((_, Work::Reduce { .. }))));
}

/// One whose disk is full may take no work for long: its turn is not waited for.
#[test]
fn a_shard_is_tried_again_although_an_agent_that_takes_no_work_has_not_tried_it() {
    let mut bench = Bench::new();
    let (mut agent, mut full) = (Agent::new(10, 1), Agent::new(11, 1));
    full.accepts = 0;
    bench.hello(&[&agent, &full]);
    let job = bench.submit(&mix(2, r#"{"verify":"none"}"#));
    bench.deliver(&mut agent);
    let fail = |bench: &mut Bench, agent: &Agent, attempt| {
        let detail = "no memory".to_owned();
        bench.from(agent, Message::ShardFailed { job, stage: 0, shard: 1, attempt, detail });
    };
    for attempt in 1..limits::SHARD_ATTEMPTS_MOST {
        fail(&mut bench, &agent, u64::from(attempt));
        assert_eq!(shards(&bench.leases(&agent)), [1].into(), "attempt {attempt}");
    }
    fail(&mut bench, &agent, 20);
    assert!(bench.job(&job).is_none(), "but not for ever");
}

/// Who has lost much is not preferred to anybody, but does what all the others have failed at.
#[test]
fn a_shard_that_only_the_unreliable_have_not_failed_at_goes_to_them() {
    let mut bench = Bench::new();
    let (mut reliable, mut loser) = (Agent::new(10, 1), Agent::new(11, 1));
    bench.hello(&[&reliable, &loser]);
    let id = bench.submit(&mix(20, r#"{"verify":"none"}"#));
    bench.deliver(&mut reliable);
    bench.deliver(&mut loser);
    let mut batches = Vec::new();
    for agent in [&mut loser, &mut reliable] {
        for offer in std::mem::take(&mut agent.leases) {
            for shard in shards(std::slice::from_ref(&offer)) {
                bench.attest(agent, &offer, &[shard]);
                batches.push((agent.id(), bench.job(&id).expect("open").batches.last().expect("one").digest));
            }
        }
    }
    let Some((ticket, Work::Reduce { .. })) = bench.works.pop_front() else { panic!("a reduction") };
    let lost = |agent: &Agent, many| {
        let of_agent = batches.iter().filter(|(of, _)| *of == agent.id()).map(|(_, digest)| *digest);
        of_agent.take(many).collect::<Vec<Hash>>()
    };
    let batches = [lost(&loser, limits::UNRELIABLE), lost(&reliable, 1)].concat();
    assert_eq!(batches.len(), limits::UNRELIABLE + 1);
    let done = Done::Lacking { batches, blobs: Vec::new(), detail: "gone".to_owned() };
    bench.hand(Input::Worked { ticket, done });
    assert_eq!(bench.deliver(&mut reliable), limits::UNRELIABLE as u64, "what the other has lost");
    let offers = bench.leases(&loser);
    assert_eq!(shards(&offers).len(), 1, "what there is nobody else for");
    // It fails, too: the reliable one comes first again.
    let shard = offers[0].lease.body.first_shard;
    let failed =
        Message::ShardFailed { job: id, stage: 0, shard, attempt: 1, detail: "no memory".to_owned() };
    bench.from(&loser, failed);
    assert_eq!((shards(&bench.leases(&reliable)), bench.leases(&loser).len()), ([shard].into(), 0));
    // While nobody takes it, whoever waits is told that one of them is preferred to nobody.
    (reliable.accepts, loser.accepts) = (0, 0);
    bench.hello(&[&reliable, &loser]);
    let failed =
        Message::ShardFailed { job: id, stage: 0, shard, attempt: 2, detail: "no memory".to_owned() };
    bench.from(&reliable, failed);
    let Reply::Pending(Some(reasons)) = bench.answer(Request::Pending(id)) else { panic!("reasons") };
    let told: Vec<_> = reasons.iter().map(|reason| reason.code).collect();
    assert_eq!(told, ["executing", "no_agent", "unwilling", "unreliable"]);
    assert!(reasons[3].text.starts_with("1 of 2 agents left batches"), "{}", reasons[3].text);
}

#[test]
fn a_reduction_that_fails_is_tried_again_but_not_for_ever() {
    let (mut bench, mut agent, id) = lent("none");
    let offer = agent.leases[0].clone();
    bench.attest(&mut agent, &offer, &[0, 1, 2]);
    for attempt in 0..limits::REDUCE_ATTEMPTS {
        let Some((ticket, Work::Reduce { .. })) = bench.works.pop_front() else {
            panic!("attempt {attempt}")
        };
        bench.hand(Input::Worked { ticket, done: Done::Failed { detail: "the disk failed".to_owned() } });
    }
    assert!(bench.job(&id).is_none() && bench.works.is_empty());
    assert_eq!(bench.finished().failure.map(|failure| failure.code.as_str()), Some("evidence_lost"));
}

#[test]
fn who_does_not_open_loses_the_batch_and_nothing_else() {
    let (mut bench, mut agent, id) = lent("spotcheck");
    let offer = agent.leases[0].clone();
    bench.attest(&mut agent, &offer, &[0, 1, 2]);
    let asked = |told: &[Message]| told.iter().filter(|message| matches!(message, Message::Open(_))).count();
    let told = bench.told(&agent);
    assert_eq!(asked(&told), 1);
    bench.pass(limits::OPEN_MS - 1_000, &[&agent]);
    assert_eq!(asked(&bench.told(&agent)), 5, "it asks again and again, ever more rarely");
    bench.pass(2_000, &[&agent]);
    let job = bench.job(&id).expect("open");
    assert_eq!((job.set_aside[0].reason, job.convicted.len()), (Reason::Unopened, 0));
    let verdict = job.set_aside[0].batch.verdict.as_ref().expect("a verdict");
    assert_eq!(verdict.body.outcome, CheckOutcome::Unopened);
    assert_eq!(bench.deliver(&mut agent), 3);
}

#[test]
fn only_the_agent_itself_opens_and_attests() {
    let (mut bench, mut agent, id) = lent("spotcheck");
    let stranger = Agent::new(11, 1);
    let offer = agent.leases[0].clone();
    let (message, blobs) = agent.attest(&bench, &offer, &[0, 1, 2]);
    bench.from(&stranger, message.clone());
    let Message::Attest(mut forged) = message.clone() else { panic!("an attestation") };
    let body = forged.attestation.body.clone();
    forged.attestation = Signed::new(body, bench.genesis.mesh_id(), &SecretKey::from_bytes(&[77; 32]));
    bench.from(&agent, Message::Attest(forged));
    assert!(bench.told(&agent).is_empty() && bench.told(&stranger).is_empty(), "nothing is fetched for it");
    bench.from(&agent, message);
    for bytes in blobs {
        bench.from(&agent, Message::Blob { bytes: Bytes(bytes) });
    }
    let digest = bench.job(&id).expect("open").batches[0].digest;
    bench.told(&agent);
    let openings = Message::Opened { job: id, attestation: digest, openings: Vec::new() };
    bench.from(&stranger, openings);
    assert_eq!(bench.job(&id).expect("open").set_aside.len(), 0, "a stranger speaks for nobody");
}

/// The agent opens all that it is asked for; the first of its batches is found false, the others good.
pub fn accuse_the_first(bench: &mut Bench, cheat: &Agent, id: JobId) {
    for message in bench.told(cheat) {
        if let Message::Open(challenge) = message {
            let openings = vec![Bytes(vec![1]); challenge.leaves.len()];
            let attestation = challenge.attestation.body.digest();
            bench.from(cheat, Message::Opened { job: id, attestation, openings });
        }
    }
    let checks = std::mem::take(&mut bench.works);
    assert_eq!(checks.len(), 8);
    for (i, (ticket, work)) in checks.into_iter().enumerate() {
        let Work::Check { leaves, .. } = work else { panic!("a check") };
        let mismatch = Mismatch { at: leaves[0], kind: MismatchKind::LeafDiffers, recomputed: Hash([3; 32]) };
        let mismatches = if i == 0 { vec![mismatch] } else { Vec::new() };
        bench.hand(Input::Worked { ticket, done: Done::Checked { mismatches } });
    }
}

#[test]
fn verdicts_on_batches_that_no_longer_count_do_not_end_the_job() {
    let mut bench = Bench::new();
    let (mut cheat, mut honest) = (Agent::new(10, 1), Agent::new(11, 1));
    bench.hello(&[&cheat]);
    let id = bench.submit(&mix(8, r#"{"verify":"spotcheck"}"#));
    bench.deliver(&mut cheat);
    let offer = cheat.leases[0].clone();
    for shard in 0..8 {
        bench.attest(&mut cheat, &offer, &[shard]);
    }
    accuse_the_first(&mut bench, &cheat, id);
    // Others have had time to say hello.
    bench.pass(limits::SILENCE_MS, &[&cheat]);
    let job = bench.job(&id);
    // All that are known were convicted: in this mesh of one agent the job is over, and for that reason alone.
    assert!(job.is_none());
    let failure = bench.finished().failure.expect("a failure");
    assert_eq!(failure.code.as_str(), "verification_mismatch");

    // With another agent it goes on.
    let id = bench.submit(&mix(8, r#"{"verify":"spotcheck"}"#));
    bench.deliver(&mut cheat);
    bench.hello(&[&honest]);
    let offer = cheat.leases.last().expect("a lease").clone();
    for shard in 0..8 {
        bench.attest(&mut cheat, &offer, &[shard]);
    }
    accuse_the_first(&mut bench, &cheat, id);
    let job = bench.job(&id).expect("it goes on");
    assert_eq!((job.convicted.len(), job.set_aside.len(), job.state), (1, 8, State::Running));
    // Checks that became pointless do not stand in the way of others.
    bench.hand(Input::Request { token: 9, request: Request::Queues });
    let Some(Reply::Queues(queues)) = bench.replies.pop() else { panic!("the queues") };
    assert_eq!(queues.iter().find(|queue| queue.name == "hub: checks").map(|queue| queue.length), Some(0));
    assert_eq!(bench.deliver(&mut honest), 8);
}

/// Each batch is a failure of its own shards alone.
#[test]
fn an_agent_that_is_cut_off_for_long_wears_no_job_out() {
    let mut bench = Bench::new();
    let (mut gone, other) = (Agent::new(10, 1), Agent::new(11, 1));
    bench.hello(&[&gone]);
    let id = bench.submit(&mix(8, r#"{"verify":"spotcheck"}"#));
    bench.deliver(&mut gone);
    let offer = gone.leases[0].clone();
    for shard in 0..8 {
        bench.attest(&mut gone, &offer, &[shard]);
        bench.pass(100, &[&gone]);
    }
    // It opens nothing any more.
    bench.pass(limits::OPEN_MS + 2_000, &[&other]);
    let job = bench.job(&id).expect("it goes on");
    assert_eq!((job.set_aside.len(), job.convicted.len()), (8, 0));
    assert_eq!(shards(&bench.leases(&other)), (0..8).collect());
}
