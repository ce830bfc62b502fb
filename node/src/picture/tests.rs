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
    svg(&Picture { title: "Title", subtitle: "n", unit: "EUR", bins, marks, unmarked: &[], mean, count })
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
    assert_eq!(format!("{:016x}", fnv1a(text.as_bytes())), "fdb07b350ed95830");
    let image = png(&text).unwrap();
    assert_eq!(image, png(&text).unwrap());
    assert_eq!(format!("{:016x}", fnv1a(&image)), "2d2e06a199cefc00");
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
        unmarked: &[],
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
    let text = svg(&Picture {
        title: "",
        subtitle: "",
        unit: "",
        bins: &bins,
        marks: &[],
        unmarked: &[],
        mean: 0.5,
        count: 1001,
    });
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

/// No label covers another or leaves the panel, and no pole goes through one.
fn check_labels(flags: &[flags::Flag], frame: &Frame) {
    for (i, a) in flags.iter().enumerate() {
        let Some(left) = a.label_left else { continue };
        assert!(left >= frame.left && left + a.width <= frame.right + 6.0, "{a:?} leaves the panel");
        for b in &flags[i + 1..] {
            assert!(flags::stand_clear(a, b), "{a:?} {b:?}");
        }
    }
}

fn marks_only(marks: &[Mark]) -> Picture<'_> {
    Picture { title: "", subtitle: "", unit: "", bins: &[], marks, unmarked: &[], mean: f64::NAN, count: 0 }
}

#[test]
fn labels_stay_apart_and_in_the_panel() {
    let (bins, _) = sample();
    let tally = Tally::new(&bins).unwrap();
    let frame = Frame { left: 76.0, right: 590.0, top: 200.0 };
    let mut random = Random(0x1abe1);
    for _ in 0..300 {
        let (many, window) = (1 + random.next() % 20, (0.0, (1 + random.next() % 250) as f64 * 1000.0));
        let marks: Vec<Mark> =
            (0..many).map(|i| mark(&format!("p{i}"), (random.next() % 251_000) as f64)).collect();
        let lines = marks::with_atoms(&marks::lines(&marks_only(&marks), &tally), &tally);
        check_labels(&flags::flags(&lines, &frame, window, |line| line.full(&tally)), &frame);
    }
}

#[test]
fn labels_of_the_tail_go_last() {
    let (bins, _) = sample();
    let tally = Tally::new(&bins).unwrap();
    let frame = Frame { left: 76.0, right: 590.0, top: 200.0 };
    for step in [1.0, 500.0] {
        let value = |i: u32| 250_000.0 - step * f64::from(31 - i);
        let marks: Vec<Mark> = (0..32_u32).map(|i| mark(&format!("p{}", 68 + i), value(i))).collect();
        let lines = marks::lines(&marks_only(&marks), &tally);
        let flags = flags::flags(&lines, &frame, (0.0, 2.5e5), |line| line.full(&tally));
        assert_eq!(flags.len(), 32, "every level has its line");
        for flag in flags {
            let tail = ["p97 ", "p98 ", "p99 "].iter().any(|label| flag.text.starts_with(label));
            assert!(!tail || flag.label_left.is_some(), "{flag:?}");
        }
        check_labels(&flags::flags(&lines, &frame, (0.0, 2.5e5), |line| line.full(&tally)), &frame);
    }
}

