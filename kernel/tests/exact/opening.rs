//! The tree over a shard's leaves: honest openings check, every forgery is refused by its name.

use std::sync::Arc;

use forgemesh_kernel::accumulator::{Accumulator, Mode, Shape};
use forgemesh_kernel::bracket::{Bracket, Brackets};
use forgemesh_kernel::tree::{Opening, OpeningError, Place, Tree, TreeError};
use forgemesh_protocol::hash::{Domain, Hash, Hasher};

use crate::support::{Paths, Source, below, shape};

const SIZES: [u64; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17, 33];
const LEAF_PATHS: u64 = 5;

fn small() -> Shape {
    shape(1, &[500_000_000, 990_000_000], true, 1)
}

fn modes() -> [Mode; 3] {
    let brackets = Brackets(vec![vec![Bracket { lo: -300, hi: 200 }, Bracket { lo: 900, hi: i64::MAX }]]);
    [Mode::Plain, Mode::Pilot, Mode::Bracketed(Arc::new(brackets))]
}

/// A shard of `count` leaves that starts at leaf `first`; the job's last leaf has one path less.
struct Shard {
    place: Place,
    leaves: Vec<Accumulator>,
}

impl Shard {
    fn new(task: u8, first: u64, count: u64, mode: &Mode, source: &mut Source) -> Shard {
        let place = Place {
            task: Hash([task; 32]),
            leaves: first..first + count,
            leaf_paths: LEAF_PATHS,
            paths: (first + count) * LEAF_PATHS - 1,
        };
        let leaf = |leaf: u64| {
            let start = leaf * LEAF_PATHS;
            let paths = LEAF_PATHS.min(place.paths - start) as usize;
            let values: Vec<i64> = (0..paths).map(|_| below(source, 2_000) as i64 - 1_000).collect();
            Paths::of(&values).leaf(&small(), mode, 0..paths)
        };
        let leaves = place.leaves.clone().map(leaf).collect();
        Shard { place, leaves }
    }

    fn tree(&self) -> Tree {
        Tree::build(self.place.clone(), self.leaves.clone()).expect("leaves of one stage")
    }

    fn leaf_hash(&self, leaf: u64, accumulator: &Accumulator) -> Hash {
        let first = leaf * LEAF_PATHS;
        let hasher = Hasher::new(Domain::LEAF).hash(&self.place.task).u64(leaf).u64(first);
        hasher.u64(LEAF_PATHS.min(self.place.paths - first)).hash(&accumulator.digest()).finish()
    }

    /// The root by the definition of RFC 6962, section 2.1: what an attacker can compute as well as we.
    fn root(&self, first: usize, leaves: &[Accumulator]) -> (Hash, Accumulator) {
        if let [leaf] = leaves {
            return (self.leaf_hash(self.place.leaves.start + first as u64, leaf), leaf.clone());
        }
        let half = leaves.len().next_power_of_two() / 2;
        let (left, right) = leaves.split_at(half);
        let (left, right) = (self.root(first, left), self.root(first + half, right));
        let mut totals = left.1;
        totals.merge(&right.1).expect("leaves of one stage");
        (node_hash(&left.0, &right.0, &totals), totals)
    }
}

fn node_hash(left: &Hash, right: &Hash, totals: &Accumulator) -> Hash {
    Hasher::new(Domain::NODE).hash(left).hash(right).hash(&totals.digest()).finish()
}

/// An opening taken apart: the layout is frozen, so that a forger can do this.
#[derive(Clone)]
struct Raw {
    leaf: u64,
    accumulator: Vec<u8>,
    siblings: Vec<(Option<[u8; 64]>, Vec<u8>)>,
    /// Digests that are stated for the nodes above the siblings.
    totals: Vec<Vec<u8>>,
}

impl Raw {
    fn of(opening: &Opening) -> Raw {
        let bytes = opening.encode();
        let mut at = 5;
        let mut take = |count: usize| {
            at += count;
            bytes[at - count..at].to_vec()
        };
        let number = |bytes: Vec<u8>| bytes.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte));
        let leaf = number(take(8));
        let length = number(take(8)) as usize;
        let accumulator = take(length);
        let levels = number(take(4));
        let sibling = |_| {
            let node = take(1) == [1];
            let children = node.then(|| take(64).try_into().expect("two hashes"));
            let length = number(take(8)) as usize;
            (children, take(length))
        };
        let siblings: Vec<_> = (0..levels).map(sibling).collect();
        let totals = (0..levels).map(|_| take(32)).collect();
        Raw { leaf, accumulator, siblings, totals }
    }

    fn opening(&self, mode: &Mode) -> Opening {
        let mut out = b"FMOP\x01".to_vec();
        out.extend(self.leaf.to_le_bytes());
        out.extend((self.accumulator.len() as u64).to_le_bytes());
        out.extend(&self.accumulator);
        out.extend((self.siblings.len() as u32).to_le_bytes());
        for (children, accumulator) in &self.siblings {
            out.push(u8::from(children.is_some()));
            out.extend(children.iter().flatten());
            out.extend((accumulator.len() as u64).to_le_bytes());
            out.extend(accumulator);
        }
        self.totals.iter().for_each(|totals| out.extend(totals));
        Opening::decode(&out, &small(), mode).expect("well-formed, though forged")
    }
}

