//! Writes SVG elements: every coordinate with two decimals at most, every text escaped.
//!
//! It must never let a number that is not finite or a character that XML forbids into the document.

/// Which end of a text lies at its position.
#[derive(Debug, Clone, Copy)]
pub(super) enum Align {
    Left,
    Middle,
    Right,
}

/// An SVG document under construction.
pub(super) struct Canvas(String);

impl Canvas {
    pub fn new(width: f64, height: f64) -> Self {
        let (w, h) = (coordinate(width), coordinate(height));
        Self(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {w} {h}\" \
             font-family=\"'DejaVu Sans', Verdana, sans-serif\">\n<rect width=\"{w}\" height=\"{h}\" fill=\"#ffffff\"/>\n"
        ))
    }

    pub fn finish(mut self) -> String {
        self.0.push_str("</svg>\n");
        self.0
    }

    pub fn rect(&mut self, x: f64, y: f64, width: f64, height: f64, fill: &str) {
        let (x, y, w, h) = (coordinate(x), coordinate(y), coordinate(width), coordinate(height));
        self.0
            .push_str(&format!("<rect x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" fill=\"{fill}\"/>\n"));
    }

    /// A straight line; `dash` is an SVG dash pattern, empty for none.
    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), stroke: &str, width: f64, dash: &str) {
        self.polyline(&[from, to], stroke, width, dash);
    }

    pub fn polyline(&mut self, points: &[(f64, f64)], stroke: &str, width: f64, dash: &str) {
        if points.len() < 2 {
            return;
        }
        let dash = if dash.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{dash}\"") };
        let (d, w) = (path(points), coordinate(width));
        self.0.push_str(&format!(
            "<path d=\"{d}\" fill=\"none\" stroke=\"{stroke}\" stroke-width=\"{w}\"{dash}/>\n"
        ));
    }

    pub fn polygon(&mut self, points: &[(f64, f64)], fill: &str, opacity: &str) {
        let d = path(points);
        self.0.push_str(&format!("<path d=\"{d}Z\" fill=\"{fill}\" fill-opacity=\"{opacity}\"/>\n"));
    }

    pub fn dot(&mut self, centre: (f64, f64), radius: f64, fill: &str) {
        let (x, y, r) = (coordinate(centre.0), coordinate(centre.1), coordinate(radius));
        self.0.push_str(&format!(
            "<circle cx=\"{x}\" cy=\"{y}\" r=\"{r}\" fill=\"{fill}\" stroke=\"#ffffff\" stroke-width=\"1.2\"/>\n"
        ));
    }

    /// Text with a white rim, so that it stays readable on lines and bars.
    pub fn text(&mut self, x: f64, y: f64, size: f64, fill: &str, align: Align, text: &str) {
        self.write_text(
            x,
            y,
            size,
            fill,
            align,
            text,
            "stroke=\"#ffffff\" stroke-width=\"3\" paint-order=\"stroke\"",
        );
    }

    pub fn text_bold(&mut self, x: f64, y: f64, size: f64, fill: &str, text: &str) {
        self.write_text(x, y, size, fill, Align::Left, text, "font-weight=\"bold\"");
    }

    #[expect(clippy::too_many_arguments, reason = "the one place where a text element is spelt out")]
    fn write_text(&mut self, x: f64, y: f64, size: f64, fill: &str, align: Align, text: &str, extra: &str) {
        let anchor = match align {
            Align::Left => "start",
            Align::Middle => "middle",
            Align::Right => "end",
        };
        let (x, y, size, text) = (coordinate(x), coordinate(y), coordinate(size), escaped(text));
        self.0.push_str(&format!(
            "<text x=\"{x}\" y=\"{y}\" font-size=\"{size}\" fill=\"{fill}\" text-anchor=\"{anchor}\" {extra}>{text}</text>\n"
        ));
    }
}

fn path(points: &[(f64, f64)]) -> String {
    let mut d = String::with_capacity(points.len() * 14);
    for (i, (x, y)) in points.iter().enumerate() {
        d.push(if i == 0 { 'M' } else { 'L' });
        d.push_str(&coordinate(*x));
        d.push(' ');
        d.push_str(&coordinate(*y));
    }
    d
}

/// Two decimals, without trailing zeros. A number far off the page, or none at all, is drawn at its edge.
fn coordinate(x: f64) -> String {
    let x = if x.is_nan() { 0.0 } else { x.clamp(-9999.0, 9999.0) };
    let text = format!("{x:.2}");
    let short = text.trim_end_matches('0').trim_end_matches('.');
    if short == "-0" { "0".to_owned() } else { short.to_owned() }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' | '\r' => out.push(' '),
            // Characters that XML 1.0 does not allow even as references.
            c if c.is_control() || c == '\u{fffe}' || c == '\u{ffff}' => out.push('?'),
            c => out.push(c),
        }
    }
    out
}

/// Advance widths of U+0020…U+007E in DejaVu Sans, in 2048ths of the font size.
const ADVANCES: [u16; 95] = [
    651, 821, 942, 1716, 1303, 1946, 1597, 563, 799, 799, 1024, 1716, 651, 739, 651, 690, 1303, 1303, 1303,
    1303, 1303, 1303, 1303, 1303, 1303, 1303, 690, 690, 1716, 1716, 1716, 1087, 2048, 1401, 1405, 1430, 1577,
    1294, 1178, 1587, 1540, 604, 604, 1343, 1141, 1767, 1532, 1612, 1235, 1612, 1423, 1300, 1251, 1499, 1401,
    2025, 1403, 1251, 1403, 799, 690, 799, 1716, 1024, 1024, 1255, 1300, 1126, 1300, 1260, 721, 1300, 1298,
    569, 569, 1186, 569, 1995, 1298, 1253, 1300, 1300, 842, 1067, 803, 1298, 1212, 1675, 1212, 1212, 1075,
    1303, 690, 1303, 1716,
];

fn advance(c: char, size: f64) -> f64 {
    let index = (c as u32).checked_sub(0x20).map(|i| i as usize);
    let units = index.and_then(|i| ADVANCES.get(i)).copied().unwrap_or(2048);
    f64::from(units) * size / 2048.0
}

/// Width of a text in the regular font; characters outside ASCII count as one em.
pub(super) fn width(text: &str, size: f64) -> f64 {
    text.chars().map(|c| advance(c, size)).sum()
}

/// `text`, cut with an ellipsis where it would be wider than `limit`.
pub(super) fn fit(text: &str, size: f64, limit: f64) -> String {
    // One line on a page never holds more; what follows need not even be measured.
    let mut used = 0.0;
    let mut out = String::new();
    for c in text.chars() {
        used += advance(c, size);
        if used > limit {
            while out.chars().count() > 1 && width(&out, size) + size > limit {
                out.pop();
            }
            out.push('…');
            break;
        }
        out.push(c);
    }
    out
}
