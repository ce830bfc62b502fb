//! What can be told from a data folder while no replica runs on it.

use forgemesh_protocol::id::NodeId;
use forgemesh_storage::{MetaKey, Storage};

use super::StartError;
use super::logged::{Logged, Payload, Place};
use super::snapshot::Head;

/// Entries read at a time.
const PAGE: usize = 256;

/// Index of the last entry that is agreed on, as far as this folder of `node` tells; none before the first. The mark in
/// the folder may lag behind the truth. Who is the only voter has agreed with itself on all that it holds.
///
/// # Errors
/// What cannot be read, or is damaged.
pub fn agreed(storage: &Storage, node: NodeId) -> Result<Option<u64>, StartError> {
    let damaged = |what| move |error| StartError::Damaged { what, error };
    let (mut agreed, mut members) = (None, None);
    if let Some((index, bytes)) = storage.snapshot()? {
        let (head, _) = Head::split(&bytes).map_err(damaged("the snapshot"))?;
        (agreed, members) = (Some(index), Some(head.members));
    }
    let mut from = storage.first_log_index()?;
    loop {
        let page = storage.log(from, PAGE)?;
        let Some((last, _)) = page.last() else { break };
        from = last + 1;
        for (_, bytes) in &page {
            if let Payload::Members(found) = Logged::decode(bytes).map_err(damaged("a log entry"))?.payload {
                members = Some(found);
            }
        }
    }
    if members.is_some_and(|members| members.voters.iter().all(|set| set.iter().eq([&node]))) {
        return storage.last_log_index().map_err(StartError::Read);
    }
    let mark = storage.meta(MetaKey::RaftCommitted)?;
    let mark = mark.map(|bytes| Place::decode(&bytes)).transpose();
    let mark = mark.map_err(damaged("the end of what is agreed on"))?;
    Ok(agreed.max(mark.map(|place| place.index)))
}