/// An honest-looking accumulator with other figures.
fn other(mode: &Mode, paths: u64) -> Accumulator {
    let values: Vec<i64> = (0..paths as i64).collect();
    Paths::of(&values).leaf(&small(), mode, 0..values.len())
}

#[test]
fn every_leaf_of_every_tree_opens_and_checks() {
    let mut source = Source::new(0x5eed_0030);
    for mode in modes() {
        for count in SIZES {
            let shard = Shard::new(1, 3 * count, count, &mode, &mut source);
            let tree = shard.tree();
            let (root, totals) = shard.root(0, &shard.leaves);
            assert_eq!((tree.root(), tree.totals_digest()), (root, totals.digest()), "{count} leaves");
            assert_eq!(*tree.totals(), totals);
            for (leaf, accumulator) in shard.place.leaves.clone().zip(&shard.leaves) {
                let opening = tree.open(leaf).unwrap();
                assert_eq!(opening.accumulator(), accumulator);
                assert_eq!(opening.check(&shard.place, leaf, &root, &totals.digest()), Ok(()));
                let again = Opening::decode(&opening.encode(), &small(), &mode);
                assert_eq!(again, Ok(opening), "{count} leaves, leaf {leaf}");
            }
            for leaf in [3 * count - 1, 4 * count, u64::MAX] {
                assert_eq!(tree.open(leaf), Err(TreeError::NoLeaf(leaf)));
            }
        }
    }
}

#[test]
fn a_tree_needs_its_leaves() {
    let shard = Shard::new(1, 0, 3, &Mode::Plain, &mut Source::new(0x5eed_0031));
    let build = |leaves, count| {
        let place = Place { leaves, ..shard.place.clone() };
        Tree::build(place, shard.leaves[..count].to_vec()).err()
    };
    assert_eq!(build(0..3, 3), None);
    for (leaves, count) in [(0..3, 2), (0..2, 3), (0..0, 0), (0..u64::MAX, 3)] {
        assert_eq!(build(leaves, count), Some(TreeError::Leaves));
    }
    #[expect(clippy::reversed_empty_ranges, reason = "a hostile range")]
    let reversed = build(3..0, 3);
    assert_eq!(reversed, Some(TreeError::Leaves));
}

#[test]
fn forged_totals_over_honest_leaves_are_found_under_any_leaf() {
    let mut source = Source::new(0x5eed_0032);
    for mode in modes() {
        for count in SIZES {
            let shard = Shard::new(1, count, count, &mode, &mut source);
            let tree = shard.tree();
            let forged = other(&mode, tree.totals().paths);
            for leaf in shard.place.leaves.clone() {
                let opening = tree.open(leaf).unwrap();
                let found = opening.check(&shard.place, leaf, &tree.root(), &forged.digest());
                assert_eq!(found, Err(OpeningError::ForgedTotal { leaf }), "{count} leaves, an honest root");
            }
            if count == 1 {
                let root = shard.leaf_hash(count, &forged);
                let found = tree.open(1).unwrap().check(&shard.place, 1, &root, &forged.digest());
                assert_eq!(found, Err(OpeningError::WrongRoot { leaf: 1 }));
                continue;
            }
            // The attacker commits to a root that does bind the forged totals, and opens accordingly.
            let half = (count as usize).next_power_of_two() / 2;
            let (left, right) = shard.leaves.split_at(half);
            let root = node_hash(&shard.root(0, left).0, &shard.root(half, right).0, &forged);
            for leaf in shard.place.leaves.clone() {
                let opening = tree.open(leaf).unwrap();
                let mut raw = Raw::of(&opening);
                *raw.totals.last_mut().expect("a root above the leaf") = forged.digest().0.to_vec();
                let stated = raw.opening(&mode);
                for totals in [forged.digest(), tree.totals_digest()] {
                    let found = stated.check(&shard.place, leaf, &root, &totals);
                    assert_eq!(found, Err(OpeningError::ForgedTotal { leaf }), "{count} leaves");
                    // Without the statement the opening leads elsewhere, and accuses nobody.
                    let found = opening.check(&shard.place, leaf, &root, &totals);
                    assert_eq!(found, Err(OpeningError::WrongRoot { leaf }), "{count} leaves");
                }
            }
        }
    }
}