#[test]
fn labels_of_an_axis_stand_apart() {
    let frame = Frame { left: 700.0, right: 1124.0, top: 0.0 };
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

/// Outcomes whose spread is small against their level, in bins 64 wide, with the order statistics of some levels.
fn narrow(count: usize, levels: &[f64]) -> (Vec<Bin>, Vec<Mark>) {
    let mut random = Random(0x5eed_0002);
    let mut uniform = || (random.next() >> 11) as f64 / (1_u64 << 53) as f64;
    let mut values: Vec<f64> =
        (0..count).map(|_| 1357.0 + 40.0 * ((0..12).map(|_| uniform()).sum::<f64>() - 6.0)).collect();
    values.sort_by(f64::total_cmp);
    let bin = |i: u32| {
        let (lower, upper) = (f64::from(i) * 64.0, f64::from(i + 1) * 64.0);
        Bin { lower, upper, count: values.iter().filter(|v| **v >= lower && **v < upper).count() as u64 }
    };
    let at = |level: &f64| values[known::rank(*level, count as u128) as usize - 1];
    ((0..40).map(bin).collect(), levels.iter().map(|level| mark(&format!("p{level}"), at(level))).collect())
}

fn tally(bins: &[Bin], marks: &[Mark]) -> Tally {
    let count = bins.iter().map(|bin| bin.count).sum();
    Tally::of(&Picture { bins, count, ..marks_only(marks) }).unwrap()
}

#[test]
fn the_curve_goes_through_the_exact_percentiles() {
    let levels = [50.0, 75.0, 90.0, 95.0, 99.0, 99.5];
    for count in [100, 9_999] {
        let (bins, marks) = narrow(count, &levels);
        let (cut, whole) = (tally(&bins, &marks), Tally::new(&bins).unwrap());
        for (mark, level) in marks.iter().zip(levels) {
            let beyond = count as u128 - known::rank(level, count as u128);
            let error = cut.share_above(mark.value) - beyond as f64 / count as f64;
            assert!(error.abs() < 1e-12, "{mark:?} of {count}: {error}");
        }
        for bin in &bins {
            let moved = cut.share_above(bin.upper) - whole.share_above(bin.upper);
            assert!(moved.abs() < 1e-12, "{bin:?} of {count} got or lost {moved}");
        }
        assert!(cut.curve().windows(2).all(|w| w[0].0 <= w[1].0 && w[0].1 >= w[1].1));
    }
}

#[test]
fn bars_begin_and_end_where_the_share_is_known() {
    for count in [100, 9_999] {
        let (bins, marks) = narrow(count, &[50.0, 90.0, 99.0]);
        let tally = tally(&bins, &marks);
        let density = density::Density::new(&tally);
        let known = |edge: f64| edge % 64.0 == 0.0 || marks.iter().any(|mark| mark.value == edge);
        for bar in &density.bars {
            // A bar that ends where the largest outcomes do may be drawn beyond them.
            assert!(known(bar.lo) && (known(bar.hi) || tally.share_above(bar.hi) == 0.0), "{bar:?}");
        }
        let all: f64 = density.bars.iter().map(|bar| bar.share).sum();
        let shown = 1.0 - tally.share_below(density.lo) - tally.share_above(density.hi);
        assert!((all - shown).abs() < 0.01, "{all} {shown}");
    }
}

#[test]
fn few_outcomes_are_put_into_few_bars() {
    let bins: Vec<Bin> = (0..100_u32)
        .map(|i| Bin { lower: f64::from(i), upper: f64::from(i + 1), count: 1 + u64::from(i % 2) })
        .collect();
    let few = density::Density::new(&tally(&bins, &[])).bars.len();
    let many: Vec<Bin> = bins.iter().map(|bin| Bin { count: bin.count * 100_000, ..*bin }).collect();
    let fine = density::Density::new(&tally(&many, &[])).bars.len();
    assert!((5..=12).contains(&few) && fine == 100, "{few} {fine}");
}

#[test]
fn percentiles_that_contradict_the_bins_are_left_out() {
    let bin = |lower, upper, count| Bin { lower, upper, count };
    let bins = [bin(0.0, 10.0, 40), bin(10.0, 20.0, 60)];
    let cut = |marks: &[Mark]| tally(&bins, marks).pieces.len();
    assert_eq!(cut(&[mark("p50", 15.0), mark("p90", 18.0)]), 4);
    assert_eq!(cut(&[mark("p50", 5.0)]), 2, "only 40 % are below 10");
    assert_eq!(cut(&[mark("p30", 15.0)]), 2, "40 % are below 10");
    assert_eq!(cut(&[mark("p50", 15.0), mark("p45", 16.0)]), 3, "a higher level has no lower value");
    assert_eq!(cut(&[mark("p50", f64::NAN), mark("p50", 1e301), mark("p50", -3.0), mark("x", 15.0)]), 2);
    let marks = [mark("p50", 15.0)];
    let other = Picture { bins: &bins, count: 101, ..marks_only(&marks) };
    assert_eq!(Tally::of(&other).unwrap().pieces.len(), 2, "percentiles of other outcomes");
    let unmarked = Picture { bins: &bins, count: 100, unmarked: &marks, ..marks_only(&[]) };
    assert_eq!(Tally::of(&unmarked).unwrap().pieces.len(), 3);
}

#[test]
fn equal_percentiles_are_a_step_of_the_curve() {
    let bins = [Bin { lower: 0.0, upper: 100.0, count: 1000 }];
    let tally = tally(&bins, &[mark("p20", 50.0), mark("p90", 50.0)]);
    let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} is not {b}");
    near(tally.share_below(50.0), 0.2);
    near(tally.share_above(50.0), 0.1);
    near(tally.quantile(0.5), 50.0);
    assert!(tally.atoms.is_empty(), "more outcomes than these may have the value");
}

