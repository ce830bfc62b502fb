//! Ctrl-C while a command waits for a node: the wait ends, and what was asked of the node goes on.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::client::Client;
use super::error::CliError;

/// As a shell says it of what SIGINT has ended.
pub const EXIT: u8 = 130;

/// A command that waits.
#[derive(Default)]
struct Wait {
    was_interrupted: AtomicBool,
    is_over: AtomicBool,
}

/// What Ctrl-C has come to.
pub struct Interrupt(Arc<Wait>);

impl Interrupt {
    /// From now on it ends this client's connection, and with it whatever is read from there, instead of the process. The
    /// process ends if it is pressed once more, or when the wait is over.
    pub fn ending(client: &Client) -> Result<Interrupt, CliError> {
        let stream = client.stream().map_err(CliError::Thread)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(CliError::Thread)?;
        let entered = runtime.enter();
        let pressed = signal(SignalKind::interrupt()).map_err(CliError::Thread)?;
        drop(entered);
        let wait = Arc::<Wait>::default();
        let waits = wait.clone();
        // Until the process ends.
        std::thread::Builder::new()
            .name("forgemesh-signal".to_owned())
            .spawn(move || runtime.block_on(watch(pressed, &waits, &stream)))
            .map_err(CliError::Thread)?;
        Ok(Interrupt(wait))
    }

    /// The wait is over. What came of following this job: if Ctrl-C was pressed, that the job goes on.
    pub fn or_left<T>(&self, job: &str, came: Result<T, CliError>) -> Result<T, CliError> {
        self.0.is_over.store(true, Ordering::SeqCst);
        match came {
            Err(_) if self.0.was_interrupted.load(Ordering::SeqCst) => Err(CliError::Left(job.to_owned())),
            came => came,
        }
    }
}

async fn watch(mut pressed: Signal, wait: &Wait, stream: &UnixStream) {
    while pressed.recv().await.is_some() {
        if wait.was_interrupted.swap(true, Ordering::SeqCst) || wait.is_over.load(Ordering::SeqCst) {
            // Nothing is said: whatever hangs may be what people are spoken to by.
            std::process::exit(EXIT.into());
        }
        // A connection that has ended already needs no end.
        let _ = stream.shutdown(Shutdown::Both);
    }
}