#[test]
fn a_total_forged_deep_in_the_tree_is_found_by_every_leaf_beneath_it() {
    let mode = Mode::Plain;
    let shard = Shard::new(1, 0, 4, &mode, &mut Source::new(0x5eed_0033));
    let leaf = |i: usize| shard.leaf_hash(i as u64, &shard.leaves[i]);
    // The left pair's sum is forged, and with it everything above; the leaves are honest.
    let mut left = shard.leaves[1].clone();
    left.merge(&other(&mode, LEAF_PATHS)).unwrap();
    let left_hash = node_hash(&leaf(0), &leaf(1), &left);
    let (right_hash, right) = shard.root(2, &shard.leaves[2..]);
    let mut totals = left.clone();
    totals.merge(&right).unwrap();
    let root = node_hash(&left_hash, &right_hash, &totals);
    let open = |opened: u64| {
        let mut raw = Raw::of(&shard.tree().open(opened).unwrap());
        raw.totals[1] = totals.digest().0.to_vec();
        match opened < 2 {
            true => raw.totals[0] = left.digest().0.to_vec(),
            false => raw.siblings[1].1 = left.encode(),
        }
        raw
    };
    let check = |raw: &Raw| raw.opening(&mode).check(&shard.place, raw.leaf, &root, &totals.digest());
    for leaf in [2, 3] {
        assert_eq!(
            check(&open(leaf)),
            Ok(()),
            "beside the forgery nothing is wrong: the forger names its sum"
        );
    }
    for leaf in [0, 1] {
        assert_eq!(check(&open(leaf)), Err(OpeningError::ForgedTotal { leaf }));
        // To make the sum come out, a leaf has to be forged: then its hash is another.
        let mut forged = open(leaf);
        forged.siblings[0].1 = other(&mode, LEAF_PATHS).encode();
        assert_eq!(check(&forged), Err(OpeningError::WrongRoot { leaf }));
        let mut forged = open(leaf);
        forged.accumulator = other(&mode, LEAF_PATHS).encode();
        assert_eq!(check(&forged), Err(OpeningError::WrongRoot { leaf }));
    }
}

#[test]
fn a_forged_accumulator_anywhere_on_the_path_is_refused() {
    let mut source = Source::new(0x5eed_0034);
    for mode in modes() {
        for count in SIZES {
            let shard = Shard::new(1, 0, count, &mode, &mut source);
            let tree = shard.tree();
            let (root, totals) = (tree.root(), tree.totals_digest());
            for leaf in shard.place.leaves.clone() {
                let raw = Raw::of(&tree.open(leaf).unwrap());
                let check = |raw: &Raw| raw.opening(&mode).check(&shard.place, leaf, &root, &totals);
                assert_eq!(check(&raw), Ok(()));
                let own = tree.open(leaf).unwrap().accumulator().paths;
                let mut forged = raw.clone();
                forged.accumulator = other(&mode, own).encode();
                assert_eq!(check(&forged), Err(OpeningError::WrongRoot { leaf }));
                forged.accumulator = other(&mode, own - 1).encode();
                assert_eq!(check(&forged), Err(OpeningError::Paths { leaf }));
                for level in 0..raw.siblings.len() {
                    let honest = Accumulator::decode(&raw.siblings[level].1, &small(), &mode).unwrap();
                    let mut forged = raw.clone();
                    forged.siblings[level].1 = other(&mode, honest.paths).encode();
                    assert_eq!(check(&forged), Err(OpeningError::WrongRoot { leaf }), "level {level}");
                    forged.siblings[level].1 = other(&mode, honest.paths + 1).encode();
                    assert_eq!(check(&forged), Err(OpeningError::Paths { leaf }), "level {level}");
                    let mut forged = raw.clone();
                    forged.totals[level][below(&mut source, 32) as usize] ^= 4;
                    assert_eq!(check(&forged), Err(OpeningError::WrongRoot { leaf }), "level {level}");
                    let mut forged = raw.clone();
                    forged.siblings[level].0 = match raw.siblings[level].0 {
                        None => Some([1; 64]),
                        Some(mut hashes) => {
                            hashes[below(&mut source, 64) as usize] ^= 1;
                            Some(hashes)
                        }
                    };
                    assert_eq!(check(&forged), Err(OpeningError::WrongRoot { leaf }), "level {level}");
                    forged.siblings[level].0 = raw.siblings[level].0.map_or(Some([1; 64]), |_| None);
                    assert_eq!(check(&forged), Err(OpeningError::WrongRoot { leaf }), "level {level}");
                    let mut shorter = raw.clone();
                    shorter.siblings.remove(level);
                    shorter.totals.remove(level);
                    let expected = raw.siblings.len();
                    let depth = OpeningError::Depth { expected, found: expected - 1 };
                    assert_eq!(check(&shorter), Err(depth));
                    let mut longer = raw.clone();
                    longer.siblings.push(raw.siblings[level].clone());
                    longer.totals.push(raw.totals[level].clone());
                    let depth = OpeningError::Depth { expected, found: expected + 1 };
                    assert_eq!(check(&longer), Err(depth));
                }
            }
        }
    }
}

