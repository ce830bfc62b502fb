//! The picture of a loss distribution with its tail: a density beside an exceedance curve, as SVG and as PNG.
//!
//! Owns the public plain structs, the layout of the page and the rasteriser. Bytes are a pure function of the input: positions come
//! from IEEE-exact operations alone, text is set in the bundled font alone. It must never read a clock, a locale, a file or a system font,
//! and must never panic, whatever numbers it is given.

mod canvas;
mod density;
mod exceedance;
mod flags;
mod known;
mod marks;
mod number;
mod tally;

use canvas::{Align, Canvas};
use marks::MarkLine;
use tally::Tally;

/// What is to be drawn. Nothing here has to be trusted: numbers that are not finite or beyond ±1e300 are left out (and the picture tells), texts are cut to their place and escaped.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a> {
    /// Heading.
    pub title: &'a str,
    /// One line under the heading, for instance a short digest, the seed and the number of paths.
    pub subtitle: &'a str,
    /// Unit of every value, written at the axes; may be empty.
    pub unit: &'a str,
    /// Histogram in ascending order, of any widths; a bin with `lower == upper` is an atom.
    pub bins: &'a [Bin],
    /// Percentiles to mark. A label of the form `p95` tells the level; those from 95 on shade the tail.
    pub marks: &'a [Mark],
    /// Percentiles that get no line. Bins are cut at these and at the marked ones, which have to be order statistics: the smallest outcomes that the level does not exceed.
    pub unmarked: &'a [Mark],
    /// Mean of all outcomes, in the unit of the bins.
    pub mean: f64,
    /// Number of outcomes. A picture whose bins hold another number says so.
    pub count: u64,
}

/// One histogram bin: `count` outcomes in `lower..upper`, or exactly at `lower` when the two are equal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bin {
    pub lower: f64,
    pub upper: f64,
    pub count: u64,
}

/// One vertical line with its label.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    pub label: String,
    pub value: f64,
}

/// Why an SVG could not be turned into pixels.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    #[error("the SVG has {0} bytes, more than {MAX_SVG_BYTES}: pass the output of `picture::svg`")]
    TooLong(usize),
    #[error("not a usable SVG ({0}): pass the output of `picture::svg`")]
    Malformed(String),
    #[error(
        "the SVG measures {0} × {1}, but at most {MAX_SIDE} a side is drawn: pass the output of `picture::svg`"
    )]
    TooLarge(f32, f32),
    #[error("the PNG could not be written ({0}): free some memory and try again")]
    Encode(String),
}

/// Longest SVG that is rasterised; [`svg`] stays far below it whatever the number of bins.
pub const MAX_SVG_BYTES: usize = 1 << 20;
/// Largest side of an SVG that is rasterised, in SVG units.
pub const MAX_SIDE: f32 = 2048.0;
/// Pixels of the PNG per SVG unit.
const SCALE: f32 = 2.0;

const REGULAR: &[u8] = include_bytes!("../assets/DejaVuSans.subset.ttf");
const BOLD: &[u8] = include_bytes!("../assets/DejaVuSans-Bold.subset.ttf");

const WIDTH: f64 = 1200.0;
const HEIGHT: f64 = 570.0;
const PLOT_BOTTOM: f64 = 496.0;
/// Base line of the panels' titles; label rows stack up between it and the plots.
const PANEL_TITLE_Y: f64 = 92.0;
const ROW_HEIGHT: f64 = 15.0;
/// From the plots' bottom down to the base line of the axes' titles.
const AXIS_TITLE_DOWN: f64 = 38.0;

// Okabe–Ito, told apart with any colour vision; text colours are dark enough for a contrast of 4.5.
const INK: &str = "#1b1f24";
const MUTED: &str = "#59636e";
const GRID: &str = "#e4e8ec";
const AXIS: &str = "#8c959f";
const BODY: &str = "#0072b2";
const TAIL: [&str; 2] = ["#e69f00", "#d55e00"];
const ATOM: &str = "#00795a";

/// The place of one panel's plot on the page, in SVG units.
#[derive(Debug, Clone, Copy)]
struct Frame {
    left: f64,
    right: f64,
    top: f64,
}

