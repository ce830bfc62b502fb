//! Deliberate bugs, one a file: each sits between a node and one of its ports and breaks one promise, so that the
//! invariant that watches over the promise can be seen to fail. No scenario has one but the table of planted bugs.

pub mod altered_entry;
pub mod blind_checker;
pub mod boastful_executor;
pub mod double_count;
pub mod double_entry;
pub mod early_store;
pub mod failing_reduction;
pub mod false_accuser;
pub mod forgotten_artifact;
pub mod forgotten_link;
pub mod greedy_books;
pub mod hasty_agent;
pub mod hunt;
pub mod incurious_member;
pub mod lost_vote;
pub mod lying_disk;
pub mod mute_store;
pub mod retracted_vote;
pub mod rewritten_log;
pub mod second_statement;
pub mod stale_leader;
pub mod stale_read;
pub mod strict_gateway;
pub mod wrong_reduction;

use std::cell::RefCell;
use std::rc::Rc;

use forgemesh_node::ports::{Done, Work};
use forgemesh_protocol::id::{MeshId, NodeId};
use forgemesh_protocol::wire::Message;
use forgemesh_storage::Batch;

use crate::draws::Draws;

/// What a bug may change at the ports of one machine; what it leaves alone passes as it is.
pub trait Tamper {
    /// What the disk is given in place of a batch.
    fn batch(&mut self, batch: Batch) -> Batch {
        batch
    }

    /// Is this batch said to be durable before it is written?
    fn is_early(&mut self) -> bool {
        false
    }

    /// Does the node hear that this batch is durable?
    fn is_told(&mut self) -> bool {
        true
    }

    /// How many times the cores it has does the machine claim?
    fn boast(&self) -> u64 {
        1
    }

    /// What comes of a piece of work in place of what should; none if that is left alone.
    fn done(&mut self, _: &Work) -> Option<Done> {
        None
    }

    /// What the node hears in place of how its work ended.
    fn ended(&mut self, done: Done) -> Done {
        done
    }

    /// The answer that it hears at once to a message that it sends, though nobody has given it.
    fn forged(&mut self, _: &Message) -> Option<Message> {
        None
    }

    /// What else it says to whom it sends a message.
    fn besides(&mut self, _: &Message) -> Option<Message> {
        None
    }

    /// Does the disk lie about its syncs?
    fn lies(&self) -> bool {
        false
    }
}

/// No bug.
struct Faithful;

impl Tamper for Faithful {}

/// A machine's bug, shared by its ports.
pub type Bugs = Rc<RefCell<Box<dyn Tamper>>>;

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    AlteredEntry,
    BlindChecker,
    BoastfulExecutor,
    DoubleCount,
    DoubleEntry,
    EarlyStore,
    FailingReduction,
    FalseAccuser,
    ForgottenArtifact,
    ForgottenLink,
    GreedyBooks,
    HastyAgent,
    IncuriousMember,
    LostVote,
    LyingDisk,
    MuteStore,
    RetractedVote,
    RewrittenLog,
    SecondStatement,
    StaleLeader,
    StaleRead,
    StrictGateway,
    WrongReduction,
}

