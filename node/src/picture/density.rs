//! The left panel: shares of outcomes in bars of equal width, atoms as bars of their own, the tail in colour.
//!
//! It must never change what a bin holds: bins are split in proportion to their overlap with a bar.

use super::canvas::{self, Align, Canvas};
use super::marks::{self, MarkLine};
use super::tally::{Piece, Tally, widened};
use super::{ATOM, AXIS, BODY, Frame, GRID, MUTED, PLOT_BOTTOM, number};

/// Most bars between the ends of the window.
const MAX_BARS: f64 = 110.0;
const ATOM_WIDTH: f64 = 6.0;
const LABEL_SIZE: f64 = 11.0;
/// Least room between two labels of an axis.
const LABEL_GAP: f64 = 8.0;

/// The window of values on show and the bars in it, in scaled units.
#[derive(Debug)]
pub(super) struct Density {
    pub lo: f64,
    pub hi: f64,
    bar_width: f64,
    /// Left end and share of each bar that is not empty.
    bars: Vec<(f64, f64)>,
    atoms: Vec<Piece>,
    /// Share at the top of the panel.
    ceiling: f64,
}

impl Density {
    pub fn new(tally: &Tally) -> Self {
        let (lo, hi) = window(tally);
        let atoms = tally.atoms();
        let bar_width = bar_width(tally, lo, hi);
        let bars = bars(tally, &atoms, (lo, hi), bar_width);
        let highest = largest(bars.iter().map(|bar| bar.1));
        let highest_atom = largest(atoms.iter().map(|atom| atom.share));
        let ceiling = if highest_atom <= 1.8 * highest || highest == 0.0 {
            // Room above the bars for the labels of atoms.
            let room = if atoms.is_empty() { 1.08 } else { 1.2 };
            room * if highest > highest_atom { highest } else { highest_atom }
        } else {
            // An atom would press everything else flat: it is cut at the top and tells its share.
            1.35 * highest
        };
        Self { lo, hi, bar_width, bars, atoms, ceiling }
    }

    pub fn draw(&self, canvas: &mut Canvas, frame: &Frame, lines: &[MarkLine]) {
        let (ticks, decimals) = number::ticks(0.0, (self.ceiling * 100.0).clamp(0.0, 100.0), 6.0);
        for tick in ticks {
            let y = self.y(frame, tick / 100.0);
            canvas.line((frame.left, y), (frame.right, y), GRID, 1.0, "");
            let label = format!("{} %", number::grouped(tick, decimals));
            canvas.text(frame.left - 8.0, y + 4.0, 11.0, MUTED, Align::Right, &label);
        }
        let zones = marks::tail(lines);
        for (start, share) in &self.bars {
            self.bar(canvas, frame, *start, *share, &zones);
        }
        for atom in self.atoms.iter().filter(|atom| self.shows(atom.lo)) {
            self.atom_bar(canvas, frame, atom);
        }
        frame.value_axis(canvas, (self.lo, self.hi));
        let note = if self.bars.is_empty() {
            // Single values alone: their bars have no width.
            "% of outcomes".to_owned()
        } else {
            format!("% of outcomes per bar, each {} wide", number::plain(self.bar_width))
        };
        canvas.text(frame.left + 96.0, super::PANEL_TITLE_Y, 11.0, MUTED, Align::Left, &note);
    }

