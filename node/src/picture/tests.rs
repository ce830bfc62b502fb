//! Tests of the picture: stable bytes, well-formed output, and no input that breaks it.

use super::*;

/// xorshift64*: enough for shapes, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

fn mark(label: &str, value: f64) -> Mark {
    Mark { label: label.to_owned(), value }
}

/// A skewed body with an atom at zero and another at a cap.
fn sample() -> (Vec<Bin>, Vec<Mark>) {
    let mut bins = vec![Bin { lower: 0.0, upper: 0.0, count: 13_000 }];
    for i in 0..200_u32 {
        let t = f64::from(i);
        bins.push(Bin {
            lower: t * 1000.0,
            upper: (t + 1.0) * 1000.0,
            count: (9e6 / (t + 9.0) / (t + 9.0) / 12.0) as u64,
        });
    }
    bins.push(Bin { lower: 250_000.0, upper: 250_000.0, count: 400 });
    (
        bins,
        vec![mark("p50", 6_000.0), mark("p95", 61_000.0), mark("p99", 154_000.0), mark("p99.9", 250_000.0)],
    )
}

fn draw(bins: &[Bin], marks: &[Mark], mean: f64) -> String {
    let count = bins.iter().fold(0_u64, |sum, bin| sum.saturating_add(bin.count));
    svg(&Picture { title: "Title", subtitle: "n", unit: "EUR", bins, marks, mean, count })
}

