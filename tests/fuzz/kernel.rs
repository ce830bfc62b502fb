//! Accumulators, openings and brackets: the kernel's own layouts, which travel as blobs.

use std::sync::Arc;

use forgemesh_kernel::accumulator::{Accumulator, ColumnShape, LeafAccumulator, Mode, Shape};
use forgemesh_kernel::block::{BLOCK, Block};
use forgemesh_kernel::bracket::{Bracket, Brackets};
use forgemesh_kernel::scale::Scale;
use forgemesh_kernel::tree::{Opening, Place, Tree};
use forgemesh_protocol::hash::Hash;

use crate::damage::Form;
use crate::trial::{Examples, try_all};

fn shape() -> Shape {
    let scale = Scale::for_magnitude((1_u64 << 40) as f64).expect("a magnitude");
    let column = ColumnShape { scale, histogram: true, levels: vec![500_000_000, 900_000_000] };
    Shape { columns: vec![column; 2], tallies: 1 }
}

fn brackets() -> Brackets {
    Brackets(vec![vec![Bracket { lo: -300, hi: 600 }, Bracket { lo: 700, hi: 700 }]; 2])
}

fn modes() -> [(Mode, [&'static str; 2]); 3] {
    [
        (Mode::Plain, ["accumulators", "openings"]),
        (Mode::Pilot, ["pilot_accumulators", "pilot_openings"]),
        (Mode::Bracketed(Arc::new(brackets())), ["bracketed_accumulators", "bracketed_openings"]),
    ]
}

/// So many blocks of paths from that number on.
fn leaf(mode: &Mode, first: usize, blocks: usize) -> Accumulator {
    let mut leaf = LeafAccumulator::new(&shape(), mode);
    for at in (first..).step_by(BLOCK).take(blocks) {
        let column = |sign: f64| std::array::from_fn(|i| sign * ((at + i) * 37 % 1_501) as f64 - 100.0);
        let columns = vec![column(1.0), column(-1.0)];
        leaf.push(at as u64, BLOCK, &Block { columns, degenerate: [false; BLOCK], tallies: vec![3] });
    }
    leaf.finish()
}

#[test]
fn accumulators_of_shards() {
    for (mode, [name, _]) in modes() {
        let valid = [0, 1, 20].map(|blocks| leaf(&mode, 5, blocks).encode()).to_vec();
        let examples = Examples { name, form: Form::Bytes, valid };
        let decode = |bytes: &[u8]| Accumulator::decode(bytes, &shape(), &mode);
        try_all(&examples, decode, |accumulator| Some(accumulator.encode()));
    }
}

#[test]
fn openings_of_leaves() {
    for (mode, [_, name]) in modes() {
        let place = Place { task: Hash([7; 32]), leaves: 0..5, leaf_paths: 64, paths: 320 };
        let leaves = (0..5).map(|at| leaf(&mode, at * BLOCK, 1)).collect();
        let tree = Tree::build(place, leaves).expect("a tree");
        let valid = [0, 4].map(|leaf| tree.open(leaf).expect("an opening").encode()).to_vec();
        let examples = Examples { name, form: Form::Bytes, valid };
        let decode = |bytes: &[u8]| Opening::decode(bytes, &shape(), &mode);
        try_all(&examples, decode, |opening| Some(opening.encode()));
    }
}

#[test]
fn brackets_of_a_stage() {
    let examples = Examples { name: "brackets", form: Form::Bytes, valid: vec![brackets().encode()] };
    try_all(&examples, |bytes| Brackets::decode(bytes, &shape()), |brackets| Some(brackets.encode()));
}
