//! Numbers of a picture: decimal logarithm, round steps and printed forms.
//!
//! Uses +, −, ×, ÷, √, floor and Rust's own correctly rounded conversions between decimal and binary: the same bits on every machine. It must never call a
//! transcendental function of the platform.

/// A power of a thousand that all values of a picture are divided by, so that axis labels stay short.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale {
    /// Exponent of ten, a multiple of three.
    pub exponent: i32,
}

impl Scale {
    /// The scale for values up to `largest` in magnitude: none from 0.001 up to ten million.
    pub fn for_magnitude(largest: f64) -> Self {
        let plain = largest == 0.0 || (1e-3..1e7).contains(&largest);
        Self { exponent: if plain { 0 } else { decade(largest).div_euclid(3) * 3 } }
    }

    /// `value` in scaled units.
    pub fn apply(self, value: f64) -> f64 {
        if self.exponent < 0 { value * pow10(-self.exponent) } else { value / pow10(self.exponent) }
    }

    /// The unit with its power of ten, the title of an axis.
    pub fn axis_title(self, unit: &str) -> String {
        if self.exponent == 0 {
            unit.to_owned()
        } else {
            format!("{unit} × 10{}", superscript(self.exponent)).trim().to_owned()
        }
    }
}

fn superscript(exponent: i32) -> String {
    const DIGITS: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    exponent.to_string().chars().map(|c| c.to_digit(10).map_or('⁻', |d| DIGITS[d as usize])).collect()
}

/// ⌊log10 x⌋ and x / 10^that, for positive finite x, from the shortest decimal form of x.
fn split(x: f64) -> (f64, i32) {
    let text = format!("{x:e}");
    let parts = text.split_once('e').and_then(|(m, e)| Some((m.parse().ok()?, e.parse().ok()?)));
    parts.unwrap_or((1.0, 0))
}

/// ⌊log10 x⌋ for positive finite x.
pub(super) fn decade(x: f64) -> i32 {
    split(x).1
}

/// 10^exponent, correctly rounded (0 or infinity beyond the range of a double).
pub(super) fn pow10(exponent: i32) -> f64 {
    format!("1e{exponent}").parse().unwrap_or(0.0)
}

/// log10 of a positive finite number to about 15 digits: two square roots, then the series of 2·artanh((m−1)/(m+1)).
pub(super) fn log10(x: f64) -> f64 {
    let (mantissa, exponent) = split(x);
    let root = mantissa.sqrt().sqrt();
    let t = (root - 1.0) / (root + 1.0);
    let square = t * t;
    let mut sum = 0.0;
    for k in (0..16).rev() {
        sum = sum * square + 1.0 / f64::from(2 * k + 1);
    }
    // Four quarters of the logarithm, twice artanh, over ln 10.
    f64::from(exponent) + 8.0 * t * sum / std::f64::consts::LN_10
}

/// The smallest `step`·10^k that is at least `x`, for positive finite x; `steps` ascend from 1 and stay below 10.
pub(super) fn round_up(x: f64, steps: &[f64]) -> f64 {
    let (mantissa, exponent) = split(x);
    let step = steps.iter().copied().find(|s| *s >= mantissa);
    match step {
        Some(step) => step * pow10(exponent),
        None => pow10(exponent + 1),
    }
}

/// Round values in `lo..=hi`, about `wanted` of them, and the number of decimals they need.
pub(super) fn ticks(lo: f64, hi: f64, wanted: f64) -> (Vec<f64>, usize) {
    let step = round_up((hi - lo) / wanted, &[1.0, 2.0, 2.5, 5.0]);
    // A step of 2.5 needs one digit more than its decade tells.
    let half = split(step).0 == 2.5;
    let decimals = (-decade(step)).max(0) as usize + usize::from(half && decade(step) <= 0);
    let first = (lo / step).ceil();
    let values =
        (0..64).map(|i| (first + f64::from(i)) * step).take_while(|v| *v <= hi + step * 1e-9).collect();
    (values, decimals.min(12))
}

/// `x` with thousands separators and a true minus sign; never `−0`.
pub(super) fn grouped(x: f64, decimals: usize) -> String {
    let text = format!("{:.decimals$}", x.abs());
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let zero = text.bytes().all(|b| b == b'0' || b == b'.');
    let mut out = String::new();
    if x < 0.0 && !zero {
        out.push('−');
    }
    out.push_str(&separated(whole));
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

/// A whole number with thousands separators.
pub(super) fn grouped_integer(n: u128) -> String {
    separated(&n.to_string())
}

fn separated(digits: &str) -> String {
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// A share between 0 and 1 as a percentage, with one digit after the point, more below a tenth of a percent.
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent >= 0.1 {
        // 99.96 would print as 100.0 and claim that all of it is meant.
        let shown = if share < 1.0 && percent > 99.9 { 99.9 } else { percent };
        format!("{shown:.1} %")
    } else if percent >= 0.001 {
        format!("{percent:.3} %")
    } else {
        "< 0.001 %".to_owned()
    }
}

/// A round number as it is, with separators and without needless decimals.
pub(super) fn plain(x: f64) -> String {
    let decimals = (0..12).find(|d| (x * pow10(*d) - (x * pow10(*d)).round()).abs() < 1e-6).unwrap_or(12);
    grouped(x, decimals as usize)
}
