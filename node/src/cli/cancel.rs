//! `forgemesh job cancel`: a job is given up, by the node that runs, or rather than resumed.

use forgemesh_protocol::cancellation::Cancellation;
use forgemesh_protocol::id::JobId;
use forgemesh_protocol::keys::{SecretKey, Signed};
use forgemesh_storage::Storage;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;

use super::error::CliError;
use super::source::{Found, Source};
use super::{Common, embedded, print, print_json};
use crate::core::{self, Reply};
use crate::driver::Handle;
use crate::real::control::request::Request;

/// Cancels an open job, and returns once that is in the books.
pub fn cancel(common: &Common, name: &str) -> Result<(), CliError> {
    let mut source = Source::open(common)?;
    let job = match source.find(name)? {
        Found::Open(record) => record.id,
        Found::Final(view) => return Err(CliError::Final(view.id())),
        Found::Refused(_) => return Err(CliError::NoJob(name.to_owned())),
    };
    match source {
        Source::Node(mut client) => drop(client.ask(&Request::Cancel { job: job.to_string() })?),
        Source::Folder(home) => {
            let driver = embedded::boot(common, &home)?;
            embedded::serve(driver, async |handle| give_up(&handle, &home.storage, &home.secret, job).await)?;
        }
    }
    if common.json {
        print_json(&json!({ "cancelled": job }));
    } else {
        print(&format!("cancelled {job}"));
    }
    Ok(())
}

/// Has a node cancel a job; done once that is in the books.
pub async fn give_up(
    handle: &Handle,
    storage: &Storage,
    secret: &SecretKey,
    job: JobId,
) -> Result<(), CliError> {
    let mut reports = handle.watch();
    let cancellation = Signed::new(Cancellation { job }, handle.mesh(), secret);
    match handle.request(core::Request::Cancel(Box::new(cancellation))).await? {
        Reply::Accepted(_) => {}
        other => return Err(embedded::unexpected(other)),
    }
    while storage.job(&job.0)?.is_none() {
        match reports.recv().await {
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return Err(CliError::Stopped(crate::driver::Stopped)),
        }
    }
    Ok(())
}
