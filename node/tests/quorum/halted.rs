//! A member that cannot follow the log ends, and says why; it never goes on from another state than the mesh's.

use forgemesh_consensus::machine::Gap;
use forgemesh_consensus::raft::Committed;
use forgemesh_node::core::Input;
use forgemesh_node::core::hub::Halted;

use super::bench::Bench;
use super::work::INSURANCE;

/// A mesh that has done a job.
fn worked() -> Bench {
    let mut bench = Bench::new(3, 0, 1);
    bench.elect(0);
    let job = bench.submit(0, INSURANCE);
    bench.run(60_000, |bench| (0..3).all(|member| bench.finished(member, &job).is_some()));
    bench.run(10_000, Bench::queue_is_empty);
    bench
}

/// Hands member 2 an input; why it ends.
fn hand(bench: &mut Bench, input: Input) -> Option<Halted> {
    bench.hand(2, input);
    bench.run(1_000, Bench::queue_is_empty);
    bench.nodes[2].halted.take()
}

#[test]
fn a_state_that_cannot_be_read_ends_the_node() {
    let mut bench = worked();
    let whole = bench.nodes[1].core.hub().expect("a member").snapshot();
    let before = bench.nodes[2].core.hub().expect("a member").state().clone();
    for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
        let halted = hand(&mut bench, Input::Restored { state: whole[..cut].to_vec() });
        assert!(matches!(halted, Some(Halted::Snapshot(_))), "{cut} bytes of {}: {halted:?}", whole.len());
        assert_eq!(*bench.nodes[2].core.hub().expect("a member").state(), before);
    }
    assert_eq!(hand(&mut bench, Input::Restored { state: whole }), None);
}

#[test]
fn a_hole_in_the_log_ends_the_node() {
    let mut bench = worked();
    let due = bench.nodes[2].core.hub().expect("a member").state().next;
    let mut entry = bench.log.last().expect("entries").clone();
    entry.index = due + 1;
    let late = [Committed::Entry(Box::new(entry)), Committed::Other { index: due + 1, term: bench.term }];
    for late in late {
        let gap = Gap { due, found: due + 1 };
        assert_eq!(hand(&mut bench, Input::Committed(vec![late])), Some(Halted::Gap(gap)));
    }
    // What it has already is no hole.
    let old = bench.log.last().expect("entries").clone();
    let next = Committed::Other { index: due, term: bench.term };
    assert_eq!(hand(&mut bench, Input::Committed(vec![Committed::Entry(Box::new(old)), next])), None);
}
