//! The left panel: a density, bars whose areas are shares of outcomes; atoms as bars of their own; the tail in colour.
//!
//! It must never part what is not known to be parted: every bar begins and ends where the share of outcomes below is known.

use super::canvas::{self, Align, Canvas};
use super::marks::{self, MarkLine};
use super::tally::{Piece, Tally, widened};
use super::{ATOM, AXIS, BODY, Frame, GRID, MUTED, PLOT_BOTTOM, number};

/// Most bars between the ends of the window.
const MAX_BARS: f64 = 110.0;
/// Fewest bars that few outcomes are put into.
const MIN_BARS: f64 = 6.0;
const ATOM_WIDTH: f64 = 6.0;
const LABEL_SIZE: f64 = 11.0;
/// Least room between two labels of an axis.
const LABEL_GAP: f64 = 8.0;

/// The window of values on show and the bars in it, in scaled units.
#[derive(Debug)]
pub(super) struct Density {
    pub lo: f64,
    pub hi: f64,
    /// Stretch of the axis that densities are told for.
    per: f64,
    pub bars: Vec<Piece>,
    atoms: Vec<Piece>,
    /// Share at the top of the panel: of an atom, or of a bar as wide as `per`.
    ceiling: f64,
}

impl Density {
    pub fn new(tally: &Tally) -> Self {
        let (lo, hi) = window(tally);
        let least = least_width(tally, hi - lo);
        let mut bars = bars(tally, least);
        bars.retain(|bar| bar.hi > lo && bar.lo < hi);
        let per = told_per(&bars).unwrap_or(least);
        let highest = largest(bars.iter().map(|bar| height(bar, per)));
        let highest_atom = largest(tally.atoms.iter().map(|atom| atom.share));
        let ceiling = if highest_atom <= 1.8 * highest || highest == 0.0 {
            1.08 * if highest > highest_atom { highest } else { highest_atom }
        } else {
            // An atom would press everything else flat: it is cut at the top and tells its share.
            1.35 * highest
        };
        Self { lo, hi, per, bars, atoms: tally.atoms.clone(), ceiling }
    }

    pub fn draw(&self, canvas: &mut Canvas, frame: &Frame, tally: &Tally, lines: &[MarkLine]) {
        let (ticks, decimals) = number::ticks(0.0, (self.ceiling * 100.0).clamp(0.0, 100.0), 6.0);
        for tick in ticks {
            let y = self.y(frame, tick / 100.0);
            canvas.line((frame.left, y), (frame.right, y), GRID, 1.0, "");
            let label = format!("{} %", number::grouped(tick, decimals));
            canvas.text(frame.left - 8.0, y + 4.0, 11.0, MUTED, Align::Right, &label);
        }
        let zones = marks::tail(lines);
        for bar in &self.bars {
            self.bar(canvas, frame, bar, &zones);
        }
        for atom in self.atoms.iter().filter(|atom| self.shows(atom.lo)) {
            self.atom_bar(canvas, frame, atom);
        }
        frame.value_axis(canvas, (self.lo, self.hi));
        let note = if self.bars.is_empty() {
            // Single values alone: their bars have no width.
            "% of outcomes".to_owned()
        } else {
            format!("% of outcomes per {}: areas are shares", number::plain(self.per))
        };
        canvas.text(frame.left + 96.0, super::PANEL_TITLE_Y, 11.0, MUTED, Align::Left, &note);
        self.draw_rest(canvas, frame, tally);
    }

    /// What lies outside the window, under the axis, where it can cover nothing.
    fn draw_rest(&self, canvas: &mut Canvas, frame: &Frame, tally: &Tally) {
        let y = PLOT_BOTTOM + super::AXIS_TITLE_DOWN;
        let beyond = tally.share_above(self.hi);
        if beyond > 0.0 {
            let text = format!("{} beyond →", number::percent(beyond));
            canvas.text(frame.right, y, 11.0, MUTED, Align::Right, &text);
        }
        let below = tally.share_below(self.lo);
        if below > 0.0 {
            let text = format!("← {} below", number::percent(below));
            canvas.text(frame.left, y, 11.0, MUTED, Align::Left, &text);
        }
    }

    fn shows(&self, value: f64) -> bool {
        value >= self.lo && value <= self.hi
    }

    fn y(&self, frame: &Frame, share: f64) -> f64 {
        PLOT_BOTTOM - (PLOT_BOTTOM - frame.top) * (share / self.ceiling)
    }

    /// One bar, parted where a zone of the tail begins.
    fn bar(&self, canvas: &mut Canvas, frame: &Frame, bar: &Piece, zones: &[(f64, &str, &str)]) {
        let (start, end) = (bar.lo, bar.hi);
        let y = self.y(frame, height(bar, self.per));
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

/// The least width of a bar: it can be seen, and holds outcomes enough (Freedman & Diaconis 1981, "On the histogram as a density estimator").
fn least_width(tally: &Tally, span: f64) -> f64 {
    let (root, finest, coarsest) = (cube_root(tally.counted), span / MAX_BARS, span / MIN_BARS);
    let quartiles = tally.quantile(0.75) - tally.quantile(0.25);
    let width = if quartiles > 0.0 { 2.0 * quartiles / root } else { 0.5 * span / root };
    if width < finest {
        finest
    } else if width > coarsest {
        coarsest
    } else {
        width
    }
}

/// ∛n, rounded up to a whole number; more outcomes than four billion need no narrower bars.
fn cube_root(n: u128) -> f64 {
    f64::from((1..1600_u32).find(|root| u128::from(root.pow(3)) >= n).unwrap_or(1600))
}

/// Whole pieces put together until a bar is `least` wide. What ends before an empty stretch is drawn into it.
fn bars(tally: &Tally, least: f64) -> Vec<Piece> {
    let wide =
        |bar: Piece| Piece { hi: if bar.hi - bar.lo < least { bar.lo + least } else { bar.hi }, ..bar };
    let mut bars: Vec<Piece> = Vec::new();
    let mut open: Option<Piece> = None;
    for piece in tally.pieces.iter().filter(|piece| !tally.atoms.contains(piece)) {
        open = match open {
            Some(bar) if bar.hi - bar.lo < least && piece.lo - bar.lo < least => {
                Some(Piece { hi: piece.hi, share: bar.share + piece.share, ..bar })
            }
            full => {
                bars.extend(full.map(wide));
                Some(*piece)
            }
        };
    }
    bars.extend(open.map(wide));
    bars
}

/// The stretch that densities are told for: round, and about as wide as the highest bar, but so that none is above 100 %.
fn told_per(bars: &[Piece]) -> Option<f64> {
    let highest = bars.iter().max_by(|a, b| height(a, 1.0).total_cmp(&height(b, 1.0)))?;
    let round = |part| number::round_up((highest.hi - highest.lo) / part, &[1.0, 2.0, 5.0]);
    Some(if height(highest, round(1.5)) <= 1.0 { round(1.5) } else { round(2.5) })
}

/// The share that a bar would hold if it were `per` wide.
fn height(bar: &Piece, per: f64) -> f64 {
    bar.share * (per / (bar.hi - bar.lo))
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