#[test]
fn leaves_swapped_within_a_shard_or_between_shards_are_refused() {
    let mut source = Source::new(0x5eed_0035);
    for mode in modes() {
        for count in SIZES.into_iter().filter(|count| *count > 2) {
            let shard = Shard::new(1, 2 * count, count, &mode, &mut source);
            let tree = shard.tree();
            // Not the last one: it has a path less, which would give it away.
            let any = |source: &mut Source| below(source, count - 1) as usize;
            let (a, b) = (any(&mut source), any(&mut source));
            let (a, b) = if a == b { (0, count as usize - 2) } else { (a, b) };
            let mut leaves = shard.leaves.clone();
            leaves.swap(a, b);
            let swapped = Tree::build(shard.place.clone(), leaves).unwrap();
            assert_eq!(swapped.totals_digest(), tree.totals_digest(), "the sums cannot tell");
            assert_ne!(swapped.root(), tree.root(), "the root can");
            for leaf in shard.place.leaves.clone() {
                let opening = swapped.open(leaf).unwrap();
                let found = opening.check(&shard.place, leaf, &tree.root(), &tree.totals_digest());
                assert_eq!(found, Err(OpeningError::WrongRoot { leaf }), "{count} leaves, {a} and {b}");
            }
            // A leaf of another shard in the place of this one's.
            let mut leaves = shard.leaves.clone();
            leaves[a] = Shard::new(2, 0, 2, &mode, &mut source).leaves[0].clone();
            let foreign = Tree::build(shard.place.clone(), leaves).unwrap();
            for leaf in shard.place.leaves.clone() {
                let opening = foreign.open(leaf).unwrap();
                let found = opening.check(&shard.place, leaf, &tree.root(), &tree.totals_digest());
                assert_eq!(found, Err(OpeningError::WrongRoot { leaf }), "{count} leaves");
            }
        }
    }
}

#[test]
fn an_opening_of_another_leaf_shard_or_stage_is_refused() {
    let mut source = Source::new(0x5eed_0036);
    let mode = Mode::Plain;
    let shard = Shard::new(1, 8, 4, &mode, &mut source);
    let tree = shard.tree();
    let (root, totals) = (tree.root(), tree.totals_digest());
    let opening = tree.open(9).unwrap();
    let check = |place: &Place, leaf| opening.check(place, leaf, &root, &totals);
    assert_eq!(check(&shard.place, 9), Ok(()));
    assert_eq!(check(&shard.place, 10), Err(OpeningError::WrongLeaf { asked: 10, found: 9 }));
    // The task's hash binds contract, stage, shard and input.
    let stage = Place { task: Hash([2; 32]), ..shard.place.clone() };
    assert_eq!(check(&stage, 9), Err(OpeningError::WrongRoot { leaf: 9 }));
    let elsewhere = Place { leaves: 12..16, ..shard.place.clone() };
    assert_eq!(check(&elsewhere, 9), Err(OpeningError::WrongLeaf { asked: 9, found: 9 }));
    let wider = Place { leaves: 8..17, ..shard.place.clone() };
    assert_eq!(check(&wider, 9), Err(OpeningError::Depth { expected: 4, found: 2 }));
    let moved = Place { leaves: 7..11, ..shard.place.clone() };
    assert!(check(&moved, 9).is_err());
    let longer = Place { leaf_paths: LEAF_PATHS + 1, ..shard.place.clone() };
    assert_eq!(check(&longer, 9), Err(OpeningError::Paths { leaf: 9 }));
    // The same leaf number, moved in the bytes.
    let mut raw = Raw::of(&opening);
    for (leaf, error) in [(8, OpeningError::WrongRoot { leaf: 8 }), (10, OpeningError::Paths { leaf: 10 })] {
        raw.leaf = leaf;
        let found = raw.opening(&mode).check(&shard.place, leaf, &root, &totals);
        assert_eq!(found, Err(error), "the short last leaf has to be leaf 10's sibling");
    }
    // Another stage's mode: neither decoded nor merged.
    let [plain, pilot, _] = modes();
    assert!(Opening::decode(&opening.encode(), &small(), &pilot).is_err());
    let kept = Shard::new(1, 8, 4, &pilot, &mut source).tree().open(9).unwrap();
    assert!(Opening::decode(&kept.encode(), &small(), &plain).is_err());
}
