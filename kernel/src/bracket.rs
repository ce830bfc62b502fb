//! Where the order statistics of the paths to come are expected: one interval for each level, from the pilot.

use crate::accumulator::{Accumulator, Shape};
use crate::codec::{DecodeError, Reader, Writer};
use crate::order::{Order, rank};

/// Parts per billion: the unit of levels.
pub const BILLION: u64 = 1_000_000_000;
/// Half the width of a bracket, in standard deviations of the rank.
const SIGMAS: u64 = 8;

/// Both ends included; unbounded where an end is the type's extreme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bracket {
    pub lo: i64,
    pub hi: i64,
}

impl Bracket {
    /// No bound at all.
    pub const ALL: Bracket = Bracket { lo: i64::MIN, hi: i64::MAX };
}

/// For each column, for each of its levels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brackets(pub Vec<Vec<Bracket>>);

const MAGIC: &[u8; 4] = b"FMBR";

impl Brackets {
    /// From the values a pilot kept. With n0 values and p = ppb/10⁹ the rank has σ = ⌊√⌊n0·p·(1−p)⌋⌋ + 1; the bracket
    /// reaches from rank k − 8σ − 1 to k + 8σ + 1, without bound where there is no such rank.
    pub fn from_pilot(pilot: &Accumulator, shape: &Shape) -> Brackets {
        let column = |(column, shape): (&crate::column::Column, &crate::accumulator::ColumnShape)| {
            let values: &[i64] = match &column.order {
                Order::Pilot(values) => values,
                Order::None | Order::Bracketed(_) => &[],
            };
            shape.levels.iter().map(|&ppb| bracket(values, ppb)).collect()
        };
        Brackets(pilot.columns.iter().zip(&shape.columns).map(column).collect())
    }

    /// `FMBR`, version, columns (u32); each: levels (u32); each: lo, hi (i64).
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::open(MAGIC);
        out.count(self.0.len());
        for column in &self.0 {
            out.count(column.len());
            for bracket in column {
                out.i64(bracket.lo);
                out.i64(bracket.hi);
            }
        }
        out.finish()
    }

    /// Reads what `encode` writes, for a job of this shape.
    pub fn decode(bytes: &[u8], shape: &Shape) -> Result<Brackets, DecodeError> {
        let mut input = Reader::open(bytes, MAGIC, "brackets")?;
        if input.count(4, "bracket columns")? != shape.columns.len() {
            return Err(DecodeError::Shape("number of bracket columns"));
        }
        let mut columns = Vec::new();
        for column in &shape.columns {
            if input.count(16, "brackets")? != column.levels.len() {
                return Err(DecodeError::Shape("number of brackets"));
            }
            let mut brackets = Vec::new();
            for _ in &column.levels {
                let bracket = Bracket { lo: input.i64("a bracket")?, hi: input.i64("a bracket")? };
                if bracket.lo > bracket.hi {
                    return Err(DecodeError::Inconsistent("a bracket ends before it begins"));
                }
                brackets.push(bracket);
            }
            columns.push(brackets);
        }
        input.close()?;
        Ok(Brackets(columns))
    }
}

fn bracket(values: &[i64], ppb: u64) -> Bracket {
    let n = values.len() as u64;
    if n == 0 {
        return Bracket::ALL;
    }
    let variance = u128::from(n) * u128::from(ppb) * u128::from(BILLION - ppb) / u128::from(BILLION).pow(2);
    let reach = SIGMAS * (variance.isqrt() as u64 + 1) + 1;
    let centre = rank(ppb, n);
    let at = |rank: u64| values[(rank - 1) as usize];
    Bracket {
        lo: centre.checked_sub(reach).filter(|&rank| rank >= 1).map_or(i64::MIN, at),
        hi: Some(centre + reach).filter(|&rank| rank <= n).map_or(i64::MAX, at),
    }
}