impl Bug {
    /// All of them, with their names and the invariants that must catch them.
    pub const ALL: [(Bug, &'static str, &'static str); 23] = [
        (Bug::AlteredEntry, "altered_entry", "log_safety"),
        (Bug::BlindChecker, "blind_checker", "result_correct"),
        (Bug::BoastfulExecutor, "boastful_executor", "queues_bounded"),
        (Bug::DoubleCount, "double_count", "acknowledged_kept"),
        (Bug::DoubleEntry, "double_entry", "one_final_result"),
        (Bug::EarlyStore, "early_store", "acknowledged_kept"),
        (Bug::FailingReduction, "failing_reduction", "failed_for_cause"),
        (Bug::FalseAccuser, "false_accuser", "honest_unblamed"),
        (Bug::ForgottenArtifact, "forgotten_artifact", "replay_matches"),
        (Bug::ForgottenLink, "forgotten_link", "chain_unforked"),
        (Bug::GreedyBooks, "greedy_books", "ledger_chains"),
        (Bug::HastyAgent, "hasty_agent", "evidence_kept"),
        (Bug::IncuriousMember, "incurious_member", "evidence_kept"),
        (Bug::LostVote, "lost_vote", "acknowledged_kept"),
        (Bug::LyingDisk, "lying_disk", "acknowledged_kept"),
        (Bug::MuteStore, "mute_store", "progress"),
        (Bug::RetractedVote, "retracted_vote", "log_safety"),
        (Bug::RewrittenLog, "rewritten_log", "log_safety"),
        (Bug::SecondStatement, "second_statement", "one_receipt"),
        (Bug::StaleLeader, "stale_leader", "one_leader"),
        (Bug::StaleRead, "stale_read", "fresh_reads"),
        (Bug::StrictGateway, "strict_gateway", "valid_accepted"),
        (Bug::WrongReduction, "wrong_reduction", "result_correct"),
    ];

    /// Does it do harm among several members of the hub alone?
    pub fn needs_quorum(self) -> bool {
        matches!(
            self,
            Bug::AlteredEntry | Bug::DoubleCount | Bug::IncuriousMember | Bug::StaleLeader | Bug::StaleRead
        )
    }

    /// Is it one of those that are no members of the hub?
    pub fn is_of_agents(self) -> bool {
        matches!(self, Bug::HastyAgent)
    }
}

/// The bug of one life of a machine.
pub fn bugs(bug: Option<Bug>, node: NodeId, mesh: MeshId, draws: Draws) -> Bugs {
    let tamper: Box<dyn Tamper> = match bug {
        None => Box::new(Faithful),
        Some(Bug::AlteredEntry) => Box::new(altered_entry::AlteredEntry(draws)),
        Some(Bug::BlindChecker) => Box::new(blind_checker::BlindChecker),
        Some(Bug::BoastfulExecutor) => Box::new(boastful_executor::BoastfulExecutor),
        Some(Bug::DoubleCount) => Box::new(double_count::DoubleCount),
        Some(Bug::DoubleEntry) => Box::new(double_entry::DoubleEntry),
        Some(Bug::EarlyStore) => Box::new(early_store::EarlyStore(draws)),
        Some(Bug::FailingReduction) => Box::new(failing_reduction::FailingReduction),
        Some(Bug::FalseAccuser) => Box::new(false_accuser::FalseAccuser(draws)),
        Some(Bug::ForgottenArtifact) => Box::new(forgotten_artifact::ForgottenArtifact(draws)),
        Some(Bug::ForgottenLink) => Box::new(forgotten_link::ForgottenLink),
        Some(Bug::GreedyBooks) => Box::new(greedy_books::GreedyBooks(draws)),
        Some(Bug::HastyAgent) => Box::new(hasty_agent::HastyAgent::default()),
        Some(Bug::IncuriousMember) => Box::new(incurious_member::IncuriousMember),
        Some(Bug::LostVote) => Box::new(lost_vote::LostVote),
        Some(Bug::LyingDisk) => Box::new(lying_disk::LyingDisk),
        Some(Bug::MuteStore) => Box::new(mute_store::MuteStore(draws)),
        Some(Bug::RetractedVote) => Box::new(retracted_vote::RetractedVote::default()),
        Some(Bug::RewrittenLog) => Box::new(rewritten_log::RewrittenLog::default()),
        Some(Bug::SecondStatement) => Box::new(second_statement::SecondStatement(draws)),
        Some(Bug::StaleRead) => Box::new(stale_read::StaleRead),
        Some(Bug::StrictGateway) => Box::new(strict_gateway::StrictGateway(mesh)),
        Some(Bug::StaleLeader) => Box::new(stale_leader::StaleLeader::new(node)),
        Some(Bug::WrongReduction) => Box::new(wrong_reduction::WrongReduction),
    };
    Rc::new(RefCell::new(tamper))
}
