//! The tree over a shard's leaves. Every node binds the totals of its subtree, so that honest leaves under a forged sum
//! are found by opening any leaf beneath it.
//!
//! The shape is that of RFC 6962, section 2.1: the left part holds the largest power of two below the number of leaves.

use std::ops::Range;

use forgemesh_protocol::hash::{Domain, Hash, Hasher};

use crate::accumulator::{Accumulator, MergeError, Mode, Shape};
use crate::codec::{DecodeError, Reader, Writer};

/// Which leaves a tree is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Binds contract, stage, shard, range and stage input.
    pub task: Hash,
    /// As numbers within the job.
    pub leaves: Range<u64>,
    /// Paths of every leaf but the job's last.
    pub leaf_paths: u64,
    /// Paths of the job.
    pub paths: u64,
}

/// Why there is no tree, or no opening of that leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    #[error("a shard has at least one leaf, and as many accumulators as leaves")]
    Leaves,
    #[error("leaf {0} is not in this shard")]
    NoLeaf(u64),
    #[error("{0}")]
    Merge(#[from] MergeError),
}

/// Why an opening does not lead to what was committed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpeningError {
    #[error("a forged total: the merged accumulators of leaf {leaf}'s path are not the claimed ones")]
    ForgedTotal { leaf: u64 },
    #[error("a wrong path: the opening of leaf {leaf} does not lead to the claimed root")]
    WrongRoot { leaf: u64 },
    #[error("the opening is of leaf {found}, not of leaf {asked}")]
    WrongLeaf { asked: u64, found: u64 },
    #[error("the opening has {found} levels, the tree {expected} above that leaf")]
    Depth { expected: usize, found: usize },
    #[error("an accumulator on the path of leaf {leaf} is over another number of paths than its place has")]
    Paths { leaf: u64 },
    #[error("{0}")]
    Merge(#[from] MergeError),
}

impl Place {
    /// `H(task, leaf, first path, paths, digest of the accumulator)`.
    fn leaf_hash(&self, leaf: u64, accumulator: &Accumulator) -> Hash {
        let first = leaf.saturating_mul(self.leaf_paths);
        let count = self.paths.saturating_sub(first).min(self.leaf_paths);
        let hasher = Hasher::new(Domain::LEAF).hash(&self.task).u64(leaf).u64(first).u64(count);
        hasher.hash(&accumulator.digest()).finish()
    }
}

/// `H(left, right, digest of the merged accumulators)`.
fn node_hash(left: &Hash, right: &Hash, totals: &Hash) -> Hash {
    Hasher::new(Domain::NODE).hash(left).hash(right).hash(totals).finish()
}

fn split(leaves: &Range<u64>) -> u64 {
    let count = leaves.end - leaves.start;
    leaves.start + (1 << (count - 1).ilog2())
}

/// One level on the way from a leaf to the root.
struct Step {
    /// The leaves under the sibling.
    sibling: Range<u64>,
    on_left: bool,
}

/// The way from `leaf` up to the root over `leaves`.
fn path(leaves: &Range<u64>, leaf: u64) -> Vec<Step> {
    let (mut range, mut path) = (leaves.clone(), Vec::new());
    while range.end - range.start > 1 {
        let middle = split(&range);
        if leaf < middle {
            path.push(Step { sibling: middle..range.end, on_left: false });
            range = range.start..middle;
        } else {
            path.push(Step { sibling: range.start..middle, on_left: true });
            range = middle..range.end;
        }
    }
    path.reverse();
    path
}

struct Node {
    hash: Hash,
    accumulator: Accumulator,
    /// Absent for a leaf.
    children: Option<Box<[Node; 2]>>,
}

/// A shard's leaves, with the sums of every subtree.
pub struct Tree {
    leaves: Range<u64>,
    root: Node,
    size: usize,
}

impl Tree {
    /// The tree over the leaves of `place`, in order.
    pub fn build(place: Place, accumulators: Vec<Accumulator>) -> Result<Tree, TreeError> {
        let count = place.leaves.end.saturating_sub(place.leaves.start);
        if count == 0 || accumulators.len() as u64 != count {
            return Err(TreeError::Leaves);
        }
        let mut accumulators = accumulators.into_iter();
        let root = build(&place, &place.leaves, &mut accumulators)?;
        let size = memory(&root);
        Ok(Tree { leaves: place.leaves, root, size })
    }

