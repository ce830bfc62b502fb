//! The right panel: the share of outcomes that exceed each value, on a logarithmic axis, with the tail shaded.
//!
//! It must never draw below the floor, one decade that the number of outcomes can still resolve.

use super::canvas::{self, Align, Canvas};
use super::marks::{self, MarkLine};
use super::tally::{Tally, widened};
use super::{ATOM, AXIS, Frame, GRID, INK, MUTED, PLOT_BOTTOM, known, number};

/// Deepest decade drawn: 1 in 100,000.
const MAX_DECADES: i32 = 5;
/// Fewer outcomes than this give a ragged curve: it is dashed there.
const FEW: f64 = 10.0;

/// The curve and its window, in scaled units.
#[derive(Debug)]
pub(super) struct Exceedance {
    pub lo: f64,
    pub hi: f64,
    decades: i32,
    /// Values ascending, shares descending.
    points: Vec<(f64, f64)>,
    /// Below this share fewer than [`FEW`] outcomes remain.
    few: f64,
}

impl Exceedance {
    /// `lo` is the left end of the density's window. The percentiles among `lines` are on show even where the axis of shares does not reach down to them.
    pub fn new(tally: &Tally, lo: f64, lines: &[MarkLine]) -> Self {
        let total = tally.counted as f64;
        let decades = (number::log10(total).ceil() as i32).clamp(1, MAX_DECADES);
        let high = tally.quantile(0.99);
        let body = high - lo;
        let marked = lines.iter().filter(|line| line.level.is_some() && line.value <= tally.last());
        let last = tally.exceeded_by(1.0 / number::pow10(decades));
        let mut hi = marked.fold(last, |hi, line| if line.value > hi { line.value } else { hi });
        // Outcomes of one value nearly alone have no body that could be pressed together.
        let spread = high > tally.quantile(0.01);
        if spread && hi > lo + 15.0 * body {
            // A tail so long that it would press the body to the left edge: the curve leaves the panel.
            hi = lo + 15.0 * body;
        }
        let end = tally.pieces.iter().find(|piece| piece.lo < hi && piece.hi >= hi);
        if let Some(piece) = end.filter(|piece| spread && piece.lo >= high && piece.hi - piece.lo > body) {
            // So it does where nothing is known for longer than the body.
            hi = piece.lo + 0.5 * body;
        }
        let (lo, hi) = widened(lo, if hi > lo { hi } else { lo });
        Self { lo, hi: hi + 0.04 * (hi - lo), decades, points: tally.curve(), few: FEW / total }
    }

    pub fn draw(&self, canvas: &mut Canvas, frame: &Frame, lines: &[MarkLine]) {
        self.grid(canvas, frame);
        let pixels = self.pixels(frame);
        for (i, (start, colour, _)) in marks::tail(lines).iter().enumerate() {
            let next = marks::tail(lines).get(i + 1).map_or(self.hi, |zone| zone.0);
            self.shade(canvas, frame, &pixels, (*start, next), colour);
        }
        frame.value_axis(canvas, (self.lo, self.hi));
    }

    /// The curve itself, the dots where marks meet it, and the key. They lie over the marks' lines.
    pub fn annotate(&self, canvas: &mut Canvas, frame: &Frame, tally: &Tally, lines: &[MarkLine]) {
        let pixels = self.pixels(frame);
        let thin = self.y(frame, self.few).clamp(frame.top, PLOT_BOTTOM);
        let window = (frame.left, frame.right);
        let solid = thinned(&between(&pixels, window, (frame.top, thin)));
        let dashed = thinned(&between(&pixels, window, (thin, PLOT_BOTTOM)));
        canvas.polyline(&solid, INK, 2.2, "");
        canvas.polyline(&dashed, INK, 1.8, "3 3");
        for line in lines.iter().filter(|line| line.value >= self.lo && line.value <= self.hi) {
            // A percentile's own rank also holds on an atom, where the curve drops steeply.
            let above_rank = |level| (tally.counted - known::rank(level, tally.counted)) as f64;
            let share = line.level.map_or_else(
                || tally.share_above(line.value),
                |level| above_rank(level) / tally.counted as f64,
            );
            if share >= number::pow10(-self.decades) {
                canvas.dot((frame.x(line.value, (self.lo, self.hi)), self.y(frame, share)), 3.6, INK);
            }
        }
        self.key(canvas, frame, tally, lines, dashed.len() > 1);
    }

    fn y(&self, frame: &Frame, share: f64) -> f64 {
        if share <= 0.0 {
            return PLOT_BOTTOM + 1000.0;
        }
        let down = -number::log10(share) / f64::from(self.decades);
        frame.top + (PLOT_BOTTOM - frame.top) * down
    }

