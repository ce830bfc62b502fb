//! Ends a machine's life after a number of steps of its ports, whatever it is doing then.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;

/// Shared by the ports of one life; each step burns a bit of it.
#[derive(Clone, Debug, Default)]
pub struct Fuse {
    /// Steps to go; none: it never blows.
    left: Rc<Cell<Option<u64>>>,
    blown: Rc<Notify>,
}

impl Fuse {
    /// Blows at the step after `steps`.
    pub fn arm(&self, steps: u64) {
        self.left.set(Some(steps));
    }

    /// One step; true if the node is dead, so that the step must not happen.
    pub fn burn(&self) -> bool {
        match self.left.get() {
            None => false,
            Some(0) => {
                self.blown.notify_one();
                true
            }
            Some(left) => {
                self.left.set(Some(left - 1));
                false
            }
        }
    }

    /// Blows now.
    pub fn blow(&self) {
        self.left.set(Some(0));
        self.blown.notify_one();
    }

    /// Ready once it has blown.
    pub async fn blown(&self) {
        self.blown.notified().await;
    }
}