    /// The root hash.
    pub fn root(&self) -> Hash {
        self.root.hash
    }

    /// The sums over all leaves.
    pub fn totals(&self) -> &Accumulator {
        &self.root.accumulator
    }

    /// Their digest.
    pub fn totals_digest(&self) -> Hash {
        self.root.accumulator.digest()
    }

    /// Bytes it takes in memory, about.
    pub fn size(&self) -> usize {
        self.size
    }

    /// What a checker needs to follow `leaf` up to the root.
    pub fn open(&self, leaf: u64) -> Result<Opening, TreeError> {
        if !self.leaves.contains(&leaf) {
            return Err(TreeError::NoLeaf(leaf));
        }
        let (mut node, mut range, mut siblings) = (&self.root, self.leaves.clone(), Vec::new());
        let mut totals = Vec::new();
        while let Some(children) = &node.children {
            totals.push(node.accumulator.digest());
            let middle = split(&range);
            let [left, right] = &**children;
            if leaf < middle {
                siblings.push(Sibling::of(right));
                (node, range) = (left, range.start..middle);
            } else {
                siblings.push(Sibling::of(left));
                (node, range) = (right, middle..range.end);
            }
        }
        siblings.reverse();
        totals.reverse();
        Ok(Opening { leaf, accumulator: node.accumulator.clone(), siblings, totals })
    }
}

fn build(
    place: &Place,
    leaves: &Range<u64>,
    accumulators: &mut impl Iterator<Item = Accumulator>,
) -> Result<Node, TreeError> {
    if leaves.end - leaves.start == 1 {
        let accumulator = accumulators.next().ok_or(TreeError::Leaves)?;
        let hash = place.leaf_hash(leaves.start, &accumulator);
        return Ok(Node { hash, accumulator, children: None });
    }
    let middle = split(leaves);
    let left = build(place, &(leaves.start..middle), accumulators)?;
    let right = build(place, &(middle..leaves.end), accumulators)?;
    let mut accumulator = left.accumulator.clone();
    accumulator.merge(&right.accumulator)?;
    let hash = node_hash(&left.hash, &right.hash, &accumulator.digest());
    Ok(Node { hash, accumulator, children: Some(Box::new([left, right])) })
}

fn memory(node: &Node) -> usize {
    let below: usize = node.children.iter().flat_map(|children| children.iter()).map(memory).sum();
    node.accumulator.size() + below
}

/// The other child on the way up: enough to compute its hash from its accumulator.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sibling {
    /// Hashes of its children; absent if it is a leaf.
    children: Option<(Hash, Hash)>,
    accumulator: Accumulator,
}

impl Sibling {
    fn of(node: &Node) -> Sibling {
        let children = node.children.as_ref().map(|children| (children[0].hash, children[1].hash));
        Sibling { children, accumulator: node.accumulator.clone() }
    }
}

/// A leaf with the accumulators of its siblings.
///
/// Layout: `FMOP`, version, leaf u64, accumulator (u64 length, bytes), siblings from the leaf up (u32 count), each: 0, or
/// 1 and two hashes; accumulator; then for each sibling the stated totals above it (32 bytes).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    leaf: u64,
    accumulator: Accumulator,
    siblings: Vec<Sibling>,
    /// What the tree states as the totals above each sibling: the committed digests, be they right or wrong.
    totals: Vec<Hash>,
}

const MAGIC: &[u8; 4] = b"FMOP";

impl Opening {
    /// The opened leaf's sums, as the agent has them.
    pub fn accumulator(&self) -> &Accumulator {
        &self.accumulator
    }