#[test]
fn every_dot_lies_in_the_panel_and_every_percentile_is_on_show() {
    for count in [2, 100, 9_999] {
        let (bins, marks) = narrow(count, &[50.0, 95.0, 99.0, 99.999]);
        let text = draw(&bins, &marks, 1357.0);
        let dots = text.lines().filter(|line| line.starts_with("<circle"));
        for dot in dots {
            let y = dot.split("cy=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
            assert!(y.parse::<f64>().unwrap() <= PLOT_BOTTOM, "{dot}");
        }
        assert_eq!(text.matches(">p99.999 ").count(), 2, "one in each panel");
    }
}

#[test]
fn no_density_is_above_all_of_it() {
    let bins = [Bin { lower: 311_296.0, upper: 327_680.0, count: 50_000 }];
    let text = draw(&bins, &[mark("p50", 317_282.0), mark("p99", 317_300.0)], 317_282.0);
    let shares = text.lines().filter(|line| line.contains("text-anchor=\"end\"") && line.contains(" %<"));
    let y = |line: &str| line.split(" y=\"").nth(1)?.split('"').next()?.parse::<f64>().ok();
    let heights: Vec<f64> = shares.filter_map(y).collect();
    assert!(heights.windows(2).all(|pair| pair[0] - pair[1] > 12.0), "{heights:?}");
}

#[test]
fn a_tail_beyond_nothing_but_zeros_is_shown() {
    let bins = [
        Bin { lower: 0.0, upper: 0.0, count: 99_900 },
        Bin { lower: 20_000.0, upper: 250_000.0, count: 100 },
    ];
    let tally = tally(&bins, &[]);
    let curve = exceedance::Exceedance::new(&tally, density::Density::new(&tally).lo, &[]);
    assert!(curve.hi > 200_000.0, "{}", curve.hi);
}

#[test]
fn a_stretch_of_which_nothing_is_known_does_not_fill_the_panel() {
    let bins = [Bin { lower: 311_296.0, upper: 327_680.0, count: 50_000 }];
    let marks = [mark("p1", 316_775.0), mark("p50", 317_282.0), mark("p99.9", 317_956.0)];
    let picture = Picture { bins: &bins, count: 50_000, ..marks_only(&marks) };
    let tally = Tally::of(&picture).unwrap();
    let lo = density::Density::new(&tally).lo;
    let curve = exceedance::Exceedance::new(&tally, lo, &marks::lines(&picture, &tally));
    assert!(curve.hi > 317_956.0 && curve.hi < 320_000.0, "{}", curve.hi);
}
