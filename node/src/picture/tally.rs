//! The distribution behind a picture: bins cleaned, scaled and put in order; quantiles, shares and the exceedance curve.
//!
//! Between two values at which the share is known (the ends of a bin, and the percentiles in it) outcomes are taken as evenly spread. It must never draw anything.

use super::known::{self, Known};
use super::number::Scale;
use super::{Bin, Picture, marks};

/// Largest magnitude drawn, so that sums and differences of two values stay finite. Bins beyond it are left out, which the picture tells.
pub(super) const LARGEST: f64 = 1e300;
/// What is smaller is drawn as zero, so that every scale is a finite number.
const SMALLEST: f64 = 1e-300;
/// Most single values that are told apart.
const MAX_ATOMS: usize = 4;

/// A stretch of the value axis with a share of all outcomes; `lo == hi` is an atom.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Piece {
    pub lo: f64,
    pub hi: f64,
    pub share: f64,
}

/// The whole distribution in scaled units; `pieces` ascend and do not overlap.
#[derive(Debug)]
pub(super) struct Tally {
    pub pieces: Vec<Piece>,
    /// Few bins of one value that stand out (at least 0.1 % each): a zero year, a cap. A sample of many repeated values has none.
    pub atoms: Vec<Piece>,
    /// `above[i]`: share of outcomes in piece i and all later ones, summed from the top so that the tail keeps its digits.
    above: Vec<f64>,
    pub counted: u128,
    pub scale: Scale,
}

impl Tally {
    /// The bins of a picture, cut at the percentiles that are known. None when no usable bin holds an outcome.
    pub fn of(picture: &Picture) -> Option<Self> {
        let mut tally = Self::new(picture.bins)?;
        // Percentiles of other outcomes than the bins' tell nothing of the bins.
        if tally.counted == u128::from(picture.count) {
            let known = marks::percentiles(picture).map(|(level, value)| Known {
                value: tally.scaled(value),
                rank: known::rank(level, tally.counted) as f64,
            });
            tally.pieces = known::cut(&tally.pieces, known.collect(), tally.counted as f64);
            tally.above = sums_from_top(&tally.pieces);
        }
        Some(tally)
    }

    /// None when no usable bin holds an outcome.
    pub fn new(bins: &[Bin]) -> Option<Self> {
        let usable: Vec<&Bin> =
            bins.iter().filter(|b| b.count > 0 && b.lower <= b.upper && drawable(b)).collect();
        let counted: u128 = usable.iter().map(|b| u128::from(b.count)).sum();
        if counted == 0 {
            return None;
        }
        let pieces = arrange(&usable, counted as f64);
        let mut tally = Self {
            above: sums_from_top(&pieces),
            pieces,
            atoms: Vec::new(),
            counted,
            scale: Scale { exponent: 0 },
        };
        let (low, high) = (tally.quantile(0.001).abs(), tally.quantile(0.99).abs());
        tally.scale = Scale::for_magnitude(if low > high { low } else { high });
        for piece in &mut tally.pieces {
            piece.lo = bounded(tally.scale.apply(piece.lo));
            piece.hi = bounded(tally.scale.apply(piece.hi));
        }
        let single = tally.pieces.iter().filter(|p| p.lo == p.hi && p.share >= 0.001);
        tally.atoms = single.copied().collect();
        if tally.atoms.len() > MAX_ATOMS {
            tally.atoms.clear();
        }
        Some(tally)
    }

    /// A value of the input in the units of `pieces`.
    pub fn scaled(&self, value: f64) -> f64 {
        bounded(self.scale.apply(bounded(value)))
    }

    /// The smallest value that at least the share `p` of outcomes does not exceed.
    pub fn quantile(&self, p: f64) -> f64 {
        self.exceeded_by(1.0 - p)
    }

    /// The value that the share `p` of outcomes exceeds.
    pub fn exceeded_by(&self, p: f64) -> f64 {
        for (i, piece) in self.pieces.iter().enumerate() {
            let after = self.above_piece(i);
            if after <= p {
                let inside = ((self.above[i] - p) / piece.share).clamp(0.0, 1.0);
                return piece.lo + (piece.hi - piece.lo) * inside;
            }
        }
        self.last()
    }

    /// The share of outcomes that exceed `x`.
    pub fn share_above(&self, x: f64) -> f64 {
        let i = self.pieces.partition_point(|piece| piece.hi <= x);
        match self.pieces.get(i) {
            Some(piece) if piece.lo < x => {
                self.above_piece(i) + piece.share * ((piece.hi - x) / (piece.hi - piece.lo))
            }
            Some(_) => self.above[i],
            None => 0.0,
        }
    }

    /// The share of outcomes below `x`.
    pub fn share_below(&self, x: f64) -> f64 {
        let i = self.pieces.partition_point(|piece| piece.hi < x);
        let whole: f64 = self.pieces[..i].iter().map(|piece| piece.share).sum();
        match self.pieces.get(i) {
            Some(piece) if piece.lo < x => whole + piece.share * ((x - piece.lo) / (piece.hi - piece.lo)),
            _ => whole,
        }
    }

