//! What an executor does with a piece of work: run a shard, open leaves, check them, reduce.
//!
//! Owns nothing of when or where: threads and processes are in `real/`, virtual delays in the simulator. Must never look
//! at a clock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use forgemesh_kernel::backend::Isa;
use forgemesh_kernel::fpenv;
use forgemesh_kernel::job::{Job, ShardRun};
use forgemesh_kernel::planner;
use forgemesh_protocol::artifact::Pin;
use forgemesh_protocol::attestation::Claim;
use forgemesh_protocol::canon::Bytes;
use forgemesh_protocol::challenge::{LeafRef, Mismatch};
use forgemesh_protocol::contract::Contract;
use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::MeshId;
use forgemesh_protocol::keys::Signed;
use forgemesh_protocol::limits;
use forgemesh_protocol::plan::StageRun;
use forgemesh_protocol::wire::Outlined;

use crate::blobs::Shelf;
use crate::ports::{Done, Work};
use crate::prepared::Jobs;
use crate::reduce;
use crate::reducers::Reducers;

/// Bytes of leaf accumulators that are kept for openings at most; what is not here is executed again.
const TREE_BYTES: usize = 256 << 20;

/// Prepared jobs and executed shards, kept for what comes next.
pub struct Performer {
    isa: Isa,
    jobs: Jobs,
    reducers: Reducers,
    trees: Mutex<Trees>,
}

/// The newest executed shards, by their task.
struct Trees {
    kept: BTreeMap<Hash, Arc<ShardRun>>,
    /// The oldest first.
    order: VecDeque<Hash>,
    bytes: usize,
    most: usize,
}

impl Performer {
    /// One that computes with `isa`.
    pub fn new(isa: Isa) -> Performer {
        Performer::keeping(isa, TREE_BYTES)
    }

    /// One that keeps no more than so many bytes of executed shards, if that is less than the usual.
    pub fn keeping(isa: Isa, bytes: usize) -> Performer {
        let trees = Mutex::new(Trees {
            kept: BTreeMap::new(),
            order: VecDeque::new(),
            bytes: 0,
            most: bytes.min(TREE_BYTES),
        });
        Performer { isa, jobs: Jobs::default(), reducers: Reducers::default(), trees }
    }

    /// Nothing is asked of it for now: it keeps no executed shards. They are executed again where that was wrong.
    pub fn rest(&self) {
        let mut trees = self.trees.lock().unwrap_or_else(PoisonError::into_inner);
        (trees.kept, trees.order, trees.bytes) = Default::default();
    }

    /// What it computes with.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Does a piece of work; accumulators and claims come from `blobs`. The claim's timings are the caller's to fill in.
    pub fn perform(&self, work: Work, blobs: &impl Shelf) -> Done {
        let result = match work {
            Work::Run { contract, run, shard } => self.run(&contract, &run, shard),
            Work::Open { contract, run, leaves } => self.open(&contract, &run, &leaves),
            Work::Check { contract, run, claims, leaves, openings } => {
                self.check(&contract, &run, &claims, &leaves, &openings)
            }
            Work::Reduce { job } => reduce::reduce(&job, &self.jobs, &self.reducers, blobs),
            Work::Load { blobs: asked } => Ok(load(&asked, blobs)),
            Work::Lookup { blobs: mut asked } => {
                asked.retain(|blob| !blobs.has(blob));
                Ok(Done::LookedUp { missing: asked })
            }
            Work::Books { from } => {
                Ok(Done::Books { files: blobs.books(from).into_iter().map(Bytes).collect() })
            }
            Work::File { job } => Ok(Done::File { file: blobs.file(&job).map(Box::new) }),
            Work::Scrub { after } => scrub(after, blobs),
            Work::Look { artifact } => match blobs.look(&artifact) {
                Some(look) => Ok(Done::Looked { look: Box::new(look) }),
                None => Err("the disk cannot be read".to_owned()),
            },
            Work::Outline { artifact } => {
                Ok(Done::Outlined { outlined: blobs.outlined(&artifact).map(Box::new) })
            }
            Work::Piece { artifact, index } => {
                Ok(Done::Pieced { bytes: blobs.piece(&artifact, index).map(Bytes) })
            }
            Work::CheckOutline { mesh, outlined } => Ok(check_outline(mesh, *outlined)),
            Work::CheckPiece { artifact, outline, index, bytes } => {
                Ok(Done::Pieced { bytes: Some(bytes).filter(|b| outline.has(&artifact, index, &b.0)) })
            }
            Work::ScrubPieces { from } => match blobs.scrub_pieces(from) {
                Some(found) => Ok(Done::ScrubbedPieces { found: Box::new(found) }),
                None => Err("the disk cannot be read".to_owned()),
            },
            Work::Garbage { now_ms } => match blobs.garbage(now_ms) {
                Some(garbage) => Ok(Done::Garbage { garbage }),
                None => Err("the disk cannot be read".to_owned()),
            },
            Work::Spent { unlogged } => match blobs.spent(unlogged) {
                Some(spent) => Ok(Done::Spent { spent: Box::new(spent) }),
                None => Err("the disk cannot be read".to_owned()),
            },
            Work::Lacks { from } => match blobs.lacks(from) {
                Some(lacks) => Ok(Done::Lacks { lacks: Box::new(lacks) }),
                None => Err("the disk cannot be read".to_owned()),
            },
            Work::Keeping { after, now_ms } => match blobs.keeping(after, now_ms) {
                Some(page) => Ok(Done::Keeping { page: Box::new(page) }),
                None => Err("the disk cannot be read".to_owned()),
            },
        };
        result.unwrap_or_else(|detail| Done::Failed { detail })
    }

