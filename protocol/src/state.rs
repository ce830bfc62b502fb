//! The eight accounting states of a job and the one table of legal moves between them.

use serde::{Deserialize, Serialize};

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Accepted, durable.
    Pending,
    /// Cut into stages and shards.
    Planned,
    /// Shards are executed.
    Running,
    /// Every shard of the stage is attested; challenged leaves are executed again.
    Verifying,
    /// Every shard of the stage is verified; the hub reduces.
    Aggregating,
    /// There is a receipt, and a ledger entry.
    Finalized,
    /// There is a record of why not.
    Failed,
    /// Recomputation disagreed; under review.
    Disputed,
}

/// From where to where a job may go. `Aggregating → Running` opens the next stage, or one
/// whose evidence is lost again; `Verifying → Running` executes again what was not opened.
pub const MOVES: &[(State, State)] = &[
    (State::Pending, State::Planned),
    (State::Planned, State::Running),
    (State::Running, State::Verifying),
    (State::Verifying, State::Aggregating),
    (State::Aggregating, State::Running),
    (State::Verifying, State::Running),
    (State::Aggregating, State::Finalized),
    (State::Pending, State::Failed),
    (State::Planned, State::Failed),
    (State::Running, State::Failed),
    (State::Verifying, State::Failed),
    (State::Aggregating, State::Failed),
    (State::Running, State::Disputed),
    (State::Verifying, State::Disputed),
    (State::Finalized, State::Disputed),
    (State::Disputed, State::Running),
    (State::Disputed, State::Finalized),
    (State::Disputed, State::Failed),
];

impl State {
    /// Is the move in the table?
    pub fn may_become(self, next: State) -> bool {
        MOVES.contains(&(self, next))
    }

    /// Will nothing more happen by itself?
    pub fn is_final(self) -> bool {
        matches!(self, State::Finalized | State::Failed)
    }

    /// The state as it stands in JSON and on the screen.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Pending => "pending",
            State::Planned => "planned",
            State::Running => "running",
            State::Verifying => "verifying",
            State::Aggregating => "aggregating",
            State::Finalized => "finalized",
            State::Failed => "failed",
            State::Disputed => "disputed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_can_be_left_but_failed() {
        let all: std::collections::BTreeSet<_> = MOVES.iter().flat_map(|&(a, b)| [a, b]).collect();
        assert_eq!(all.len(), 8);
        for state in all {
            let left = MOVES.iter().any(|&(from, _)| from == state);
            assert_eq!(left, state != State::Failed, "{state:?}");
        }
        assert!(!State::Finalized.may_become(State::Running), "only a dispute reopens a final job");
    }
}
