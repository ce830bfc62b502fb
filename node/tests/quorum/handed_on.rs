//! Final jobs that are handed on to who lacks them: what does not follow from a record that a quorum has signed for is not
//! believed, whoever hands it on.

use forgemesh_consensus::job::JobRecord;
use forgemesh_kernel::job::Job;
use forgemesh_node::core::Input;
use forgemesh_node::core::hub::Halted;
use forgemesh_node::job_file::JobFile;
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::charter::Charters;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::{JobId, NodeId};
use forgemesh_protocol::receipt::ReceiptSignature;
use forgemesh_protocol::state::State;
use forgemesh_protocol::wire::Message;

use super::bench::Bench;
use super::deliveries::NOOP;
use super::seats::{holds, in_all_books};
use super::work::INSURANCE;

type Change = fn(&mut JobFile, NodeId);

/// What can be changed in a final job that two members of three have signed; the third is given.
const CHANGES: [(&str, Change); 19] = [
    // Nothing may be derived from a record before it is known to be the quorum's: this one cannot be read.
    ("the record", |file, _| file.finished.record.contract.args.0.clear()),
    ("who is paid", |file, _| file.finished.entry.providers[0].verified_paths += 1),
    ("what is paid", |file, _| file.finished.entry.charge_ucredits = 1),
    ("the state", |file, _| file.finished.entry.state = State::Failed),
    ("the accounting", |file, _| file.finished.entry.accounting += 1),
    ("the contract", |file, _| file.finished.entry.contract = Hash::ZERO),
    ("the digest of the result", |file, _| file.finished.entry.result_hash = None),
    ("the submitter", |file, third| file.finished.entry.submitter = third),
    ("the time", |file, _| file.finished.entry.at_ms += 1),
    ("the receipt named", |file, _| file.finished.entry.receipt = Hash::ZERO),
    ("the place", |file, _| file.finished.entry.seq += 1),
    ("the result", |file, _| file.finished.result.as_mut().expect("a result").stop_leaf -= 1),
    ("that there is a result", |file, _| file.finished.result = None),
    ("the charter", |file, _| file.finished.charter += 1),
    ("what is signed", |file, _| file.receipt.payload.0.push(b' ')),
    ("that a quorum signed", |file, _| file.receipt.signatures.truncate(1)),
    ("who signed", |file, _| file.receipt.signatures[1] = file.receipt.signatures[0].clone()),
    ("a signature more, of somebody else", |file, _| {
        let submission = &file.finished.record.submission;
        let foreign = ReceiptSignature { keyid: submission.key.id(), sig: submission.signature };
        add(file, foreign);
    }),
    ("a signature more, which is bad", |file, third| {
        let sig = file.receipt.signatures[0].sig;
        add(file, ReceiptSignature { keyid: third, sig });
    }),
];

fn add(file: &mut JobFile, signature: ReceiptSignature) {
    file.receipt.signatures.push(signature);
    file.receipt.signatures.sort_by_key(|signature| signature.keyid);
}

#[test]
fn what_does_not_follow_from_a_signed_record_enters_no_books() {
    let mut bench = Bench::new(3, 0, 1);
    let job = missed(&mut bench, [INSURANCE])[0];
    let good = bench.finished(0, &job).expect("in the books");
    assert_eq!(good.receipt.signatures.len(), 2);
    let third = bench.id(2);
    for (what, change) in CHANGES {
        let mut file = good.clone();
        change(&mut file, third);
        assert!(hand_on(&mut bench, &file).is_none(), "{what} was changed");
    }
    assert!(hand_on(&mut bench, &good).is_some_and(|file| file == good));
    holds(&bench, 2, &job, 0);
}

/// What a quorum has signed for is not derived from either, unless this version of the program knows what it is.
#[test]
fn a_signed_record_that_is_not_of_its_contract_enters_no_books() {
    let mut bench = Bench::new(3, 0, 1);
    let job = missed(&mut bench, [INSURANCE])[0];
    let good = bench.finished(0, &job).expect("in the books");
    let contract = Job::of_contract(good.finished.record.contract.clone()).expect("a contract");
    let sign = |bench: &Bench, file: &mut JobFile| {
        let charters = Charters::new(bench.genesis.clone());
        file.receipt = file.finished.statement(&contract, &charters).unsigned();
        file.finished.entry.receipt = file.receipt.identity();
        (0..2).for_each(|member| file.receipt.sign(&bench.nodes[member].secret));
        file.receipt.signatures.sort_by_key(|signature| signature.keyid);
    };
    let changes: [fn(&mut JobRecord); 2] = [
        |record| record.contract.op.name = "later".to_owned(),
        |record| {
            let mut batch = record.batches[0].clone();
            batch.attestation.body.stage = 99;
            record.batches.push(batch);
        },
    ];
    for change in changes {
        let mut file = good.clone();
        change(&mut file.finished.record);
        sign(&bench, &mut file);
        assert!(hand_on(&mut bench, &file).is_none());
    }
    let mut file = good.clone();
    sign(&bench, &mut file);
    assert!(file == good);
    assert!(hand_on(&mut bench, &file).is_some());
}

/// Each of them is true; their order is the log's to say.
#[test]
fn a_member_whose_log_says_otherwise_of_the_books_ends() {
    // Its log may end where the books do, or go on.
    for goes_on in [false, true] {
        let mut bench = Bench::new(3, 0, 1);
        let jobs = missed(&mut bench, [INSURANCE, NOOP]);
        let files = [jobs[1], jobs[0]].map(|job| bench.finished(0, &job).expect("in the books"));
        let (mut seq, mut prev) = (0, Hash::ZERO);
        for mut file in files {
            assert_eq!(bench.nodes[2].halted, None);
            (file.finished.entry.seq, file.finished.entry.prev) = (seq, prev);
            (seq, prev) = (seq + 1, file.finished.entry.hash());
            assert!(hand_on(&mut bench, &file).is_some_and(|own| own == file));
            if goes_on && seq == 1 {
                let next = bench.submit(3, INSURANCE);
                bench.run(60_000, |bench| bench.finished(0, &next).is_some() && bench.queue_is_empty());
                assert!(bench.finished(2, &next).is_none());
            }
        }
        assert_eq!(bench.nodes[2].halted, Some(Halted::Books(2)), "{goes_on}");
    }
}

/// Jobs that the third member was not there for; it has come back, and nobody gives it what it lacks.
fn missed<const N: usize>(bench: &mut Bench, envelopes: [&str; N]) -> [JobId; N] {
    bench.elect(0);
    bench.kill(2);
    let jobs = envelopes.map(|envelope| {
        let job = bench.submit(3, envelope);
        in_all_books(bench, job);
        job
    });
    bench.revive(2);
    bench.cut = vec![(0, 2), (1, 2), (2, 3)];
    jobs
}

/// The first member gives the third a final job; what that has of it then.
fn hand_on(bench: &mut Bench, file: &JobFile) -> Option<JobFile> {
    let (from, job) = (bench.id(0), file.finished.entry.job);
    let file = Bytes(file.encode());
    bench.hand(2, Input::Message { from, message: Message::Book { file } });
    bench.run(5_000, |bench| bench.queue_is_empty());
    bench.finished(2, &job)
}
