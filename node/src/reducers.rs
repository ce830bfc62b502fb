//! Jobs whose finished stages are merged, kept for the stage to come: without them every look of a job would merge its
//! first leaves again.
//!
//! Only a cache: whoever finds nothing here begins with the blobs. Must never answer for other stages than those asked for.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use forgemesh_kernel::reduction::Reducer;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::plan::StageRun;

/// Bytes of sums that are kept; what is not here is merged again.
const REDUCER_BYTES: usize = 256 << 20;

/// The newest reducers, by what they have merged.
#[derive(Default)]
pub struct Reducers(Mutex<VecDeque<(Hash, Merged)>>);

/// Some stages of a job, merged, and the stage that follows from them.
pub struct Merged {
    pub reducer: Reducer,
    pub next: StageRun,
}

impl Reducers {
    /// Takes what was kept for exactly these stages.
    pub fn take(&self, key: &Hash) -> Option<Merged> {
        // A panic elsewhere cannot leave the queue half changed.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(found, _)| found == key)?;
        kept.remove(at).map(|(_, merged)| merged)
    }

    /// Keeps the merged stages of one job, and forgets the oldest ones if they are too many.
    pub fn keep(&self, key: Hash, merged: Merged) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back((key, merged));
        while kept.iter().map(|(_, merged)| merged.reducer.size()).sum::<usize>() > REDUCER_BYTES {
            kept.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use forgemesh_kernel::job::Job;

    use super::*;

    fn merged() -> Merged {
        let envelope = br#"{"op":{"name":"diag","version":1,"profile":"noop.v1"},"args":{}}"#;
        let (job, _) = Job::read(envelope).unwrap();
        Merged { reducer: Reducer::default(), next: job.first_run() }
    }

    #[test]
    fn what_was_kept_is_found_once_and_under_its_own_key() {
        let reducers = Reducers::default();
        reducers.keep(Hash([1; 32]), merged());
        assert!(reducers.take(&Hash([2; 32])).is_none());
        assert!(reducers.take(&Hash([1; 32])).is_some());
        assert!(reducers.take(&Hash([1; 32])).is_none());
    }
}