    /// Texts that belong on top of everything: what the atoms hold and what lies outside the window.
    pub fn annotate(&self, canvas: &mut Canvas, frame: &Frame, tally: &Tally) {
        for (i, atom) in self.atoms.iter().enumerate() {
            let text = format!("{} at {}", number::percent(atom.share), marks::value_text(atom.lo, tally));
            let y = frame.top + 12.0 + 14.0 * i as f64;
            let x = frame.x(atom.lo, (self.lo, self.hi));
            if !self.shows(atom.lo) {
                continue;
            }
            let level = self.y(frame, atom.share);
            if level > y {
                canvas.line((x, level), (x, y - 8.0), ATOM, 1.0, "2 2");
            }
            if x > (frame.left + frame.right) / 2.0 {
                canvas.text(x - 6.0, y, 11.0, ATOM, Align::Right, &text);
            } else {
                canvas.text(x + 7.0, y, 11.0, ATOM, Align::Left, &text);
            }
        }
        let beyond = tally.share_above(self.hi);
        if beyond > 0.0 {
            let text = format!("{} beyond →", number::percent(beyond));
            canvas.text(frame.right - 4.0, PLOT_BOTTOM - 22.0, 11.0, MUTED, Align::Right, &text);
        }
        let below = tally.share_below(self.lo);
        if below > 0.0 {
            let text = format!("← {} below", number::percent(below));
            canvas.text(frame.left + 4.0, PLOT_BOTTOM - 22.0, 11.0, MUTED, Align::Left, &text);
        }
    }

    fn shows(&self, value: f64) -> bool {
        value >= self.lo && value <= self.hi
    }

    fn y(&self, frame: &Frame, share: f64) -> f64 {
        PLOT_BOTTOM - (PLOT_BOTTOM - frame.top) * (share / self.ceiling)
    }

    /// One bar, parted where a zone of the tail begins.
    fn bar(&self, canvas: &mut Canvas, frame: &Frame, start: f64, share: f64, zones: &[(f64, &str, &str)]) {
        let end = start + self.bar_width;
        let y = self.y(frame, share);
        let mut cuts = vec![(start, BODY)];
        for (value, colour, _) in zones {
            if *value <= start {
                cuts = vec![(start, colour)];
            } else if *value < end {
                cuts.push((*value, colour));
            }
        }
        for (i, (from, colour)) in cuts.iter().enumerate() {
            let to = cuts.get(i + 1).map_or(end, |next| next.0);
            let left = frame.x(*from, (self.lo, self.hi)).clamp(frame.left, frame.right);
            let right = frame.x(to, (self.lo, self.hi)).clamp(frame.left, frame.right);
            // A hair of white between bars, none where a bar only changes its colour.
            let gap = if i + 1 == cuts.len() && right - left > 1.5 { 0.6 } else { 0.0 };
            if right - gap > left {
                canvas.rect(left, y, right - left - gap, PLOT_BOTTOM - y, colour);
            }
        }
    }

    fn atom_bar(&self, canvas: &mut Canvas, frame: &Frame, atom: &Piece) {
        let x = frame.x(atom.lo, (self.lo, self.hi)) - ATOM_WIDTH / 2.0;
        let full = self.y(frame, atom.share);
        let y = if full < frame.top { frame.top } else { full };
        canvas.rect(x, y, ATOM_WIDTH, PLOT_BOTTOM - y, ATOM);
        if full < frame.top {
            // Two white strokes: the bar goes on beyond the panel.
            for offset in [26.0, 31.0] {
                let (left, right) = ((x - 3.0, y + offset + 3.0), (x + ATOM_WIDTH + 3.0, y + offset - 3.0));
                canvas.line(left, right, "#ffffff", 2.0, "");
            }
        }
    }
}

fn largest(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, |a, b| if b > a { b } else { a })
}

/// The values on show: everything when the extremes are near, else up to a quantile that leaves the body readable.
fn window(tally: &Tally) -> (f64, f64) {
    let (low, high) = (tally.quantile(0.01), tally.quantile(0.99));
    let body = high - low;
    let near = |candidates: [f64; 4], edge: f64, reach: f64| {
        candidates.into_iter().find(|c| (c - edge).abs() <= reach * body).unwrap_or(edge)
    };
    let hi =
        near([tally.last(), tally.quantile(0.9999), tally.quantile(0.999), tally.quantile(0.995)], high, 0.7);
    let lo = near(
        [tally.first(), tally.quantile(0.0001), tally.quantile(0.001), tally.quantile(0.005)],
        low,
        0.35,
    );
    let (lo, hi) = widened(lo, hi);
    let span = hi - lo;
    (lo - 0.02 * span, hi + 0.03 * span)
}