    /// The job of a contract, if its plan has the stage: how much is executed at once is the plan's to say, not the lease's.
    fn job(&self, contract: &Contract, run: &StageRun) -> Result<Arc<Job>, String> {
        let job = self.jobs.get(contract).map_err(|error| error.to_string())?;
        match planner::has(job.plan(), run) {
            true => Ok(job),
            false => Err(format!("stage {} is not one of the job's plan", run.number)),
        }
    }

    fn execute(&self, job: &Job, run: &StageRun, shard: u64) -> Result<Arc<ShardRun>, String> {
        fpenv::check().map_err(|error| error.to_string())?;
        let shard_run = job.run_shard(self.isa, run, shard).map_err(|error| error.to_string())?;
        // Checked at the end too: a library may have changed it in between.
        fpenv::check().map_err(|error| error.to_string())?;
        let shard_run = Arc::new(shard_run);
        self.trees.lock().unwrap_or_else(PoisonError::into_inner).keep(Arc::clone(&shard_run));
        Ok(shard_run)
    }

    /// Executes a shard.
    pub fn run(&self, contract: &Contract, run: &StageRun, shard: u64) -> Result<Done, String> {
        let job = self.job(contract, run)?;
        let shard_run = self.execute(&job, run, shard)?;
        let accumulator = shard_run.totals().encode();
        let claim = Claim {
            shard,
            task: shard_run.task_hash(),
            tree: shard_run.root(),
            totals: shard_run.totals_digest(),
            blob: Hash::blob(&accumulator),
            wall_us: 0,
            cpu_us: 0,
        };
        Ok(Done::Ran { claim, accumulator, paths: shard_run.paths() })
    }

    /// Opens leaves, of a shard that is kept or executed again.
    pub fn open(&self, contract: &Contract, run: &StageRun, leaves: &[LeafRef]) -> Result<Done, String> {
        let job = self.job(contract, run)?;
        let mut openings = Vec::new();
        let mut current: Option<(u64, Arc<ShardRun>)> = None;
        for leaf in leaves {
            let shard_run = match &current {
                Some((shard, shard_run)) if *shard == leaf.shard => Arc::clone(shard_run),
                _ => {
                    let task = job.task(run, leaf.shard).map_err(|error| error.to_string())?.hash();
                    let kept = self.trees.lock().unwrap_or_else(PoisonError::into_inner).get(&task);
                    match kept {
                        Some(shard_run) => shard_run,
                        None => self.execute(&job, run, leaf.shard)?,
                    }
                }
            };
            openings.push(Bytes(shard_run.open(leaf.leaf).map_err(|error| error.to_string())?));
            current = Some((leaf.shard, shard_run));
        }
        Ok(Done::Opened { openings })
    }

    /// Executes leaves again and holds them against their claims and openings.
    pub fn check(
        &self,
        contract: &Contract,
        run: &StageRun,
        claims: &[Claim],
        leaves: &[LeafRef],
        openings: &[Bytes],
    ) -> Result<Done, String> {
        let job = self.job(contract, run)?;
        let mut mismatches = Vec::new();
        for (i, at) in leaves.iter().enumerate() {
            let claim = claims.iter().find(|claim| claim.shard == at.shard);
            let (Some(claim), Some(opening)) = (claim, openings.get(i)) else {
                return Err(format!("leaf {} of shard {} was not opened", at.leaf, at.shard));
            };
            let checked =
                job.check_leaf(self.isa, run, claim, at.leaf, &opening.0).map_err(|e| e.to_string())?;
            if let Err((kind, recomputed)) = checked {
                mismatches.push(Mismatch { at: *at, kind, recomputed });
            }
        }
        Ok(Done::Checked { mismatches })
    }
}

/// The blobs that are there and whole; results may be kept in pieces.
fn load(asked: &[Hash], blobs: &impl Shelf) -> Done {
    let bytes = |blob: &Hash| blobs.blob(blob).ok().or_else(|| joined(blob, blobs)).map(Bytes);
    Done::Loaded { blobs: asked.iter().map(bytes).collect() }
}

/// All pieces of an artifact that fits into a message.
fn joined(artifact: &Hash, blobs: &impl Shelf) -> Option<Vec<u8>> {
    let length = blobs.look(artifact)?.whole()?;
    if length <= limits::ACCUMULATOR_BYTES as u64 { blobs.bytes(artifact) } else { None }
}

