//! The marked values: the mean, percentiles and atoms, with their labels and the zones of the tail.
//!
//! It must never place anything on the page.

use super::canvas;
use super::tally::{LARGEST, Tally};
use super::{ATOM, INK, MUTED, Picture, TAIL, number};

/// Most marks drawn, the mean not counted: as many levels as an operation can have.
const MAX_MARKS: usize = 32;
/// Size of the labels.
pub(super) const FONT: f64 = 11.0;

/// One marked value, in scaled units.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct MarkLine {
    pub label: String,
    pub value: f64,
    /// Percentile in 0..100 that the label tells; none for the mean.
    pub level: Option<f64>,
    pub colour: &'static str,
    pub dash: &'static str,
    /// Colour of the label.
    pub ink: &'static str,
}

impl MarkLine {
    /// Whether it belongs to the tail: the 95th percentile or one beyond.
    pub fn in_tail(&self) -> bool {
        self.level.is_some_and(|level| level >= 95.0)
    }

    /// The label with the value.
    pub fn full(&self, tally: &Tally) -> String {
        format!("{} {}", self.label, value_text(self.value, tally))
    }
}

/// A value with as many decimals as its magnitude in this picture deserves: about four digits.
pub(super) fn value_text(value: f64, tally: &Tally) -> String {
    let (low, high) = (tally.quantile(0.01).abs(), tally.quantile(0.99).abs());
    let largest = if low > high { low } else { high };
    let decimals = if largest == 0.0 { 0 } else { (3 - number::decade(largest)).clamp(0, 8) as usize };
    number::grouped(value, decimals)
}

/// All lines in ascending order: the mean and every mark whose value can be drawn.
pub(super) fn lines(picture: &Picture, tally: &Tally) -> Vec<MarkLine> {
    let mut lines = Vec::new();
    if picture.mean.abs() <= LARGEST {
        let value = tally.scaled(picture.mean);
        let label = "mean".to_owned();
        lines.push(MarkLine { label, value, level: None, colour: INK, dash: "5 3", ink: INK });
    }
    for mark in picture.marks.iter().filter(|mark| mark.value.abs() <= LARGEST).take(MAX_MARKS) {
        let label = canvas::fit(&mark.label, FONT, 90.0);
        let level = level(&mark.label);
        let value = tally.scaled(mark.value);
        lines.push(MarkLine { label, value, level, colour: MUTED, dash: "", ink: INK });
    }
    lines.sort_by(|a, b| a.value.total_cmp(&b.value));
    lines
}

/// The lines of the left panel: the others, and the shares of the atoms.
pub(super) fn with_atoms(lines: &[MarkLine], tally: &Tally) -> Vec<MarkLine> {
    let mut all = lines.to_vec();
    for atom in &tally.atoms {
        let label = format!("{} at", number::percent(atom.share));
        all.push(MarkLine { label, value: atom.lo, level: None, colour: ATOM, dash: "2 2", ink: ATOM });
    }
    all.sort_by(|a, b| a.value.total_cmp(&b.value));
    all
}

/// Levels in 0..100 and values of all percentiles that a picture tells, marked or not.
pub(super) fn percentiles(picture: &Picture) -> impl Iterator<Item = (f64, f64)> {
    let all = picture.marks.iter().chain(picture.unmarked).filter(|mark| mark.value.abs() <= LARGEST);
    all.filter_map(|mark| Some((level(&mark.label)?, mark.value)))
}

/// The percentile that a label such as `p95` or `p99.5` names.
fn level(label: &str) -> Option<f64> {
    let level: f64 = label.strip_prefix('p')?.parse().ok()?;
    (level > 0.0 && level < 100.0).then_some(level)
}

/// Where the shaded zones of the tail begin, with their colours and labels: the two lowest levels from 95 on.
pub(super) fn tail(lines: &[MarkLine]) -> Vec<(f64, &'static str, &str)> {
    let starts = lines.iter().filter(|line| line.in_tail()).zip(TAIL);
    starts.map(|(line, colour)| (line.value, colour, line.label.as_str())).collect()
}
