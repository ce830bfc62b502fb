//! What the observer makes of lives that end between a write and the word of it.
#![cfg(test)]

use forgemesh_consensus::raft::{Logged, Payload};
use forgemesh_node::boot;
use forgemesh_protocol::envelope::{Billing, BillingMode, BillingReason};
use forgemesh_protocol::keys::SecretKey;
use forgemesh_protocol::op::Op;
use forgemesh_protocol::state::State;

use super::*;
use crate::disk::Disk as Medium;

/// What an invariant is shown.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shown {
    Opened { lost: bool },
    Entered { seq: u64 },
    Booted { agreed: bool },
}

/// Takes it down.
struct Notes(Rc<RefCell<Vec<Shown>>>);

impl Invariant for Notes {
    fn name(&self) -> &'static str {
        "notes"
    }

    fn check(&mut self, view: &View<'_>) -> Result<bool, String> {
        self.0.borrow_mut().push(match &view.moment {
            Moment::Opened { lost, .. } => Shown::Opened { lost: lost.is_some() },
            Moment::Entered { entry, .. } => Shown::Entered { seq: entry.seq },
            Moment::Booted { expected, .. } => Shown::Booted { agreed: expected.is_some() },
            _ => return Ok(false),
        });
        Ok(true)
    }
}

/// A machine under observation, and its disk.
struct World {
    genesis: Genesis,
    witness: Witness,
    shown: Rc<RefCell<Vec<Shown>>>,
    machine: usize,
    storage: Storage,
}

impl World {
    /// This one of three machines, of which so many are the hub's members.
    fn of(members: usize, machine: usize) -> World {
        let secrets: Vec<SecretKey> = (1..=3).map(|n| SecretKey::from_bytes(&[n; 32])).collect();
        let nodes = secrets.iter().map(|secret| secret.public().id()).collect();
        let (hub, name) = (&secrets[..members], "watched".to_owned());
        let genesis = boot::found_together(hub, name, [7; 16], 1).0;
        let witness = Witness::new(genesis.clone(), nodes, Known::default());
        let shown = Rc::default();
        witness.seen.borrow_mut().invariants = vec![Box::new(Notes(Rc::clone(&shown)))];
        let storage = Medium::blank(1).expect("a disk").open().expect("a database");
        World { genesis, witness, shown, machine, storage }
    }

    /// A start that comes as far as the disk.
    fn opened(&self) {
        self.witness.opened(self.machine, &self.storage).expect("a disk that can be read");
    }

    /// A start that succeeds, with this state if the machine is a member.
    fn begins(&self, hub: Option<&Hub>) {
        self.opened();
        self.witness.booted(self.machine, &self.storage, hub).expect("a disk that can be read");
    }

    /// A batch becomes durable, and nobody hears of it.
    fn writes_unheard(&self, batch: &Batch) {
        self.storage.commit(batch).expect("a disk in good order");
    }

    /// A batch is written, and the life goes on.
    fn writes(&self, batch: &Batch) {
        self.witness.attempted(self.machine, batch);
        self.writes_unheard(batch);
        self.witness.committed(self.machine, batch);
    }

    /// What was shown since it was asked last.
    fn shown(&self) -> Vec<Shown> {
        self.shown.take()
    }
}

/// An entry of the books.
fn entry(seq: u64) -> Batch {
    let entry = LedgerEntry {
        seq,
        prev: Hash::ZERO,
        at_ms: 0,
        accounting: 1,
        job: JobId(Hash([seq as u8; 32])),
        state: State::Failed,
        receipt: Hash::ZERO,
        contract: Hash::ZERO,
        result_hash: None,
        failure: None,
        op: Op::new("mc", 1, "reserve.v1"),
        submitter: NodeId(Hash::ZERO),
        billing: Billing { mode: BillingMode::Test, reason: BillingReason::Lab },
        providers: Vec::new(),
        charge_ucredits: 0,
    };
    let mut batch = Batch::new();
    batch.append_ledger(seq, canon::to_bytes(&entry));
    batch
}

/// A disk error ends a life after an entry of the books is durable and before anybody hears of it; then bits of the disk
/// rot. The observer once took the entry for one that it had looked at.
#[test]
fn an_entry_that_a_rotten_disk_kept_is_looked_at() {
    let world = World::of(1, 2);
    world.begins(None);
    world.writes(&entry(0));
    assert_eq!(world.shown(), [Shown::Opened { lost: false }, Shown::Entered { seq: 0 }]);
    world.witness.attempted(world.machine, &entry(1));
    world.writes_unheard(&entry(1));
    world.witness.rotten(world.machine);
    world.begins(None);
    assert_eq!(world.shown(), [Shown::Entered { seq: 1 }]);
}

/// A start fails after it has entered what an earlier life left out of the books: nobody reports that. The observer once
/// took the entry for one that came from nowhere.
#[test]
fn what_a_failed_start_has_entered_is_no_surprise() {
    let world = World::of(1, 0);
    world.opened();
    world.writes_unheard(&entry(0));
    world.opened();
    world.writes_unheard(&entry(1));
    world.begins(None);
    let opened = [Shown::Opened { lost: false }; 3];
    let entered = [Shown::Entered { seq: 0 }, Shown::Entered { seq: 1 }];
    assert_eq!(world.shown(), [&opened[..], &entered].concat());
    world.writes_unheard(&entry(2));
    world.opened();
    assert_eq!(world.shown(), [Shown::Opened { lost: true }], "no start has entered this one");
}

/// A lone member's first life ends after its first entry and before its first vote.
#[test]
fn who_is_alone_agrees_with_itself_before_any_vote() {
    for (members, agreed) in [(1, true), (3, false)] {
        let world = World::of(members, 0);
        world.begins(None);
        let mut batch = Batch::new();
        batch.append_log(0, Logged { index: 0, term: 1, payload: Payload::Blank }.encode());
        world.writes(&batch);
        let mut hub = Hub::new(world.genesis.clone());
        hub.pass_over(0, 1).expect("its first entry");
        world.begins(Some(&hub));
        let opened = Shown::Opened { lost: false };
        assert_eq!(world.shown(), [opened, opened, Shown::Booted { agreed }], "{members} members");
    }
}