/// An outline that is its address's, with its pin if that is for it and truly signed.
fn check_outline(mesh: MeshId, mut outlined: Outlined) -> Done {
    let Outlined { artifact, outline, last, pin } = &mut outlined;
    let is_true = |pin: &Signed<Pin>| {
        (pin.body.artifact, pin.body.length) == (*artifact, outline.length) && pin.verify(mesh).is_ok()
    };
    *pin = pin.take().filter(is_true);
    let good = outline.is_of(artifact, &last.0);
    Done::Outlined { outlined: good.then(|| Box::new(outlined)) }
}

/// Reads a slice of what is kept.
fn scrub(after: Option<Hash>, blobs: &impl Shelf) -> Result<Done, String> {
    let page = blobs.scrub(after, limits::SCRUB_BYTES).map_err(|error| error.to_string())?;
    Ok(Done::Scrubbed { corrupt: page.corrupt, next: page.next })
}

impl Trees {
    fn keep(&mut self, shard_run: Arc<ShardRun>) {
        let (task, size) = (shard_run.task_hash(), shard_run.size());
        if self.kept.insert(task, shard_run).is_some() {
            // The same task comes to the same tree.
            return;
        }
        self.bytes += size;
        self.order.push_back(task);
        while self.bytes > self.most
            && let Some(oldest) = self.order.pop_front().and_then(|oldest| self.kept.remove(&oldest))
        {
            self.bytes -= oldest.size();
        }
    }

    fn get(&self, task: &Hash) -> Option<Arc<ShardRun>> {
        self.kept.get(task).map(Arc::clone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_for_openings_is_bounded_goes_with_a_rest_and_is_executed_again() {
        let envelope = br#"{"op":{"name":"diag","version":1,"profile":"noop.v1"},"args":{"shards":3}}"#;
        let (job, _) = Job::read(envelope).expect("a job");
        let (contract, run) = (job.contract(), job.first_run());
        let size = |performer: &Performer| {
            let trees = performer.trees.lock().expect("nobody panics");
            assert_eq!(trees.kept.len(), trees.order.len());
            assert_eq!(trees.bytes, trees.kept.values().map(|kept| kept.size()).sum::<usize>());
            (trees.kept.len(), trees.bytes)
        };
        let performer = Performer::new(Isa::best());
        for shard in [0, 1, 1] {
            performer.run(contract, &run, shard).expect("it runs");
        }
        let (kept, bytes) = size(&performer);
        assert_eq!(kept, 2, "the same shard again is the same tree");
        let leaves = [LeafRef { shard: 1, leaf: 1 }];
        let opened = |performer: &Performer| match performer.open(contract, &run, &leaves) {
            Ok(Done::Opened { openings }) => openings,
            other => panic!("{other:?}"),
        };
        let opening = opened(&performer);
        performer.rest();
        assert_eq!(size(&performer), (0, 0));
        assert_eq!(opened(&performer), opening);
        let small = Performer::keeping(Isa::best(), bytes);
        for shard in 0..3 {
            small.run(contract, &run, shard).expect("it runs");
        }
        assert_eq!(size(&small), (2, bytes), "the oldest has gone");
    }

    /// A lease that asks for more at once than the plan ever does would take what memory there is.
    #[test]
    fn nothing_is_executed_that_the_plan_does_not_have() {
        let envelope = br#"{"op":{"name":"diag","version":1,"profile":"noop.v1"},"args":{"shards":3}}"#;
        let (job, _) = Job::read(envelope).expect("a job");
        let (contract, planned) = (job.contract(), job.first_run());
        let changes: [fn(&mut StageRun); 4] = [
            |run| run.number = 1,
            |run| run.stage.leaves_per_shard = 0,
            |run| run.stage.leaves_per_shard = u64::MAX,
            |run| (run.stage.first_leaf, run.stage.leaves) = (u64::MAX, u64::MAX),
        ];
        let performer = Performer::new(Isa::Portable);
        let Ok(Done::Ran { claim, .. }) = performer.run(contract, &planned, 0) else { panic!("it runs") };
        let leaves = [LeafRef { shard: 0, leaf: 0 }];
        let Ok(Done::Opened { openings }) = performer.open(contract, &planned, &leaves) else {
            panic!("it opens")
        };
        let check =
            |run: &StageRun| performer.check(contract, run, std::slice::from_ref(&claim), &leaves, &openings);
        assert!(matches!(check(&planned), Ok(Done::Checked { mismatches }) if mismatches.is_empty()));
        for change in changes {
            let mut run = planned.clone();
            change(&mut run);
            assert!(performer.run(contract, &run, 0).is_err(), "{run:?}");
            assert!(performer.open(contract, &run, &leaves).is_err(), "{run:?}");
            assert!(check(&run).is_err(), "{run:?}");
        }
    }
}
