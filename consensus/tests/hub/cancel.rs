//! Cancellation: by the submitter alone, and final.

use forgemesh_consensus::adjudicate::CancelRefused;
use forgemesh_consensus::command::Command;
use forgemesh_consensus::machine::{Event, Rejected};
use forgemesh_protocol::cancellation::Cancellation;
use forgemesh_protocol::failure::FailureCode;
use forgemesh_protocol::id::JobId;
use forgemesh_protocol::keys::{SecretKey, Signature, Signed};

use super::bench::{Bench, mix};

fn cancel(bench: &Bench, job: JobId, key: [u8; 32]) -> Signed<Cancellation> {
    Signed::new(Cancellation { job }, bench.hub.mesh(), &SecretKey::from_bytes(&key))
}

#[test]
fn only_the_submitter_cancels_and_only_once() {
    let mut bench = Bench::new(1);
    let id = bench.submit(&mix("none"));
    let foreign = Command::Cancel { cancellation: cancel(&bench, id, [0xb1; 32]) };
    assert_eq!(bench.refuse(foreign), Rejected::Cancellation(CancelRefused::NotTheSubmitter));
    let mut forged = cancel(&bench, id, [0xb0; 32]);
    forged.signature = Signature([7; 64]);
    let refused = bench.refuse(Command::Cancel { cancellation: forged });
    assert!(matches!(refused, Rejected::Cancellation(CancelRefused::Signature(_))), "{refused:?}");
    let attestation = bench.attestation(&id, vec![0]);
    bench.attest(attestation);
    let own = Command::Cancel { cancellation: cancel(&bench, id, [0xb0; 32]) };
    assert_eq!(bench.accept(own.clone()), Event::Finished { job: id });
    assert_eq!(bench.refuse(own), Rejected::NotOpen(id));
    let finished = &bench.finished[0];
    assert_eq!(finished.failure.as_ref().map(|failure| failure.code), Some(FailureCode::Cancelled));
    assert!(finished.entry.providers.is_empty(), "nothing is billed");
}