    fn pixels(&self, frame: &Frame) -> Vec<(f64, f64)> {
        let window = (self.lo, self.hi);
        let start = (frame.left - 1.0, frame.top);
        let curve = self.points.iter().map(|(value, share)| (frame.x(*value, window), self.y(frame, *share)));
        let mut pixels = vec![start];
        // A share a hair above 1 by rounding must not leave the panel.
        pixels.extend(curve.map(|(x, y)| (x, if y < frame.top { frame.top } else { y })));
        if pixels.get(1).is_some_and(|first| first.0 > start.0) {
            pixels.insert(1, (pixels[1].0, frame.top));
        }
        pixels
    }

    fn grid(&self, canvas: &mut Canvas, frame: &Frame) {
        for decade in 0..=self.decades {
            let share = number::pow10(-decade);
            let y = self.y(frame, share);
            canvas.line(
                (frame.left, y),
                (frame.right, y),
                if decade == self.decades { AXIS } else { GRID },
                1.0,
                "",
            );
            let label = match decade {
                0 => "always".to_owned(),
                _ => format!("1 in {}", number::grouped(number::pow10(decade), 0)),
            };
            canvas.text(frame.left - 8.0, y + 4.0, 11.0, MUTED, Align::Right, &label);
            for part in [0.5, 0.2] {
                if decade < self.decades {
                    let y = self.y(frame, share * part);
                    canvas.line((frame.left - 3.0, y), (frame.left, y), AXIS, 1.0, "");
                }
            }
        }
        canvas.line((frame.left, frame.top), (frame.left, PLOT_BOTTOM), AXIS, 1.0, "");
    }

    fn shade(
        &self,
        canvas: &mut Canvas,
        frame: &Frame,
        pixels: &[(f64, f64)],
        zone: (f64, f64),
        colour: &str,
    ) {
        let window = (self.lo, self.hi);
        let left = frame.x(zone.0, window).clamp(frame.left, frame.right);
        let right = frame.x(zone.1, window).clamp(frame.left, frame.right);
        let mut area = thinned(&between(pixels, (left, right), (frame.top, PLOT_BOTTOM)));
        let (Some(first), Some(last)) = (area.first().copied(), area.last().copied()) else { return };
        if last.0 - first.0 < 0.01 {
            return;
        }
        area.push((last.0, PLOT_BOTTOM));
        area.push((first.0, PLOT_BOTTOM));
        canvas.polygon(&area, colour, "0.55");
    }

    /// The key in one line under the panel, where it can cover nothing.
    fn key(&self, canvas: &mut Canvas, frame: &Frame, tally: &Tally, lines: &[MarkLine], dashed: bool) {
        let mut entries: Vec<(&str, String)> = marks::tail(lines)
            .iter()
            .map(|(_, colour, label)| (*colour, format!("beyond {label}")))
            .collect();
        if !tally.atoms.is_empty() {
            entries.push((ATOM, "single value".to_owned()));
        }
        if dashed {
            entries.push(("", "fewer than 10 outcomes".to_owned()));
        }
        let y = PLOT_BOTTOM + 62.0;
        let mut left = frame.left;
        for (colour, text) in &entries {
            if colour.is_empty() {
                canvas.line((left, y - 4.0), (left + 16.0, y - 4.0), INK, 1.8, "3 3");
            } else {
                canvas.rect(left, y - 9.0, 14.0, 10.0, colour);
            }
            canvas.text(left + 21.0, y, 11.0, MUTED, Align::Left, text);
            left += 21.0 + canvas::width(text, 11.0) + 20.0;
        }
    }
}

/// The part of a falling polyline (x and y both never descend) inside a box, cut at its edges.
fn between(points: &[(f64, f64)], (left, right): (f64, f64), (top, bottom): (f64, f64)) -> Vec<(f64, f64)> {
    let mut out: Vec<(f64, f64)> = Vec::new();
    for pair in points.windows(2) {
        let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
        if x1 < left || x0 > right || y1 < top || y0 > bottom {
            continue;
        }
        // The share of the segment that lies inside; a coordinate that stands still sets no bound.
        let (mut from, mut to) = (0.0_f64, 1.0_f64);
        for (start, end, low, high) in [(x0, x1, left, right), (y0, y1, top, bottom)] {
            if end > start {
                let (enter, leave) = ((low - start) / (end - start), (high - start) / (end - start));
                from = if enter > from { enter } else { from };
                to = if leave < to { leave } else { to };
            }
        }
        if from > to {
            continue;
        }
        for t in [from, to] {
            let point = (x0 + (x1 - x0) * t, y0 + (y1 - y0) * t);
            if out.last() != Some(&point) {
                out.push(point);
            }
        }
    }
    out
}

/// Leaves out points closer than a third of a unit to the one before, but keeps both ends.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut out: Vec<(f64, f64)> = Vec::new();
    for (i, point) in points.iter().enumerate() {
        let far = out.last().is_none_or(|last| (point.0 - last.0).abs() + (point.1 - last.1).abs() >= 0.33);
        if far || i + 1 == points.len() {
            out.push(*point);
        }
    }
    out
}
