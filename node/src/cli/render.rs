//! A result for people: figures as text, the distribution as a picture.

use forgemesh_consensus::job::JobRecord;
use forgemesh_protocol::envelope::{BillingMode, Verify};
use forgemesh_protocol::json::printable;
use serde_json::Value;

use super::view::JobView;
use super::{checks, hint};
use crate::picture::{self, Bin, Mark, Picture};
use crate::stop;

/// What people are told of any state that is not final.
pub const UNFINISHED: &str = "unfinished";

/// A number with thousands separators and as many decimals as are worth reading.
pub fn number(value: f64) -> String {
    let magnitude = value.abs();
    let decimals = match magnitude {
        m if m >= 1_000.0 => 2,
        m if m >= 1.0 => 4,
        _ => 6,
    };
    let text = format!("{magnitude:.decimals$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut grouped = String::new();
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let sign = if value < 0.0 { "-" } else { "" };
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { format!("{sign}{grouped}") } else { format!("{sign}{grouped}.{fraction}") }
}

/// A level as people write it: p99.5. All of it: levels are multiples of a billionth.
fn level(level: f64) -> String {
    let percent = format!("{:.7}", level * 100.0);
    format!("p{}", percent.trim_end_matches('0').trim_end_matches('.'))
}

/// The result in a few lines.
pub fn text(view: &JobView, receipt: &str) -> String {
    let finished = &view.file.finished;
    let record = &finished.record;
    let mut lines = vec![format!("{}  {}", record.contract.op, record.state.as_str())];
    let mut row = |name: &str, value: String| lines.push(format!("  {name:<28}{value:>20}"));
    if let Some(result) = view.result() {
        figures(&result["output"], &mut row);
        let work = &result["work"];
        row("iterations", number(work["iterations"].as_f64().unwrap_or(0.0)));
        let excluded: u64 =
            work["excluded"].as_object().map_or(0, |map| map.values().filter_map(Value::as_u64).sum());
        if excluded > 0 {
            row("excluded paths", number(excluded as f64));
        }
        let convergence = serde_json::from_value(result["convergence"].clone()).ok();
        let work = finished.result.as_ref().map(|result| &result.work);
        if let Some(told) = work.and_then(|work| stop::describe(&record.plan, work, convergence.as_ref())) {
            lines.push(format!("  {told}"));
        }
        for name in ["result_hash", "replay_key"] {
            lines.push(format!("  {name:<13} {}", result[name].as_str().unwrap_or_default()));
        }
    } else if let Some(failure) = &finished.failure {
        lines.push(format!("  {failure}"));
    }
    lines.push(format!("  {:<13} {}", "verification", checks::claim(record)));
    if record.terms.ctx.billing.mode == BillingMode::Test {
        lines.push("  billing       test: settles at zero".to_owned());
    }
    lines.push(format!("  {:<13} {receipt}", "receipt"));
    if record.terms.policy.verify == Verify::None {
        lines.push("  note          use --verify spotcheck or full to have leaves executed again".to_owned());
    }
    lines.join("\n")
}

/// A job that is not final, in a few lines. If no node runs on the data folder, nothing is done for it.
pub fn unfinished(record: &JobRecord, runs: bool) -> String {
    let (run, short) = (record.run(), record.id.0.short());
    let row = |name: &str, value: String| format!("  {name:<13} {value}");
    let mut lines = vec![format!("{}  {UNFINISHED}", record.contract.op)];
    lines.extend(record.terms.ctx.job_id.as_ref().map(|name| row("ctx.job_id", printable(name))));
    let (done, all, stage) = (record.attested.len(), run.stage.shards(), run.number);
    lines.push(row("shards", format!("{done} of {all} of stage {stage}")));
    lines.push(row("contract_hash", record.plan.contract.to_string()));
    if runs {
        lines.push(row("state", record.state.as_str().to_owned()));
        lines.push(row("waits for", hint::command(&format!("job why-pending {short}"))));
    } else {
        lines.push(row("finish it", format!("{} (or run the same file again)", hint::command("job resume"))));
    }
    lines.push(row("give it up", hint::command(&format!("job cancel {short}"))));
    lines.join("\n")
}

fn figures(output: &Value, row: &mut impl FnMut(&str, String)) {
    let Some(map) = output.as_object() else { return };
    // In the order in which people read them; whatever else an output has comes after.
    let first = ["chain_ladder_reserve", "mean", "prediction_error", "std", "std_error"];
    let scalar = |value: &Value| value.as_f64().map(number).or_else(|| value.as_str().map(str::to_owned));
    for name in first {
        if let Some(text) = map.get(name).and_then(scalar) {
            row(&name.replace('_', " "), text);
        }
    }
    for point in map.get("percentiles").and_then(Value::as_array).into_iter().flatten() {
        if let (Some(at), Some(value)) = (point["level"].as_f64(), point["value"].as_f64()) {
            row(&level(at), number(value));
        }
    }
    for (name, value) in map {
        if let Some(text) =
            scalar(value).filter(|_| !first.contains(&name.as_str()) && name != "scale_exponent")
        {
            row(&name.replace('_', " "), text);
        }
    }
    for point in map.get("tail_exposure_surface").and_then(Value::as_array).into_iter().flatten() {
        if let (Some(at), Some(var), Some(tvar)) =
            (point["level"].as_f64(), point["var"].as_f64(), point["tvar"].as_f64())
        {
            row(&format!("{} VaR, TVaR", level(at)), format!("{}  {}", number(var), number(tvar)));
        }
    }
}

/// The distribution and its tail as SVG; none if the output has no distribution.
pub fn picture(view: &JobView, result: &Value) -> Option<String> {
    let output = &result["output"];
    let bins = output["loss_distribution"].as_array()?;
    let bin = |bin: &Value| {
        Some(Bin {
            lower: bin["lower"].as_f64()?,
            upper: bin["upper"].as_f64()?,
            count: bin["count"].as_u64()?,
        })
    };
    let mut bins: Vec<Bin> = bins.iter().map(bin).collect::<Option<_>>()?;
    let count = bins.iter().map(|bin| bin.count).sum();
    split_cap(view, output, &mut bins, count);
    let mean = output["mean"].as_f64()?;
    if is_constant(output) {
        bins = vec![Bin { lower: mean, upper: mean, count }];
    }
    let record = &view.file.finished.record;
    let hash = view.file.finished.result.as_ref()?.result_hash.short();
    let title = format!("{}: distribution of the loss", record.contract.op);
    let subtitle = format!("{} paths, result {hash}, job {}", number(count as f64), record.id.0.short());
    let (marks, unmarked) = (marks(output), percentiles(output, "tail_exposure_surface", "var"));
    let picture = Picture {
        title: &title,
        subtitle: &subtitle,
        unit: "loss",
        bins: &bins,
        marks: &marks,
        unmarked: &unmarked,
        mean,
        count,
    };
    Some(picture::svg(&picture))
}

/// A list of levels with their values.
fn percentiles(output: &Value, list: &str, value: &str) -> Vec<Mark> {
    let points = output[list].as_array().into_iter().flatten();
    let mark =
        |point: &Value| Some(Mark { label: level(point["level"].as_f64()?), value: point[value].as_f64()? });
    points.filter_map(mark).collect()
}

fn marks(output: &Value) -> Vec<Mark> {
    let listed = percentiles(output, "percentiles", "value").into_iter();
    let named = ["p50_loss", "p95_loss", "p99_loss"].into_iter().filter_map(|name| {
        Some(Mark { label: name.trim_end_matches("_loss").to_owned(), value: output[name].as_f64()? })
    });
    listed.chain(named).collect()
}

/// Has every path the same outcome? It is one point then, and no class of the distribution.
fn is_constant(output: &Value) -> bool {
    ["std", "prediction_error"].iter().any(|name| output[*name].as_f64() == Some(0.0))
}

/// Years that reached the aggregate limit are one point of the distribution, not a class of it.
fn split_cap(view: &JobView, output: &Value, bins: &mut Vec<Bin>, count: u64) {
    let Some(share) = output["aggregate_limit_probability"].as_f64() else { return };
    let job = forgemesh_kernel::job::Job::of_contract(view.file.finished.record.contract.clone());
    let Some(cap) = job.ok().and_then(|job| job.args_json()["aggregate_limit"].as_f64()) else { return };
    split_last(bins, cap, (share * count as f64).round() as u64);
}

/// `hits` outcomes of the last bin are at `cap`, and none beyond it.
fn split_last(bins: &mut Vec<Bin>, cap: f64, hits: u64) {
    if let Some(last) = bins.last_mut().filter(|last| hits > 0 && last.count >= hits && cap >= last.lower) {
        last.count -= hits;
        if cap < last.upper {
            last.upper = cap;
        }
        bins.push(Bin { lower: cap, upper: cap, count: hits });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_written_in_full() {
        let levels = [0.995, 0.1, 0.999_999_999, 1e-9];
        assert_eq!(levels.map(level), ["p99.5", "p10", "p99.9999999", "p0.0000001"]);
    }

    #[test]
    fn nothing_lies_beyond_the_cap() {
        let mut bins = vec![Bin { lower: 240.0, upper: 256.0, count: 10 }];
        split_last(&mut bins, 250.0, 4);
        let (below, cap) =
            (Bin { lower: 240.0, upper: 250.0, count: 6 }, Bin { lower: 250.0, upper: 250.0, count: 4 });
        assert_eq!(bins, [below, cap]);
        split_last(&mut bins, 250.0, 5);
        assert_eq!(bins, [below, cap], "more than the bin holds");
    }
}