/// Draws the picture: 1200 × 570 units, two panels. Equal input gives equal bytes on every machine.
pub fn svg(picture: &Picture) -> String {
    let mut canvas = Canvas::new(WIDTH, HEIGHT);
    canvas.text_bold(28.0, 38.0, 20.0, INK, &canvas::fit(picture.title, 20.0, 1000.0));
    canvas.text(28.0, 60.0, 12.0, MUTED, Align::Left, &canvas::fit(picture.subtitle, 12.0, WIDTH - 56.0));
    match Tally::of(picture) {
        Some(tally) => panels(&mut canvas, picture, &tally),
        None => canvas.text(WIDTH / 2.0, HEIGHT / 2.0, 16.0, MUTED, Align::Middle, "No outcomes to show"),
    }
    canvas.finish()
}

fn panels(canvas: &mut Canvas, picture: &Picture, tally: &Tally) {
    let lines = marks::lines(picture, tally);
    let mut left = Frame { left: 76.0, right: 590.0, top: 0.0 };
    let mut right = Frame { left: 700.0, right: 1160.0, top: 0.0 };
    let density = density::Density::new(tally);
    let curve = exceedance::Exceedance::new(tally, density.lo, &lines);
    let left_lines = marks::with_atoms(&lines, tally);
    let left_flags = flags::flags(&left_lines, &left, (density.lo, density.hi), |line| line.full(tally));
    let shown_left = |line: &MarkLine| line.value >= density.lo && line.value <= density.hi;
    let right_flags = flags::flags(&lines, &right, (curve.lo, curve.hi), |line| {
        if line.in_tail() || !shown_left(line) { line.full(tally) } else { line.label.clone() }
    });
    let rows = flags::rows(&left_flags).max(flags::rows(&right_flags)).max(1);
    let top = PANEL_TITLE_Y + 12.0 + rows as f64 * ROW_HEIGHT;
    left.top = top;
    right.top = top;

    canvas.text_bold(left.left, PANEL_TITLE_Y, 13.0, INK, "Distribution");
    canvas.text_bold(right.left, PANEL_TITLE_Y, 13.0, INK, "Probability of exceeding");
    density.draw(canvas, &left, tally, &lines);
    flags::draw(canvas, &left, &left_flags);
    curve.draw(canvas, &right, &lines);
    flags::draw(canvas, &right, &right_flags);
    curve.annotate(canvas, &right, tally, &lines);
    let unit = tally.scale.axis_title(picture.unit);
    for frame in [&left, &right] {
        let middle = (frame.left + frame.right) / 2.0;
        let (y, unit) = (PLOT_BOTTOM + AXIS_TITLE_DOWN, canvas::fit(&unit, 12.0, 280.0));
        canvas.text(middle, y, 12.0, MUTED, Align::Middle, &unit);
    }
    if tally.counted != u128::from(picture.count) {
        let shown = number::grouped_integer(tally.counted);
        let all = number::grouped_integer(u128::from(picture.count));
        let note = format!("The bins hold {shown} outcomes, the result {all}.");
        canvas.text(28.0, HEIGHT - 10.0, 11.0, MUTED, Align::Left, &note);
    }
}

/// Turns an SVG made by [`svg`] into a PNG of twice its size, with the bundled font only. References to files or images are not followed.
pub fn png(svg: &str) -> Result<Vec<u8>, PictureError> {
    use resvg::{tiny_skia, usvg};
    if svg.len() > MAX_SVG_BYTES {
        return Err(PictureError::TooLong(svg.len()));
    }
    let mut fonts = usvg::fontdb::Database::new();
    fonts.load_font_data(REGULAR.to_vec());
    fonts.load_font_data(BOLD.to_vec());
    fonts.set_sans_serif_family("DejaVu Sans");
    let options = usvg::Options {
        font_family: "DejaVu Sans".to_owned(),
        fontdb: std::sync::Arc::new(fonts),
        image_href_resolver: usvg::ImageHrefResolver {
            resolve_data: Box::new(|_, _, _| None),
            resolve_string: Box::new(|_, _| None),
        },
        ..usvg::Options::default()
    };
    let tree = usvg::Tree::from_str(svg, &options).map_err(|e| PictureError::Malformed(e.to_string()))?;
    let (width, height) = (tree.size().width(), tree.size().height());
    if width > MAX_SIDE || height > MAX_SIDE {
        return Err(PictureError::TooLarge(width, height));
    }
    let mut pixels = tiny_skia::Pixmap::new((width * SCALE).ceil() as u32, (height * SCALE).ceil() as u32)
        .ok_or(PictureError::TooLarge(width, height))?;
    resvg::render(&tree, tiny_skia::Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
    pixels.encode_png().map_err(|e| PictureError::Encode(e.to_string()))
}

#[cfg(test)]
mod tests;
