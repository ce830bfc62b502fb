//! Arguments as they are written on the command line, KEY=VALUE: whether a value is of the kind that its key takes, and
//! how one that is would be written.
//!
//! Ranges, and whatever lies within a value, are the reader's of the job to judge.

use forgemesh_kernel::registry;
use forgemesh_protocol::json::printable;
use forgemesh_protocol::op::Op;
use forgemesh_protocol::schema::Kind;
use serde_json::{Value, json};

use super::error::CliError;

/// Characters of a value that an error repeats.
const SHOWN: usize = 40;

/// JSON if it is JSON, else a text.
pub fn value_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
}

/// Is `written` of the kind that an argument of this op takes? What is not known here is somebody else's to judge.
pub fn check(op: &Value, key: &str, written: &str) -> Result<(), CliError> {
    let Some(profile) =
        serde_json::from_value::<Op>(op.clone()).ok().and_then(|op| registry::require(&op).ok())
    else {
        return Ok(());
    };
    let value = value_of(written);
    match profile.schema().fields.iter().find(|field| field.name == key) {
        Some(field) if !fits(&field.kind, &value) => {
            let (found, kind) = (found(&value), &field.kind);
            let shown: String = printable(written).chars().take(SHOWN).collect();
            Err(CliError::Usage(format!(
                "{key}={shown} gives {found}, but {key} is {}; write for example {}",
                kind.describe(),
                written_out(key, &example(kind, written))
            )))
        }
        _ => Ok(()),
    }
}

fn fits(kind: &Kind, value: &Value) -> bool {
    match kind {
        Kind::Bool => value.is_boolean(),
        Kind::Int { .. } | Kind::Float { .. } => value.is_number(),
        Kind::Text { .. } | Kind::Word { .. } => value.is_string(),
        Kind::List { .. } => value.is_array(),
        Kind::Object(_) | Kind::Open => value.is_object(),
    }
}

fn found(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A value of that kind, made of what was written where that is possible.
fn example(kind: &Kind, written: &str) -> Value {
    match kind {
        Kind::Bool => Value::Bool(true),
        Kind::Int { min, max } => json!(1_000.clamp(*min, *max)),
        Kind::Float { min, max, .. } if *min < 1.0 && *max >= 1.0 => json!(1.0),
        Kind::Float { min, max, .. } => json!(min + (max - min) / 2.0),
        Kind::Text { .. } => Value::from(written),
        Kind::Word { words, .. } => json!(words.first()),
        Kind::List { of, min, .. } => {
            let whole = serde_json::from_str::<Vec<Value>>(&format!("[{written}]"));
            match whole {
                Ok(items) if !items.is_empty() && items.iter().all(|item| fits(of, item)) => json!(items),
                _ => std::iter::repeat_n(example(of, ""), (*min).clamp(1, 3)).collect(),
            }
        }
        Kind::Object(schema) => {
            let first = schema.fields.iter().take(1);
            first.map(|field| (field.name.to_owned(), example(&field.kind, ""))).collect()
        }
        Kind::Open => json!({}),
    }
}

/// As a shell takes it.
pub fn written_out(key: &str, value: &Value) -> String {
    match value {
        // A text that is JSON, too, would be read as that.
        Value::String(text) if value_of(text) == *value => format!("{key}={text}"),
        Value::Bool(_) | Value::Number(_) => format!("{key}={value}"),
        _ => format!("'{key}={value}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(op: &str, key: &str, written: &str) -> String {
        let op = json!(op.parse::<Op>().expect("an op"));
        check(&op, key, written).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_value_of_another_kind_is_named_with_its_key_and_one_that_fits() {
        let (reserve, insurance) = ("mc@1/reserve.v1", "mc@1/insurance.v1");
        for (op, key, written, words) in [
            (
                insurance,
                "iterations",
                "many",
                ["iterations=many gives a text", "write for example iterations=1000"],
            ),
            (insurance, "cat_prob", "[0.1]", ["cat_prob is a number from 0 to 1", "cat_prob=1"]),
            (reserve, "levels", "0.5,0.99", ["levels is a list", "'levels=[0.5,0.99]'"]),
            (reserve, "process", "1", ["gives a number, but process is one of", "process="]),
            (reserve, "convergence", "0.01", ["convergence is an object with", "'convergence={\""]),
        ] {
            let text = refused(op, key, written);
            assert!(words.iter().all(|word| text.contains(word)), "{key}: {text}");
        }
        // What fits, or is not known here, is the reader's.
        for (op, key, written) in [
            (insurance, "iterations", "-5"),
            (insurance, "iteration", "many"),
            ("mc@9/later.v9", "iterations", "many"),
        ] {
            assert_eq!(refused(op, key, written), "", "{key}");
        }
    }

    #[test]
    fn what_is_written_out_is_read_as_it_was() {
        for value in [json!("gamma"), json!("1"), json!(1.5), json!([1, 2]), json!({"a": 1})] {
            let text = written_out("key", &value);
            let (_, read) = text.trim_matches('\'').split_once('=').expect("a pair");
            assert_eq!(value_of(read), value);
        }
    }
}
