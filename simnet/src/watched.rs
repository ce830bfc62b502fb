//! A value that tasks wait for. Like `tokio::sync::watch`, which wakes its waiters in an order drawn from random numbers
//! of the runtime's own: here they wake in the order in which they came, so that one seed stays one trace.

use std::cell::RefCell;

use tokio::sync::Notify;

/// A value and those that wait for it.
#[derive(Debug, Default)]
pub struct Watched<T> {
    value: RefCell<T>,
    changed: Notify,
}

impl<T> Watched<T> {
    /// For nobody yet.
    pub fn new(value: T) -> Watched<T> {
        Watched { value: RefCell::new(value), changed: Notify::new() }
    }

    /// What `read` makes of the value as it is.
    pub fn read<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        read(&self.value.borrow())
    }

    /// Changes the value; all that wait look at it again.
    pub fn change(&self, change: impl FnOnce(&mut T)) {
        change(&mut self.value.borrow_mut());
        self.changed.notify_waiters();
    }

    /// What `found` makes of the value, once it makes something of it.
    pub async fn wait_for<R>(&self, mut found: impl FnMut(&T) -> Option<R>) -> R {
        loop {
            let changed = self.changed.notified();
            if let Some(result) = found(&self.value.borrow()) {
                return result;
            }
            changed.await;
        }
    }
}