/// A round width that gives at most [`MAX_BARS`] bars, none narrower than the bin around the median.
fn bar_width(tally: &Tally, lo: f64, hi: f64) -> f64 {
    let span = hi - lo;
    let median = tally.quantile(0.5);
    let bin = tally.pieces.iter().find(|p| p.hi >= median && p.lo < p.hi).map_or(0.0, |p| p.hi - p.lo);
    let finest = span / MAX_BARS;
    let coarsest = span / 20.0;
    let width = if bin > coarsest { coarsest } else { bin };
    number::round_up(
        if width > finest { width } else { finest },
        &[1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0],
    )
}

fn bars(tally: &Tally, atoms: &[Piece], (lo, hi): (f64, f64), width: f64) -> Vec<(f64, f64)> {
    let first = (lo / width).floor();
    let count = ((hi / width).ceil() - first).clamp(1.0, 2.0 * MAX_BARS) as usize;
    let start = |i: usize| (first + i as f64) * width;
    let mut shares = vec![0.0; count];
    for piece in tally.pieces.iter().filter(|p| !atoms.contains(p) && p.hi >= lo && p.lo <= hi) {
        // A saturating cast: what starts left of the window begins in its first bar.
        let from = ((piece.lo / width).floor() - first).clamp(0.0, count as f64 - 1.0) as usize;
        for (i, share) in shares.iter_mut().enumerate().skip(from) {
            if piece.lo == piece.hi {
                *share += piece.share;
                break;
            }
            let left = if piece.lo > start(i) { piece.lo } else { start(i) };
            let right = if piece.hi < start(i + 1) { piece.hi } else { start(i + 1) };
            if right > left {
                *share += piece.share * ((right - left) / (piece.hi - piece.lo));
            }
            if piece.hi <= start(i + 1) {
                break;
            }
        }
    }
    shares
        .into_iter()
        .enumerate()
        .filter(|(_, share)| *share > 0.0)
        .map(|(i, share)| (start(i), share))
        .collect()
}

/// The frame's horizontal scale, shared by both panels.
impl Frame {
    pub(super) fn x(&self, value: f64, (lo, hi): (f64, f64)) -> f64 {
        self.left + (self.right - self.left) * ((value - lo) / (hi - lo))
    }

    /// The base line with round values below it.
    pub(super) fn value_axis(&self, canvas: &mut Canvas, window: (f64, f64)) {
        canvas.line((self.left, PLOT_BOTTOM), (self.right, PLOT_BOTTOM), AXIS, 1.2, "");
        for (tick, label) in self.labels(window) {
            let x = self.x(tick, window);
            canvas.line((x, PLOT_BOTTOM), (x, PLOT_BOTTOM + 5.0), AXIS, 1.2, "");
            canvas.text(x, PLOT_BOTTOM + 18.0, LABEL_SIZE, MUTED, Align::Middle, &label);
        }
    }

    /// Round values with their texts: as many as stand apart from one another.
    pub(super) fn labels(&self, window: (f64, f64)) -> Vec<(f64, String)> {
        let of = |wanted: u8| -> Vec<(f64, String)> {
            let (ticks, decimals) = number::ticks(window.0, window.1, f64::from(wanted));
            ticks.into_iter().map(|tick| (tick, number::grouped(tick, decimals))).collect()
        };
        let apart = |labels: &Vec<(f64, String)>| {
            let half = |text: &str| canvas::width(text, LABEL_SIZE) / 2.0;
            labels.windows(2).all(|pair| {
                let gap = self.x(pair[1].0, window) - self.x(pair[0].0, window);
                gap >= half(&pair[0].1) + half(&pair[1].1) + LABEL_GAP
            })
        };
        (2..=7).rev().map(of).find(apart).unwrap_or_else(|| of(1))
    }
}