    /// Follows the leaf up: every hash and every merge is computed again, and must end at the claimed root and totals.
    ///
    /// The hashes come first. An opening that does not lead to the root says nothing about the one who committed to it:
    /// anybody can make one. Only once it does are its stated totals the committer's own, and a merge that does not come
    /// to them is his forgery.
    pub fn check(&self, place: &Place, leaf: u64, root: &Hash, totals: &Hash) -> Result<(), OpeningError> {
        if self.leaf != leaf || !place.leaves.contains(&leaf) {
            return Err(OpeningError::WrongLeaf { asked: leaf, found: self.leaf });
        }
        let path = path(&place.leaves, leaf);
        if path.len() != self.siblings.len() || path.len() != self.totals.len() {
            return Err(OpeningError::Depth { expected: path.len(), found: self.siblings.len() });
        }
        self.check_paths(place, &path)?;
        let mut hash = place.leaf_hash(leaf, &self.accumulator);
        for ((sibling, totals), step) in self.siblings.iter().zip(&self.totals).zip(&path) {
            let is_leaf = step.sibling.end - step.sibling.start == 1;
            let other = match (sibling.children, is_leaf) {
                (None, true) => place.leaf_hash(step.sibling.start, &sibling.accumulator),
                (Some((left, right)), false) => node_hash(&left, &right, &sibling.accumulator.digest()),
                _ => return Err(OpeningError::WrongRoot { leaf }),
            };
            hash = if step.on_left {
                node_hash(&other, &hash, totals)
            } else {
                node_hash(&hash, &other, totals)
            };
        }
        if hash != *root {
            return Err(OpeningError::WrongRoot { leaf });
        }
        let mut merged = self.accumulator.clone();
        for (sibling, stated) in self.siblings.iter().zip(&self.totals) {
            merged.merge(&sibling.accumulator)?;
            if merged.digest() != *stated {
                return Err(OpeningError::ForgedTotal { leaf });
            }
        }
        if merged.digest() == *totals { Ok(()) } else { Err(OpeningError::ForgedTotal { leaf }) }
    }

    /// Every accumulator must be over as many paths as its place has.
    fn check_paths(&self, place: &Place, path: &[Step]) -> Result<(), OpeningError> {
        let paths = |leaves: &Range<u64>| {
            let end = leaves.end.saturating_mul(place.leaf_paths).min(place.paths);
            end.saturating_sub(leaves.start.saturating_mul(place.leaf_paths))
        };
        let own = self.accumulator.paths == paths(&(self.leaf..self.leaf + 1));
        let others =
            self.siblings.iter().zip(path).all(|(s, step)| s.accumulator.paths == paths(&step.sibling));
        if own && others { Ok(()) } else { Err(OpeningError::Paths { leaf: self.leaf }) }
    }

    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::open(MAGIC);
        out.u64(self.leaf);
        out.blob(&self.accumulator.encode());
        out.count(self.siblings.len());
        for sibling in &self.siblings {
            match &sibling.children {
                None => out.u8(0),
                Some((left, right)) => {
                    out.u8(1);
                    out.hash(left);
                    out.hash(right);
                }
            }
            out.blob(&sibling.accumulator.encode());
        }
        self.totals.iter().for_each(|totals| out.hash(totals));
        out.finish()
    }

    /// Reads what `encode` writes, for a job and stage of this shape and mode.
    pub fn decode(bytes: &[u8], shape: &Shape, mode: &Mode) -> Result<Opening, DecodeError> {
        let mut input = Reader::open(bytes, MAGIC, "opening")?;
        let leaf = input.u64("the leaf's number")?;
        let accumulator = decode_accumulator(&mut input, shape, mode)?;
        let mut siblings = Vec::new();
        for _ in 0..input.count(9, "siblings")? {
            let children = match input.u8("a sibling")? {
                0 => None,
                1 => Some((input.hash("a sibling")?, input.hash("a sibling")?)),
                _ => return Err(DecodeError::Inconsistent("a sibling is neither leaf nor node")),
            };
            siblings.push(Sibling { children, accumulator: decode_accumulator(&mut input, shape, mode)? });
        }
        let totals = siblings.iter().map(|_| input.hash("stated totals")).collect::<Result<_, _>>()?;
        input.close()?;
        Ok(Opening { leaf, accumulator, siblings, totals })
    }
}

fn decode_accumulator(
    input: &mut Reader<'_>,
    shape: &Shape,
    mode: &Mode,
) -> Result<Accumulator, DecodeError> {
    let length = input.long_count(1, "an accumulator")?;
    Accumulator::decode(input.take(length, "an accumulator")?, shape, mode)
}
