//! Ends a machine's life after a number of steps of its ports, or of letters that it sends, whatever it is doing then.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;

/// Shared by the ports of one life; each step burns a bit of it.
#[derive(Clone, Debug, Default)]
pub struct Fuse(Rc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Steps to go; none: it never blows.
    steps: Cell<Option<u64>>,
    /// Letters to go, likewise.
    letters: Cell<Option<u64>>,
    is_blown: Cell<bool>,
    /// It was a letter that was one too many.
    was_sending: Cell<bool>,
    blown: Notify,
}

impl Fuse {
    /// Blows at the step after `steps`.
    pub fn arm(&self, steps: u64) {
        self.0.steps.set(Some(steps));
    }

    /// Blows at the letter after `letters`.
    pub fn arm_letters(&self, letters: u64) {
        self.0.letters.set(Some(letters));
    }

    /// One step; true if the node is dead, so that the step must not happen.
    pub fn burn(&self) -> bool {
        self.0.is_blown.get() || self.count(&self.0.steps)
    }

    /// One letter; true if the node is dead, so that it must not be sent.
    pub fn burn_letter(&self) -> bool {
        if self.0.is_blown.get() {
            return true;
        }
        let dies = self.count(&self.0.letters);
        self.0.was_sending.set(dies);
        dies
    }

    fn count(&self, left: &Cell<Option<u64>>) -> bool {
        match left.get() {
            None => false,
            Some(0) => {
                self.blow();
                true
            }
            Some(some) => {
                left.set(Some(some - 1));
                false
            }
        }
    }

    /// Blows now.
    pub fn blow(&self) {
        self.0.is_blown.set(true);
        self.0.blown.notify_one();
    }

    /// Did it blow in the middle of sending?
    pub fn was_sending(&self) -> bool {
        self.0.was_sending.get()
    }

    /// Ready once it has blown.
    pub async fn blown(&self) {
        self.0.blown.notified().await;
    }
}
