//! A node in this process, for as long as one command takes.

use std::time::{SystemTime, UNIX_EPOCH};

use forgemesh_consensus::machine::HubState;
use forgemesh_protocol::charter::Seating;

use crate::boot::{self, Membership, Parts};
use crate::config::Config;
use crate::core::Reply;
use crate::driver::{Driver, Handle};
use crate::real::executor::ThreadPool;
use crate::real::mesh::Alone;
use crate::real::store::StoreThread;

use super::Common;
use super::error::CliError;
use super::home::{self, Home};

/// Boots a node on an open data folder.
pub fn boot(common: &Common, home: &Home) -> Result<Driver<Alone, ThreadPool, StoreThread>, CliError> {
    let node = home.secret.public().id();
    let seating = boot::seating(&home.storage)?;
    let shared = |seating: Seating| {
        let sits = seating.seated.contains(&node);
        (sits && seating.seated.len() > 1) || (!sits && seating.number > 0)
    };
    if home.is_guest()? || seating.is_some_and(shared) {
        // Its mesh's hub is elsewhere, or not it alone: by itself it can do nothing.
        return Err(CliError::NoNode { folder: home.folder.clone() });
    }
    let config = Config::read(&home.folder)?.unwrap_or_default();
    let executor = home::executor(common, home, &config)?;
    let store = StoreThread::start(home.storage.clone()).map_err(CliError::Thread)?;
    let parts = Parts {
        secret: home.secret.clone(),
        membership: Membership::Founder {
            name: "embedded".to_owned(),
            nonce: home::random::<16>().map_err(CliError::Entropy)?,
        },
        stand: None,
        mesh: Alone,
        executor,
        store,
    };
    Ok(boot::boot(&home.storage, parts)?)
}

/// The hub's state in an embedded node, which is its mesh's one member.
pub fn state(driver: &Driver<Alone, ThreadPool, StoreThread>) -> &HubState {
    driver.core().hub().expect("invariant: a founder is a hub member, or its boot is refused").state()
}

/// Runs a node until `client` is done with it.
pub fn serve<T>(
    driver: Driver<Alone, ThreadPool, StoreThread>,
    client: impl AsyncFnOnce(Handle) -> Result<T, CliError>,
) -> Result<T, CliError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::Thread)?;
    let handle = driver.handle();
    runtime.block_on(async {
        let (_stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let node = driver.run(now_ms, async {
            // Ends only with the client, which drops everything together.
            let _ = stopped.await;
        });
        tokio::select! {
            // The client first: it must be watching before the node takes its first step.
            biased;
            result = client(handle) => result,
            ended = node => match ended {
                Ok(()) => Err(CliError::Stopped(crate::driver::Stopped)),
                Err(error) => Err(error.into()),
            },
        }
    })
}

/// Any answer but the one hoped for.
pub fn unexpected(reply: Reply) -> CliError {
    match reply {
        Reply::Refused(reason) => CliError::Rejected(reason),
        Reply::RefusedByHub(reason) => CliError::RefusedByHub(reason),
        Reply::NoAnswer => CliError::NoAnswer,
        Reply::Busy => CliError::Busy,
        Reply::DiskLow => CliError::DiskLow,
        _ => CliError::Stopped(crate::driver::Stopped),
    }
}

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as u64)
}
