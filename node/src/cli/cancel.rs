//! `forgemesh job cancel`: a job that was interrupted is given up rather than resumed.

use forgemesh_protocol::cancellation::Cancellation;
use forgemesh_protocol::id::JobId;
use forgemesh_protocol::keys::Signed;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;

use super::error::CliError;
use super::home::Home;
use super::{Common, embedded, print, print_json};
use crate::core::{Reply, Request};
use crate::driver::Handle;

/// Cancels an open job, and returns once that is in the books.
pub fn cancel(common: &Common, home: &Home, job: JobId) -> Result<(), CliError> {
    let driver = embedded::boot(common, home)?;
    embedded::serve(driver, async |handle| give_up(&handle, home, job).await)?;
    if common.json {
        print_json(&json!({ "cancelled": job }));
    } else {
        print(&format!("cancelled {job}"));
    }
    Ok(())
}

async fn give_up(handle: &Handle, home: &Home, job: JobId) -> Result<(), CliError> {
    let mut reports = handle.watch();
    let cancellation = Signed::new(Cancellation { job }, handle.mesh(), &home.secret);
    match handle.request(Request::Cancel(Box::new(cancellation))).await? {
        Reply::Accepted(_) => {}
        other => return Err(embedded::unexpected(other)),
    }
    while home.storage.job(&job.0)?.is_none() {
        match reports.recv().await {
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return Err(CliError::Stopped(crate::driver::Stopped)),
        }
    }
    Ok(())
}
