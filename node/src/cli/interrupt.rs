//! Ctrl-C while a command waits for a node: the wait ends, and what was asked of the node goes on.

use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

use super::client::Client;
use super::error::CliError;

/// Whether it was pressed.
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on it ends this client's connection, and with it whatever is read from there, instead of the process.
    pub fn ending(client: &Client) -> Result<Interrupt, CliError> {
        let stream = client.stream().map_err(CliError::Thread)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(CliError::Thread)?;
        let entered = runtime.enter();
        let mut pressed = signal(SignalKind::interrupt()).map_err(CliError::Thread)?;
        drop(entered);
        let was_pressed = Arc::<AtomicBool>::default();
        let told = was_pressed.clone();
        let wait = move || {
            runtime.block_on(pressed.recv());
            told.store(true, Ordering::SeqCst);
            // A connection that has ended already needs no end.
            let _ = stream.shutdown(Shutdown::Both);
        };
        // Until the process ends.
        std::thread::Builder::new()
            .name("forgemesh-signal".to_owned())
            .spawn(wait)
            .map_err(CliError::Thread)?;
        Ok(Interrupt(was_pressed))
    }

    /// What came of following this job: if Ctrl-C was pressed, that the job goes on.
    pub fn or_left<T>(&self, job: &str, came: Result<T, CliError>) -> Result<T, CliError> {
        match came {
            Err(_) if self.0.load(Ordering::SeqCst) => Err(CliError::Left(job.to_owned())),
            came => came,
        }
    }
}
