//! What percentiles tell of the outcomes within a bin: each is an outcome whose rank is known, so a bin is cut there.
//!
//! It must never move an outcome from one bin to another: a percentile that contradicts the bins is left out.

use super::tally::Piece;

/// An outcome whose rank is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Known {
    pub value: f64,
    /// How many outcomes are not above it, itself and those before it in order.
    pub rank: f64,
}

/// The rank of a percentile in 0..100 among `count` outcomes, as order statistics have it: ⌈level·count/100⌉. Levels are multiples of a billionth.
pub(super) fn rank(level: f64, count: u128) -> u128 {
    let billionths = (level * 1e7).round() as u128;
    billionths.saturating_mul(count).div_ceil(1_000_000_000).clamp(1, if count > 1 { count } else { 1 })
}

/// Cuts pieces at the values of `known`, so that the share on either side is exact. Equal values make an atom of the outcomes between their ranks.
pub(super) fn cut(pieces: &[Piece], mut known: Vec<Known>, total: f64) -> Vec<Piece> {
    known.sort_by(|a, b| a.value.total_cmp(&b.value).then(a.rank.total_cmp(&b.rank)));
    let mut known = known.into_iter().peekable();
    let mut parts = Vec::with_capacity(pieces.len());
    let mut before = 0.0;
    for piece in pieces {
        let count = piece.share * total;
        while known.next_if(|point| point.value <= piece.lo).is_some() {}
        let (mut lo, mut taken) = (piece.lo, 0.0);
        while let Some(point) = known.next_if(|point| point.value < piece.hi) {
            // Half an outcome is less than any difference of ranks and more than any error of rounding.
            let inside = point.rank - before;
            if inside < taken + 0.5 || inside > count + 0.5 {
                continue;
            }
            let upto = if inside > count - 0.5 { count } else { inside };
            parts.push(Piece { lo, hi: point.value, share: (upto - taken) / total });
            (lo, taken) = (point.value, upto);
        }
        if taken == 0.0 {
            parts.push(*piece);
        } else if taken < count {
            parts.push(Piece { lo, hi: piece.hi, share: (count - taken) / total });
        }
        before += count;
    }
    parts
}
