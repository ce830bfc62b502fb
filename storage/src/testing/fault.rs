//! Which operations of the model disk fail, and when.

use std::io;

use super::random::Random;

/// What an operation of the disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Reading bytes or the length.
    Read,
    /// Writing bytes.
    Write,
    /// Changing the length.
    Resize,
    /// Asking for durability.
    Sync,
    /// Any of them but reading.
    Change,
}

impl Action {
    fn covers(self, action: Action) -> bool {
        self == action || self == Action::Change && action != Action::Read
    }
}

/// When a fault strikes, counted in operations of its action from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// After so many have passed, once.
    After(u64),
    /// After so many have passed, each one.
    Since(u64),
    /// One in so many, at random from the disk's seed; never for 0.
    OneIn(u64),
}

/// A fault that lies in wait.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) action: Action,
    pub(super) when: When,
    pub(super) kind: io::ErrorKind,
}

impl Fault {
    /// Whether it strikes this operation.
    pub(super) fn strikes(&mut self, action: Action, random: &mut Random) -> bool {
        if !self.action.covers(action) {
            return false;
        }
        match &mut self.when {
            When::After(0) => {
                // Never again.
                self.when = When::OneIn(0);
                true
            }
            When::Since(0) => true,
            When::After(left) | When::Since(left) => {
                *left -= 1;
                false
            }
            When::OneIn(0) => false,
            When::OneIn(n) => random.draw().is_multiple_of(*n),
        }
    }
}
