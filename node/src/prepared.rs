//! Contracts that were read and prepared, kept for the shards to come.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use forgemesh_kernel::job::Job;
use forgemesh_kernel::profile::ArgsError;
use forgemesh_protocol::contract::Contract;

/// Prepared jobs that are kept.
const KEPT: usize = 16;

/// The newest prepared jobs.
#[derive(Default)]
pub struct Jobs(Mutex<VecDeque<Arc<Job>>>);

impl Jobs {
    /// The job of `contract`, prepared now or before.
    pub fn get(&self, contract: &Contract) -> Result<Arc<Job>, ArgsError> {
        // A panic elsewhere cannot leave the queue half changed.
        let mut jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(job) = jobs.iter().find(|job| job.contract() == contract) {
            return Ok(Arc::clone(job));
        }
        let job = Arc::new(Job::of_contract(contract.clone())?);
        if jobs.len() == KEPT {
            jobs.pop_front();
        }
        jobs.push_back(Arc::clone(&job));
        Ok(job)
    }
}
