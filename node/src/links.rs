//! The links of this agent's chain: which claims and accumulators on the disk are here because it has vouched for them, and
//! for which jobs.
//!
//! Owns the records about that in the key-value memory. Must never call spent what is of a job that is not in the books.

use std::collections::{BTreeMap, BTreeSet};

use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::JobId;
use forgemesh_storage::{Batch, CommitError, ReadError, Storage};
use serde::Serialize;

use crate::{artifacts, boot};

/// Namespace of the links: job ‖ `/` ‖ number ‖ `/` ‖ the address of the claims → nothing. A number may come twice: a disk that
/// has lost links goes on from the log. No envelope can name it: a namespace there has no space.
const NAMESPACE: &str = "forgemesh link";
/// Rows read at a time.
const PAGE: usize = 1_000;
/// Blobs that go in one batch, or some more.
const BLOBS: usize = 16_384;

/// What nothing needs any more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Spent {
    /// Records of links whose jobs are in the books.
    pub rows: Vec<String>,
    /// What only they claim.
    pub blobs: Vec<Hash>,
    /// There is more of this than was looked at.
    pub is_cut: bool,
    /// There are other links, which are not logged, or whose jobs are not final.
    pub is_rest: bool,
}

/// Notes that a link of this agent's chain vouches for the claims at `members`.
pub fn note(batch: &mut Batch, job: &JobId, seq: u64, members: &Hash) {
    batch.put_kv(NAMESPACE, &format!("{job}/{seq:020}/{members}"), Vec::new());
}

impl Spent {
    /// The batch that removes it.
    pub fn removal(&self) -> Batch {
        let mut batch = Batch::new();
        self.blobs.iter().for_each(|blob| {
            batch.delete_blob(*blob);
        });
        self.rows.iter().for_each(|row| {
            batch.delete_kv(NAMESPACE, row);
        });
        batch
    }
}

/// The links before `unlogged` of jobs that are in the books, and what nothing needs that they claim: neither another link,
/// nor a job that names it as an artifact, nor a pin.
pub fn spent(storage: &Storage, unlogged: u64) -> Result<Spent, ReadError> {
    let (mut spent, mut blobs, mut open) = (Spent::default(), BTreeSet::new(), Vec::new());
    let (mut after, mut are_final) = (None, BTreeMap::new());
    loop {
        let page = storage.kv_list(NAMESPACE, after.as_deref(), PAGE)?;
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        for (row, _) in page {
            // What is not ours is nobody's.
            let Some((job, seq, members)) = link(&row) else {
                spent.rows.push(row);
                continue;
            };
            let is_final = match are_final.get(&job) {
                Some(is_final) => *is_final,
                None => *are_final.entry(job).or_insert(storage.has_job(&job.0)?),
            };
            if !is_final || seq >= unlogged {
                open.push(members);
            } else if spent.rows.len() >= BLOBS || blobs.len() >= BLOBS {
                spent.is_cut = true;
            } else {
                spent.rows.push(row);
                blobs.extend(claimed(storage, &members)?.unwrap_or_default());
            }
        }
    }
    spent.is_rest = !open.is_empty();
    for members in open {
        if blobs.is_empty() {
            break;
        }
        // Whose claims cannot be read may need any of them.
        let Some(claimed) = claimed(storage, &members)? else {
            return Ok(Spent { is_rest: true, ..Spent::default() });
        };
        claimed.iter().for_each(|blob| {
            blobs.remove(blob);
        });
    }
    for blob in blobs {
        if artifacts::named_by(storage, &blob, 1)?.is_empty() && artifacts::kept(storage, &blob)?.is_none() {
            spent.blobs.push(blob);
        }
    }
    Ok(spent)
}

/// Forgets all links, on a node that lets nothing go and on which nothing runs.
pub fn forget(storage: &Storage) -> Result<(), CommitError> {
    while let Ok(page) = storage.kv_list(NAMESPACE, None, PAGE)
        && !page.is_empty()
    {
        let rows = page.into_iter().map(|(row, _)| row).collect();
        storage.commit(&Spent { rows, ..Spent::default() }.removal())?;
    }
    Ok(())
}