    pub fn first(&self) -> f64 {
        self.pieces.first().map_or(0.0, |piece| piece.lo)
    }

    pub fn last(&self) -> f64 {
        self.pieces.last().map_or(0.0, |piece| piece.hi)
    }

    /// Corners of the exceedance curve: values ascend, shares descend from 1 to 0. Long stretches that lose much of the share get points in between, because a
    /// straight line is curved on a logarithmic axis.
    pub fn curve(&self) -> Vec<(f64, f64)> {
        let mut points = Vec::with_capacity(2 * self.pieces.len());
        for (i, piece) in self.pieces.iter().enumerate() {
            let (start, end) = (self.above[i], self.above_piece(i));
            let steps = if start > 1.25 * end && piece.lo < piece.hi { 16 } else { 1 };
            for k in 0..steps {
                let t = f64::from(k) / f64::from(steps);
                points.push((piece.lo + (piece.hi - piece.lo) * t, end + piece.share * (1.0 - t)));
            }
            if start > 16.0 * end && piece.lo < piece.hi {
                // Most of the share goes in the last sixteenth: halve the way to its end, down to a millionth.
                let mut rest = 1.0 / 32.0;
                for _ in 0..16 {
                    points.push((piece.hi - (piece.hi - piece.lo) * rest, end + piece.share * rest));
                    rest /= 2.0;
                }
            }
            points.push((piece.hi, end));
        }
        points
    }

    fn above_piece(&self, i: usize) -> f64 {
        self.above.get(i + 1).copied().unwrap_or(0.0)
    }
}

/// A window at least so wide that neighbouring pixels stay different numbers and labels stay short.
pub(super) fn widened(lo: f64, hi: f64) -> (f64, f64) {
    let largest = if lo.abs() > hi.abs() { lo.abs() } else { hi.abs() };
    if largest == 0.0 {
        return (-1.0, 1.0);
    }
    if hi - lo >= largest * 1e-5 {
        return (lo, hi);
    }
    // Everything sits at one place: show it in the middle of a readable stretch.
    let half = if hi > lo { largest * 1e-5 } else { largest * 0.1 };
    (lo - half, hi + half)
}

fn drawable(bin: &Bin) -> bool {
    bin.lower.abs() <= LARGEST && bin.upper.abs() <= LARGEST
}

fn bounded(value: f64) -> f64 {
    if value.abs() < SMALLEST { 0.0 } else { value.clamp(-LARGEST, LARGEST) }
}

fn sums_from_top(pieces: &[Piece]) -> Vec<f64> {
    let mut above = vec![0.0; pieces.len()];
    let mut sum = 0.0;
    for (i, piece) in pieces.iter().enumerate().rev() {
        sum += piece.share;
        above[i] = sum;
    }
    above
}

/// Orders the bins, parts those that an atom lies in, and trims overlaps.
fn arrange(bins: &[&Bin], total: f64) -> Vec<Piece> {
    let whole =
        |b: &&Bin| Piece { lo: bounded(b.lower), hi: bounded(b.upper), share: b.count as f64 / total };
    let (mut atoms, mut wide): (Vec<Piece>, Vec<Piece>) = bins.iter().map(whole).partition(|p| p.lo == p.hi);
    atoms.sort_by(|a, b| a.lo.total_cmp(&b.lo));
    wide.sort_by(|a, b| a.lo.total_cmp(&b.lo).then(a.hi.total_cmp(&b.hi)));
    let mut pieces = Vec::with_capacity(atoms.len() + wide.len());
    let mut waiting = atoms.into_iter().peekable();
    let mut end = -LARGEST;
    for mut piece in wide {
        if piece.lo < end {
            piece.lo = end;
        }
        if piece.hi < piece.lo {
            piece.hi = piece.lo;
        }
        end = piece.hi;
        while let Some(atom) = waiting.next_if(|atom| atom.lo < piece.hi) {
            if atom.lo > piece.lo {
                let share = piece.share * ((atom.lo - piece.lo) / (piece.hi - piece.lo));
                pieces.push(Piece { lo: piece.lo, hi: atom.lo, share });
                piece = Piece { lo: atom.lo, share: piece.share - share, ..piece };
            }
            push_atom(&mut pieces, atom);
        }
        pieces.push(piece);
    }
    for atom in waiting {
        push_atom(&mut pieces, atom);
    }
    pieces.retain(|piece| piece.share > 0.0);
    pieces
}

fn push_atom(pieces: &mut Vec<Piece>, atom: Piece) {
    match pieces.last_mut() {
        Some(last) if last.lo == atom.lo && last.hi == atom.lo => last.share += atom.share,
        _ => pieces.push(atom),
    }
}
