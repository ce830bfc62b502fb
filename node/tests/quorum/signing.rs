//! Signatures that come before they can be checked.

use forgemesh_consensus::command::Command;
use forgemesh_node::core::Input;
use forgemesh_protocol::cancellation::Cancellation;
use forgemesh_protocol::keys::Signed;
use forgemesh_protocol::limits;
use forgemesh_protocol::receipt::ReceiptSignature;
use forgemesh_protocol::wire::Message;

use super::bench::Bench;
use super::deliveries::NOOP;

#[test]
fn what_others_say_a_member_has_signed_does_not_take_the_place_of_what_it_has() {
    let mut bench = Bench::new(3, 1, 1);
    bench.elect(0);
    bench.late = Some(1);
    let job = bench.submit(0, NOOP);
    bench.run(60_000, |bench| bench.logged(|command| matches!(command, Command::Attest { .. })) > 0);
    let sig = Signed::new(Cancellation { job }, bench.genesis.mesh_id(), &bench.nodes[3].secret).signature;
    for _ in 0..limits::HUB_ADMITTED {
        for (from, of) in [(3, 0), (3, 2), (2, 0)] {
            let signature = ReceiptSignature { keyid: bench.id(of), sig };
            let input = Input::Message { from: bench.id(from), message: Message::Signed { job, signature } };
            bench.hand(1, input);
        }
    }
    bench.run(60_000, |bench| bench.finished(1, &job).is_some());
    let end_ms = bench.now_ms + 3 * limits::RETRY_MS;
    bench.run(60_000, |bench| bench.now_ms >= end_ms);
    let asked = bench.sent.iter().filter(|(_, _, message)| matches!(message, Message::Sign { .. }));
    assert_eq!(asked.count(), 0, "it has had them");
    assert!(bench.finished(1, &job).is_some_and(|file| file.receipt.signatures.len() >= 2));
}
