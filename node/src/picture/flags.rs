//! Where the lines of a panel and their labels stand, so that no label is covered, crossed or cut.
//!
//! It must never drop a line: where there is no room only the label goes.

use super::canvas::{self, Align, Canvas};
use super::marks::{FONT, MarkLine};
use super::{Frame, PANEL_TITLE_Y, PLOT_BOTTOM, ROW_HEIGHT};

/// Most rows of labels above a plot.
const MAX_ROWS: usize = 7;
/// How far a label, with the room around it, may reach over the plot's right end.
const OVER: f64 = 6.0;

/// A line of one panel with its label placed, in SVG units.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Flag {
    pub x: f64,
    /// Left end of the label; none when there is no room for it.
    pub label_left: Option<f64>,
    pub width: f64,
    pub row: usize,
    pub line: MarkLine,
    pub text: String,
}

/// Places the lines that fall into `window`. Each label is a flag to the right of its line, or to the left of it where it would leave the panel, in the lowest row where it
/// stands clear: labels on the right from right to left, those on the left the other way round. The last try is for labels that have found no room.
pub(super) fn flags(
    lines: &[MarkLine],
    frame: &Frame,
    window: (f64, f64),
    text: impl Fn(&MarkLine) -> String,
) -> Vec<Flag> {
    let bare = |line: &MarkLine| {
        let (x, text) = (frame.x(line.value, window), text(line));
        let width = canvas::width(&text, FONT) + 10.0;
        Flag { x, label_left: None, width, row: 0, line: line.clone(), text }
    };
    let shown = lines.iter().filter(|line| line.value >= window.0 && line.value <= window.1);
    let mut right: Vec<Flag> = shown.map(bare).collect();
    let turned = right.split_off(first_turned(&right, frame.right + OVER));
    let mut placed: Vec<Flag> = Vec::new();
    for flag in right.iter().rev() {
        placed.push(place(flag, flag.x, frame, &placed));
    }
    let mut placed = place_turned(&turned, frame, placed);
    placed.sort_by(|a, b| b.x.total_cmp(&a.x));
    for i in 0..placed.len() {
        for left in [placed[i].x, placed[i].x - placed[i].width] {
            if placed[i].label_left.is_none() {
                placed[i] = place(&placed[i], left, frame, &placed);
            }
        }
    }
    placed
}

/// From which flag on labels stand to the left of their lines: no label reaches over `limit`, nor over the line of one that is turned.
fn first_turned(flags: &[Flag], limit: f64) -> usize {
    let (mut first, mut limit) = (flags.len(), limit);
    for (i, flag) in flags.iter().enumerate().rev() {
        if flag.x + flag.width > limit {
            (first, limit) = (i, flag.x);
        }
    }
    first
}

/// Places the labels on the left. Where there is no room for all of them the lowest values go without.
fn place_turned(turned: &[Flag], frame: &Frame, placed: Vec<Flag>) -> Vec<Flag> {
    let mut all = placed.clone();
    for bare in 0..=turned.len() {
        let (without, labelled) = turned.split_at(bare);
        all = placed.clone();
        all.extend_from_slice(without);
        for flag in labelled {
            all.push(place(flag, flag.x - flag.width, frame, &all));
        }
        if all[placed.len() + bare..].iter().all(|flag| flag.label_left.is_some()) {
            break;
        }
    }
    all
}

/// A flag with its label, which begins at `left`, in the lowest row where it stands clear; without one if there is none.
fn place(flag: &Flag, left: f64, frame: &Frame, placed: &[Flag]) -> Flag {
    let inside = left >= frame.left && left + flag.width <= frame.right + OVER;
    let in_row = |row| Flag { label_left: Some(left), row, ..flag.clone() };
    let clear = |flag: &Flag| inside && placed.iter().all(|other| stand_clear(flag, other));
    (0..MAX_ROWS).map(in_row).find(clear).unwrap_or_else(|| flag.clone())
}

/// Whether two flags leave each other alone: their labels, and each one's pole and the other's label.
pub(super) fn stand_clear(a: &Flag, b: &Flag) -> bool {
    let (Some(left_a), Some(left_b)) = (a.label_left, b.label_left) else { return true };
    let (end_a, end_b) = (left_a + a.width, left_b + b.width);
    let apart = a.row != b.row || end_a <= left_b || end_b <= left_a;
    let b_crosses = b.x > left_a && b.x < end_a && b.row >= a.row;
    let a_crosses = a.x > left_b && a.x < end_b && a.row >= b.row;
    apart && !b_crosses && !a_crosses
}

/// Rows of labels that the flags need.
pub(super) fn rows(flags: &[Flag]) -> usize {
    flags.iter().filter(|f| f.label_left.is_some()).map(|f| f.row + 1).max().unwrap_or(0)
}

/// Draws all poles, then all labels over them.
pub(super) fn draw(canvas: &mut Canvas, frame: &Frame, flags: &[Flag]) {
    for flag in flags {
        let rise = if flag.label_left.is_some() { flag.row as f64 * ROW_HEIGHT + 13.0 } else { 0.0 };
        let (top, line) = (frame.top - rise, &flag.line);
        canvas.line((flag.x, top), (flag.x, PLOT_BOTTOM), line.colour, 1.0, line.dash);
    }
    for flag in flags {
        if let Some(left) = flag.label_left {
            let y = frame.top - flag.row as f64 * ROW_HEIGHT - 4.0;
            debug_assert!(y > PANEL_TITLE_Y, "label rows are counted before the plot is placed");
            canvas.text(left + 4.0, y, FONT, flag.line.ink, Align::Left, &flag.text);
        }
    }
}
