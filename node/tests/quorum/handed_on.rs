//! Final jobs that are handed on to who lacks them: what does not follow from a record that a quorum has signed for is not
//! believed, whoever hands it on.

use forgemesh_node::core::Input;
use forgemesh_node::core::hub::Halted;
use forgemesh_node::job_file::JobFile;
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::NodeId;
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
    bench.elect(0);
    bench.kill(2);
    let job = bench.submit(3, INSURANCE);
    in_all_books(&mut bench, job);
    bench.revive(2);
    bench.cut = vec![(0, 2), (1, 2), (2, 3)];
    let good = bench.finished(0, &job).expect("in the books");
    assert_eq!(good.receipt.signatures.len(), 2);
    let (from, third) = (bench.id(0), bench.id(2));
    let hand_on = |bench: &mut Bench, file: &JobFile| {
        let file = Bytes(file.encode());
        bench.hand(2, Input::Message { from, message: Message::Book { file } });
        bench.run(5_000, |bench| bench.queue_is_empty());
        bench.finished(2, &job)
    };
    for (what, change) in CHANGES {
        let mut file = good.clone();
        change(&mut file, third);
        assert!(hand_on(&mut bench, &file).is_none(), "{what} was changed");
    }
    assert!(hand_on(&mut bench, &good).is_some_and(|file| file == good));
    holds(&bench, 2, &job, 0);
}

/// Each of them is true; their order is the log's to say.
#[test]
fn a_member_whose_log_says_otherwise_of_the_books_ends() {
    let mut bench = Bench::new(3, 0, 1);
    bench.elect(0);
    bench.kill(2);
    let jobs = [INSURANCE, NOOP].map(|file| {
        let job = bench.submit(3, file);
        in_all_books(&mut bench, job);
        job
    });
    bench.revive(2);
    bench.cut = vec![(0, 2), (1, 2), (2, 3)];
    let from = bench.id(0);
    let (mut seq, mut prev) = (0, Hash::ZERO);
    for job in [jobs[1], jobs[0]] {
        let mut file = bench.finished(0, &job).expect("in the books");
        (file.finished.entry.seq, file.finished.entry.prev) = (seq, prev);
        (seq, prev) = (seq + 1, file.finished.entry.hash());
        let file = Bytes(file.encode());
        bench.hand(2, Input::Message { from, message: Message::Book { file } });
        bench.run(5_000, |bench| bench.queue_is_empty());
        assert!(bench.finished(2, &job).is_some());
    }
    assert_eq!(bench.nodes[2].halted, None);
    let next = bench.submit(3, INSURANCE);
    bench.run(60_000, |bench| bench.nodes[2].halted.is_some());
    assert_eq!(bench.nodes[2].halted, Some(Halted::Books(2)));
    assert!(bench.finished(2, &next).is_none());
}