/// Draws, and checks what must hold for every input.
fn check(bins: &[Bin], marks: &[Mark], mean: f64) -> String {
    let text = draw(bins, marks, mean);
    assert!(!text.contains("NaN") && !text.contains("inf"), "a number that is none: {bins:?}");
    assert!(text.len() < MAX_SVG_BYTES / 2);
    let tree = resvg::usvg::Tree::from_str(&text, &resvg::usvg::Options::default());
    assert!(tree.is_ok(), "not well-formed for {bins:?}: {tree:?}");
    text
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, b| (hash ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

#[test]
fn bytes_are_frozen() {
    let (bins, marks) = sample();
    let text = draw(&bins, &marks, 15_814.25);
    assert_eq!(format!("{:016x}", fnv1a(text.as_bytes())), "b7e1493f21cc7607");
    let image = png(&text).unwrap();
    assert_eq!(image, png(&text).unwrap());
    assert_eq!(format!("{:016x}", fnv1a(&image)), "77b3eecde3582512");
}

#[test]
fn png_has_twice_the_size_and_shows_text() {
    let image = png(&draw(&[], &[], 0.0)).unwrap();
    assert_eq!(image[16..24], [2400_u32.to_be_bytes(), 1140_u32.to_be_bytes()].concat());
    // Without the bundled font nothing would be drawn, and a white page compresses to almost nothing.
    let blank = png("<svg xmlns='http://www.w3.org/2000/svg' width='1200' height='570'/>").unwrap();
    assert!(image.len() > blank.len() + 4000);
}

#[test]
fn png_refuses_what_is_no_picture() {
    assert!(matches!(png("<svg"), Err(PictureError::Malformed(_))));
    assert!(matches!(png(&" ".repeat(MAX_SVG_BYTES + 1)), Err(PictureError::TooLong(_))));
    let large = "<svg xmlns='http://www.w3.org/2000/svg' width='90000' height='9'/>";
    assert!(matches!(png(large), Err(PictureError::TooLarge(..))));
}

#[test]
fn texts_are_escaped_and_cut() {
    let long = "<script>&\"'\u{1}\u{fffe}".repeat(200);
    let bins = [Bin { lower: 1.0, upper: 9.0, count: 50 }];
    let marks = [mark("<p95>", 3.0)];
    let picture = Picture {
        title: &long,
        subtitle: &long,
        unit: &long,
        bins: &bins,
        marks: &marks,
        mean: 4.0,
        count: 50,
    };
    let text = svg(&picture);
    assert!(
        !text.contains("<script")
            && !text.contains('\u{1}')
            && text.contains("&lt;p95&gt;")
            && text.contains('…')
    );
    assert!(text.len() < 40_000);
    png(&text).unwrap();
}

#[test]
fn a_missing_part_is_told() {
    let bins = [Bin { lower: 0.0, upper: 1.0, count: 1000 }];
    let text =
        svg(&Picture { title: "", subtitle: "", unit: "", bins: &bins, marks: &[], mean: 0.5, count: 1001 });
    assert!(text.contains("The bins hold 1,000 outcomes, the result 1,001."));
}

#[test]
fn degenerate_inputs_are_drawn() {
    let bin = |lower, upper, count| Bin { lower, upper, count };
    let marks = [mark("p50", 0.0), mark("p95", 1e308), mark("p99", f64::NAN), mark("p99", f64::NEG_INFINITY)];
    let cases: [&[Bin]; 16] = [
        &[],
        &[bin(0.0, 0.0, 0)],
        &[bin(0.0, 0.0, 1)],
        &[bin(-0.0, 0.0, 7)],
        &[bin(-5.0, -5.0, 7)],
        &[bin(100.0, 104.0, 1)],
        &[bin(-9.0, -8.0, 5), bin(-8.0, -7.0, 0), bin(-7.0, -1.0, 5)],
        &[bin(-f64::MAX, f64::MAX, u64::MAX)],
        &[bin(-f64::MAX, -1.0, u64::MAX), bin(1.0, f64::MAX, u64::MAX)],
        &[bin(5e-324, 1e-323, 3), bin(1e-300, 2e-300, 3)],
        &[bin(1e15, 1e15 + 1.0, 3), bin(1e15 + 1.0, 1e15 + 2.0, 3)],
        &[bin(f64::NAN, 1.0, 3), bin(0.0, f64::INFINITY, 3), bin(2.0, 1.0, 3)],
        &[bin(0.0, 10.0, 5), bin(5.0, 5.0, 5), bin(2.0, 4.0, 5), bin(10.0, 10.0, 1)],
        &[bin(0.0, 1.0, u64::MAX), bin(1e300, 1e300, 1)],
        &[bin(-1e300, 1e300, 9), bin(1e300, 1e300, 1)],
        &[bin(1e-300, 2e-300, 900), bin(1e300, 1e300, 1)],
    ];
    for bins in cases {
        for mean in [0.0, -1e308, f64::NAN, 3.5] {
            check(bins, &marks, mean);
        }
    }
}

#[test]
fn random_inputs_never_break_it() {
    let seed = 0x5eed_0001;
    println!("seed {seed:#x}");
    let mut random = Random(seed);
    for _ in 0..400 {
        let mut value = || loop {
            let x = f64::from_bits(random.next());
            if x.is_finite() {
                break if random.next() & 1 == 0 { x } else { (random.next() % 2000) as f64 - 1000.0 };
            }
        };
        let bins: Vec<Bin> =
            (0..12).map(|i| Bin { lower: value(), upper: value(), count: 1 << (i * 5) }).collect();
        let marks: Vec<Mark> = ["p5", "p95", "p99", "x"].iter().map(|label| mark(label, value())).collect();
        check(&bins, &marks, value());
    }
}

#[test]
fn many_bins_and_marks_keep_it_small() {
    let bins: Vec<Bin> = (0..200_000_u32)
        .map(|i| Bin { lower: f64::from(i), upper: f64::from(i + 1), count: 1 + u64::from(i % 7) })
        .collect();
    let marks: Vec<Mark> = (0..1000_u32).map(|i| mark(&format!("p{i}"), f64::from(i * 200))).collect();
    assert!(check(&bins, &marks, 1e5).len() < 120_000);
}

#[test]
fn shares_and_quantiles_agree_with_the_bins() {
    let tally = Tally::new(&[
        Bin { lower: 0.0, upper: 0.0, count: 10 },
        Bin { lower: 0.0, upper: 100.0, count: 60 },
        Bin { lower: 50.0, upper: 50.0, count: 20 },
        Bin { lower: 200.0, upper: 200.0, count: 10 },
    ])
    .unwrap();
    let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} is not {b}");
    near(tally.share_above(0.0), 0.9);
    near(tally.share_above(50.0), 0.4);
    near(tally.share_below(50.0), 0.4);
    near(tally.share_above(150.0), 0.1);
    near(tally.quantile(0.05), 0.0);
    near(tally.quantile(0.25), 25.0);
    near(tally.quantile(0.5), 50.0);
    near(tally.quantile(0.95), 200.0);
    let curve = tally.curve();
    assert!(curve.windows(2).all(|w| w[0].0 <= w[1].0 && w[0].1 >= w[1].1), "the curve only falls");
}

#[test]
fn numbers_are_printed_by_fixed_rules() {
    assert_eq!(number::grouped(-1_234_567.891, 2), "−1,234,567.89");
    assert_eq!(number::grouped(-0.001, 2), "0.00");
    assert_eq!(number::grouped(999.5, 0), "1,000");
    assert_eq!(number::percent(0.13), "13.0 %");
    assert_eq!(number::percent(0.9999), "99.9 %");
    assert_eq!(number::percent(1e-9), "< 0.001 %");
    assert_eq!(number::Scale::for_magnitude(2.5e8).axis_title("EUR"), "EUR × 10⁶");
    assert_eq!(number::Scale::for_magnitude(2e-5).axis_title(""), "× 10⁻⁶");
    assert_eq!(number::ticks(-3.0, 9.0, 6.0), (vec![-2.0, 0.0, 2.0, 4.0, 6.0, 8.0], 0));
    assert_eq!(number::ticks(0.0, 1.0, 4.0), (vec![0.0, 0.25, 0.5, 0.75, 1.0], 2));
}

#[test]
fn logarithm_is_close_to_the_platforms() {
    for x in [1e-300, 1e-5, 0.1, 0.3, 0.999_999, 1.0, 2.0, 9.999, 10.0, 1.8e19, f64::MAX] {
        let (ours, theirs) = (number::log10(x), f64::log10(x));
        assert!((ours - theirs).abs() <= 1e-14 * (1.0 + theirs.abs()), "log10 {x}: {ours} {theirs}");
    }
}

#[test]
fn labels_do_not_cover_one_another() {
    let (bins, _) = sample();
    let marks: Vec<Mark> = (1..10_u32).map(|i| mark(&format!("p{i}0"), f64::from(i * i) * 1500.0)).collect();
    let picture =
        Picture { title: "", subtitle: "", unit: "", bins: &bins, marks: &marks, mean: 9000.0, count: 0 };
    let tally = Tally::new(&bins).unwrap();
    let frame = Frame { left: 76.0, right: 590.0, top: 200.0, label_limit: 668.0 };
    let flags = marks::flags(&marks::lines(&picture, &tally), &frame, (0.0, 2e5), |line| line.full(&tally));
    for (i, a) in flags.iter().enumerate() {
        for b in &flags[i + 1..] {
            let (Some(left_a), Some(left_b)) = (a.label_left, b.label_left) else { continue };
            assert!(
                a.row != b.row || left_a + a.width <= left_b || left_b + b.width <= left_a,
                "{a:?} {b:?}"
            );
        }
    }
}

#[test]
fn labels_of_an_axis_stand_apart() {
    let frame = Frame { left: 700.0, right: 1124.0, top: 0.0, label_limit: 1192.0 };
    for (lo, hi) in [(0.0, 9e6), (5_000_000.0, 5_000_003.5), (-9_999_999.25, -9_999_998.0), (0.0, 1.0)] {
        let labels = frame.labels((lo, hi));
        assert!(labels.len() > 1, "{labels:?}");
        for pair in labels.windows(2) {
            let [(left, before), (right, after)] = pair else { continue };
            let between = frame.x(*right, (lo, hi)) - frame.x(*left, (lo, hi));
            let text = (canvas::width(before, 11.0) + canvas::width(after, 11.0)) / 2.0;
            assert!(between >= text + 8.0, "{labels:?}");
        }
    }
}
