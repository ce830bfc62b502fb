//! The marked values (mean and percentiles): which there are, and where their labels stand without covering one another.
//!
//! It must never drop a line: where there is no room only the label goes.

use super::canvas::{self, Align, Canvas};
use super::{
    Frame, INK, MUTED, PANEL_TITLE_Y, PLOT_BOTTOM, Picture, ROW_HEIGHT, TAIL, number,
    tally::{LARGEST, Tally},
};

/// Most marks drawn, the mean not counted.
const MAX_MARKS: usize = 16;
/// Most rows of labels above a plot.
const MAX_ROWS: usize = 7;
const FONT: f64 = 11.0;

/// One marked value, in scaled units.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct MarkLine {
    pub label: String,
    pub value: f64,
    /// Percentile in 0..100 that the label tells; none for the mean.
    pub level: Option<f64>,
    pub colour: &'static str,
    pub dash: &'static str,
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
        lines.push(MarkLine { label: "mean".to_owned(), value, level: None, colour: INK, dash: "5 3" });
    }
    for mark in picture.marks.iter().filter(|mark| mark.value.abs() <= LARGEST).take(MAX_MARKS) {
        let label = canvas::fit(&mark.label, FONT, 90.0);
        let level = level(&mark.label);
        lines.push(MarkLine { label, value: tally.scaled(mark.value), level, colour: MUTED, dash: "" });
    }
    lines.sort_by(|a, b| a.value.total_cmp(&b.value));
    lines
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

/// A line of one panel with its label placed, in SVG units.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Flag {
    pub x: f64,
    /// Left end of the label; none when there is no room for it.
    pub label_left: Option<f64>,
    pub width: f64,
    pub row: usize,
    pub text: String,
    pub colour: &'static str,
    pub dash: &'static str,
}

/// Places the lines that fall into `window`. Each label is a flag to the right of its line; going from right to left, it takes the lowest row that stands clear of the poles
/// and the labels already placed.
pub(super) fn flags(
    lines: &[MarkLine],
    frame: &Frame,
    window: (f64, f64),
    text: impl Fn(&MarkLine) -> String,
) -> Vec<Flag> {
    let mut placed: Vec<Flag> = Vec::new();
    for line in lines.iter().rev().filter(|line| line.value >= window.0 && line.value <= window.1) {
        let text = text(line);
        let x = frame.x(line.value, window);
        let width = canvas::width(&text, FONT) + 10.0;
        let left = if x + width > frame.label_limit { frame.label_limit - width } else { x };
        let crossed = placed.iter().filter(|f| f.x > left && f.x < left + width && f.label_left.is_some());
        let mut row = crossed.map(|f| f.row + 1).max().unwrap_or(0);
        let covers = |f: &&Flag, row| {
            f.row == row && f.label_left.is_some_and(|l| left < l + f.width && l < left + width)
        };
        while placed.iter().any(|f| covers(&f, row)) {
            row += 1;
        }
        let label_left = (row < MAX_ROWS).then_some(left);
        let row = if row < MAX_ROWS { row } else { 0 };
        placed.push(Flag { x, label_left, width, row, text, colour: line.colour, dash: line.dash });
    }
    placed
}

/// Rows of labels that the flags need.
pub(super) fn rows(flags: &[Flag]) -> usize {
    flags.iter().filter(|f| f.label_left.is_some()).map(|f| f.row + 1).max().unwrap_or(0)
}

/// Draws all poles, then all labels over them.
pub(super) fn draw(canvas: &mut Canvas, frame: &Frame, flags: &[Flag]) {
    for flag in flags {
        let rise = if flag.label_left.is_some() { flag.row as f64 * ROW_HEIGHT + 13.0 } else { 0.0 };
        let top = frame.top - rise;
        canvas.line((flag.x, top), (flag.x, PLOT_BOTTOM), flag.colour, 1.0, flag.dash);
    }
    for flag in flags {
        if let Some(left) = flag.label_left {
            let y = frame.top - flag.row as f64 * ROW_HEIGHT - 4.0;
            debug_assert!(y > PANEL_TITLE_Y, "label rows are counted before the plot is placed");
            canvas.text(left + 4.0, y, FONT, INK, Align::Left, &flag.text);
        }
    }
}