/// Job, number, and the address of the claims.
fn link(row: &str) -> Option<(JobId, u64, Hash)> {
    let mut parts = row.split('/');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// The claims at an address and what they claim; none if they cannot be read.
fn claimed(storage: &Storage, members: &Hash) -> Result<Option<Vec<Hash>>, ReadError> {
    let claims = boot::claims_at(storage, members)?;
    Ok(claims.map(|claims| claims.iter().map(|claim| claim.blob).chain([*members]).collect()))
}

#[cfg(test)]
mod tests {
    use forgemesh_protocol::attestation::Claim;
    use forgemesh_protocol::{canon, limits};

    use super::*;

    fn job(number: u8) -> JobId {
        JobId(Hash([number; 32]))
    }

    fn accumulator(number: u32) -> Vec<u8> {
        number.to_le_bytes().to_vec()
    }

    /// A link of a job that vouches for these accumulators; says where its claims are.
    fn link(storage: &Storage, of: u8, seq: u64, accumulators: &[u32]) -> Hash {
        let mut batch = Batch::new();
        let claim = |(shard, number): (u64, u32)| Claim {
            shard,
            task: Hash([of; 32]),
            tree: Hash::ZERO,
            totals: Hash::ZERO,
            blob: batch.put_blob(accumulator(number)),
            wall_us: 0,
            cpu_us: seq,
        };
        let claims: Vec<Claim> = (0..).zip(accumulators.iter().copied()).map(claim).collect();
        let members = batch.put_blob(canon::to_bytes(&claims));
        note(&mut batch, &job(of), seq, &members);
        storage.commit(&batch).unwrap();
        members
    }

    fn is_final(storage: &Storage, of: u8) {
        let mut batch = Batch::new();
        batch.put_job(job(of).0, b"a record".to_vec());
        storage.commit(&batch).unwrap();
    }

    fn here(storage: &Storage, numbers: impl IntoIterator<Item = u32>) -> Vec<u32> {
        let is_here = |number: &u32| storage.has_blob(&Hash::blob(&accumulator(*number))).unwrap();
        numbers.into_iter().filter(is_here).collect()
    }

    fn storage() -> (tempfile::TempDir, Storage) {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open(folder.path()).unwrap();
        (folder, storage)
    }

    #[test]
    fn what_only_final_jobs_need_goes_and_nothing_else() {
        let (_folder, storage) = storage();
        let first = link(&storage, 1, 1, &[10, 11, 12, 13, 14]);
        let second = link(&storage, 2, 2, &[11, 20]);
        let third = link(&storage, 1, 3, &[15, 16]);
        assert_eq!(
            spent(&storage, 4).unwrap(),
            Spent { is_rest: true, ..Spent::default() },
            "nothing is final"
        );
        is_final(&storage, 1);
        // A job names one of them, somebody's pin is for another, and the last link may not have been fetched yet.
        let mut batch = Batch::new();
        artifacts::name(&mut batch, &Hash::blob(&accumulator(12)), &job(9));
        artifacts::Kept::nothing(4, None).put(&mut batch, &Hash::blob(&accumulator(13)));
        storage.commit(&batch).unwrap();
        let found = spent(&storage, 3).unwrap();
        assert_eq!((found.rows.len(), found.is_rest, found.is_cut), (1, true, false));
        storage.commit(&found.removal()).unwrap();
        assert_eq!(here(&storage, 10..=20), [11, 12, 13, 15, 16, 20]);
        assert!(!storage.has_blob(&first).unwrap() && storage.has_blob(&second).unwrap());
        // It is logged, and the other job is final.
        is_final(&storage, 2);
        let found = spent(&storage, 4).unwrap();
        assert_eq!((found.rows.len(), found.is_rest), (2, false));
        storage.commit(&found.removal()).unwrap();
        assert_eq!(here(&storage, 10..=20), [12, 13]);
        assert!(!storage.has_blob(&second).unwrap() && !storage.has_blob(&third).unwrap());
        assert_eq!(spent(&storage, 4).unwrap(), Spent::default());
    }

    #[test]
    fn who_lets_nothing_go_forgets_links_and_keeps_blobs() {
        let (_folder, storage) = storage();
        let numbers: Vec<u32> = (0..PAGE as u32 + 2).collect();
        for (seq, number) in (1..).zip(&numbers) {
            link(&storage, (seq % 2) as u8, seq, &[*number]);
        }
        is_final(&storage, 1);
        forget(&storage).unwrap();
        assert_eq!(here(&storage, numbers.clone()), numbers);
        assert_eq!(spent(&storage, u64::MAX).unwrap(), Spent::default());
    }

    #[test]
    fn while_the_claims_of_an_open_job_cannot_be_read_all_stays() {
        let (_folder, storage) = storage();
        link(&storage, 1, 1, &[10]);
        let members = link(&storage, 2, 2, &[10]);
        is_final(&storage, 1);
        let mut batch = Batch::new();
        batch.delete_blob(members);
        storage.commit(&batch).unwrap();
        assert_eq!(spent(&storage, 3).unwrap(), Spent { is_rest: true, ..Spent::default() });
    }

    #[test]
    fn what_is_too_much_for_one_batch_goes_in_several() {
        let (_folder, storage) = storage();
        let numbers: Vec<u32> = (0..2 * BLOBS as u32).collect();
        let links = numbers.chunks(limits::BATCH_SHARDS);
        for (seq, part) in (1..).zip(links.clone()) {
            link(&storage, 1, seq, part);
        }
        is_final(&storage, 1);
        let mut rounds = Vec::new();
        loop {
            let found = spent(&storage, u64::MAX).unwrap();
            storage.commit(&found.removal()).unwrap();
            rounds.push(found.blobs.len());
            if !found.is_cut {
                break;
            }
        }
        assert_eq!(rounds.iter().sum::<usize>(), numbers.len() + links.len());
        let most = BLOBS + limits::BATCH_SHARDS + 1;
        assert!(rounds.len() > 1 && rounds.iter().all(|round| *round < most), "{rounds:?}");
        assert!(here(&storage, numbers).is_empty());
    }
}
