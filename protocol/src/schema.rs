//! One declaration of a JSON object serves four purposes: reading it strictly, making it canonical, describing
//! it as JSON Schema (draft 2020-12), and telling a person what would have been valid.

use serde_json::{Map, Value, json};

use crate::json::{Json, child, printable};
use crate::problem::{ProblemCode, Problems};

/// An object and its fields.
#[derive(Debug)]
pub struct Schema {
    /// What the object is, in a line.
    pub doc: &'static str,
    /// In the order in which they are shown.
    pub fields: &'static [Field],
}

/// A named field.
#[derive(Debug)]
pub struct Field {
    pub name: &'static str,
    /// What it means, with its unit.
    pub doc: &'static str,
    pub kind: Kind,
    pub need: Need,
}

/// What happens if a field is absent.
#[derive(Debug)]
pub enum Need {
    /// Its absence is a problem.
    Required,
    /// It is filled in; the JSON text is frozen with the profile.
    Default(&'static str),
    /// It stays absent.
    Optional,
}

/// The values a field may have.
#[derive(Debug)]
pub enum Kind {
    Bool,
    /// Whole numbers; integral floats (`1e6`, `5.0`) are accepted.
    Int {
        min: u64,
        max: u64,
    },
    /// Finite numbers from `min` to `max`, both included unless `above` excludes `min`.
    Float {
        min: f64,
        max: f64,
        above: bool,
    },
    /// Text of at most `max` bytes, made of what `pattern` says.
    Text {
        max: usize,
        pattern: Pattern,
    },
    /// One of the words; an alias stands for the word beside it.
    Word {
        words: &'static [&'static str],
        aliases: &'static [(&'static str, &'static str)],
    },
    List {
        of: &'static Kind,
        min: usize,
        max: usize,
    },
    Object(&'static Schema),
    /// Any object; somebody else reads it, and here stands nothing for it.
    Open,
}

/// What a text may be made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Anything without control characters.
    Printable,
    /// `a-z`, `0-9`, `.`, `_`, `-`; at least one.
    Name,
}

impl Schema {
    /// Reads `json` as this object: every problem noted with its path, defaults filled in, numbers normalised
    /// (−0 is 0, integral floats become integers where an integer belongs). The value returned is canonical
    /// only if no problem was added.
    pub fn read(&self, json: &Json, path: &str, problems: &mut Problems) -> Map<String, Value> {
        let mut out = Map::new();
        let Json::Map(entries) = json else {
            let cure = format!("expected an object with {}", self.names());
            problems.add(ProblemCode::WrongType, path, format!("found {}", json.kind()), cure);
            return out;
        };
        for (key, _) in entries {
            if !self.fields.iter().any(|field| field.name == key) {
                let message = format!("no field is called \"{}\"", printable(key));
                let cure = format!("the fields here are {}", self.names());
                problems.add(ProblemCode::UnknownField, child(path, key), message, cure);
            }
        }
        for field in self.fields {
            let path = child(path, field.name);
            let found = entries.iter().find(|(key, _)| key == field.name).map(|(_, value)| value);
            let value = match (found, &field.need) {
                (Some(found), _) => field.kind.read(found, &path, problems),
                (None, Need::Default(text)) => Some(field.default_value(text, problems)),
                (None, Need::Optional) => None,
                (None, Need::Required) => {
                    let cure = format!("add \"{}\": {}", field.name, field.kind.describe());
                    problems.add(ProblemCode::MissingField, path, "required, but absent", cure);
                    None
                }
            };
            if let Some(value) = value {
                out.insert(field.name.to_owned(), value);
            }
        }
        out
    }

    /// The JSON Schema of this object.
    pub fn json_schema(&self) -> Value {
        let mut properties = Map::new();
        for field in self.fields {
            let mut property = field.kind.json_schema();
            property["description"] = Value::from(field.doc);
            if let Need::Default(text) = field.need {
                property["default"] = serde_json::from_str(text).unwrap_or(Value::Null);
            }
            properties.insert(field.name.to_owned(), property);
        }
        let required: Vec<_> =
            self.fields.iter().filter(|f| matches!(f.need, Need::Required)).map(|f| f.name).collect();
        json!({
            "type": "object", "description": self.doc, "properties": properties,
            "required": required, "additionalProperties": false,
        })
    }

    fn names(&self) -> String {
        if self.fields.is_empty() {
            return "no fields".to_owned();
        }
        self.fields.iter().map(|field| field.name).collect::<Vec<_>>().join(", ")
    }
}

impl Field {
    /// A field by its parts.
    pub const fn new(name: &'static str, doc: &'static str, kind: Kind, need: Need) -> Field {
        Field { name, doc, kind, need }
    }

    /// The default goes through the same reader as a given value: it can't be out of its own range.
    fn default_value(&self, text: &'static str, problems: &mut Problems) -> Value {
        let json =
            Json::parse(text.as_bytes()).expect("invariant: defaults are valid JSON, tested per schema");
        self.kind
            .read(&json, self.name, problems)
            .expect("invariant: defaults are in range, tested per schema")
    }
}

impl Kind {
    fn read(&self, json: &Json, path: &str, problems: &mut Problems) -> Option<Value> {
        let (code, message) = match (self, json) {
            (Kind::Bool, Json::Bool(value)) => return Some(Value::from(*value)),
            (Kind::Int { min, max }, Json::Int(_) | Json::Float(_)) => match integral(json) {
                Some(value) if (i128::from(*min)..=i128::from(*max)).contains(&value) => {
                    return u64::try_from(value).ok().map(Value::from);
                }
                Some(value) => (ProblemCode::OutOfRange, format!("found {value}")),
                None if is_vast(json) => (ProblemCode::OutOfRange, format!("found {}", number(json))),
                None => (ProblemCode::WrongType, format!("found {}, not a whole number", number(json))),
            },
            (Kind::Float { min, max, above }, Json::Int(_) | Json::Float(_)) => {
                let value = float(json);
                let low_enough = if *above { value > *min } else { value >= *min };
                if low_enough && value <= *max {
                    // Adding +0 turns −0 into +0 and changes nothing else.
                    return Some(Value::from(value + 0.0));
                }
                (ProblemCode::OutOfRange, format!("found {}", number(json)))
            }
            (Kind::Text { max, pattern }, Json::Text(text)) => {
                if text.len() > *max {
                    (ProblemCode::OutOfRange, format!("found {} bytes", text.len()))
                } else if !pattern.fits(text) {
                    (ProblemCode::InvalidValue, format!("found \"{}\"", printable(text)))
                } else {
                    return Some(Value::from(text.as_str()));
                }
            }
            (Kind::Word { words, aliases }, Json::Text(text)) => {
                let word =
                    aliases.iter().find(|(alias, _)| alias == text).map_or(text.as_str(), |(_, word)| word);
                if words.contains(&word) {
                    return Some(Value::from(word));
                }
                (ProblemCode::InvalidValue, format!("found \"{}\"", printable(text)))
            }
            (Kind::List { of, min, max }, Json::List(items)) => {
                if (*min..=*max).contains(&items.len()) {
                    return read_list(of, items, path, problems);
                }
                (ProblemCode::OutOfRange, format!("found {} items", items.len()))
            }
            (Kind::Object(schema), _) => return Some(Value::Object(schema.read(json, path, problems))),
            (Kind::Open, Json::Map(_)) => return Some(Value::Null),
            _ => (ProblemCode::WrongType, format!("found {}", json.kind())),
        };
        problems.add(code, path, message, format!("expected {}", self.describe()));
        None
    }

    /// What would be valid, for a person.
    pub fn describe(&self) -> String {
        match self {
            Kind::Bool => "true or false".to_owned(),
            Kind::Int { min, max } => format!("a whole number from {min} to {max}"),
            Kind::Float { min, max, above: false } => format!("a number from {min} to {max}"),
            Kind::Float { min, max, above: true } => format!("a number above {min}, at most {max}"),
            Kind::Text { max, pattern: Pattern::Printable } => {
                format!("a string of at most {max} bytes without control characters")
            }
            Kind::Text { max, pattern: Pattern::Name } => {
                format!("1 to {max} characters out of a-z, 0-9, '.', '_' and '-'")
            }
            Kind::Word { words, aliases } => {
                let all = words.iter().chain(aliases.iter().map(|(alias, _)| alias));
                format!("one of {}", all.map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", "))
            }
            Kind::List { of, min, max } => format!("a list of {min} to {max} items, each {}", of.describe()),
            Kind::Object(schema) => format!("an object with {}", schema.names()),
            Kind::Open => "an object".to_owned(),
        }
    }

    fn json_schema(&self) -> Value {
        match self {
            Kind::Bool => json!({"type": "boolean"}),
            Kind::Int { min, max } => json!({"type": "integer", "minimum": min, "maximum": max}),
            Kind::Float { min, max, above } => {
                let key = if *above { "exclusiveMinimum" } else { "minimum" };
                json!({"type": "number", key: min, "maximum": max})
            }
            Kind::Text { max, pattern: Pattern::Printable } => json!({"type": "string", "maxLength": max}),
            Kind::Text { max, pattern: Pattern::Name } => {
                json!({"type": "string", "pattern": format!("^[a-z0-9._-]{{1,{max}}}$")})
            }
            Kind::Word { words, aliases } => {
                let all: Vec<_> = words.iter().chain(aliases.iter().map(|(alias, _)| alias)).collect();
                json!({"enum": all})
            }
            Kind::List { of, min, max } => {
                json!({"type": "array", "items": of.json_schema(), "minItems": min, "maxItems": max})
            }
            Kind::Object(schema) => schema.json_schema(),
            Kind::Open => json!({"type": "object"}),
        }
    }
}

impl Pattern {
    fn fits(self, text: &str) -> bool {
        match self {
            Pattern::Printable => !text.chars().any(char::is_control),
            Pattern::Name => {
                let name =
                    |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-');
                !text.is_empty() && text.bytes().all(name)
            }
        }
    }
}

fn read_list(of: &Kind, items: &[Json], path: &str, problems: &mut Problems) -> Option<Value> {
    let read = |(i, item)| of.read(item, &format!("{path}[{i}]"), problems);
    // Not a short circuit: every bad item of the list is named.
    let values: Vec<_> = items.iter().enumerate().map(read).collect();
    values.into_iter().collect::<Option<Vec<_>>>().map(Value::Array)
}

fn integral(json: &Json) -> Option<i128> {
    match json {
        Json::Int(value) => Some(*value),
        Json::Float(value) if *value == value.trunc() && value.abs() < VAST => Some(*value as i128),
        _ => None,
    }
}

/// About 2^63: beyond it a float's neighbours are thousands apart, and no integer field goes there.
const VAST: f64 = 9.2e18;

/// Every float beyond that is a whole number, only too large.
fn is_vast(json: &Json) -> bool {
    float(json).abs() >= VAST
}

fn float(json: &Json) -> f64 {
    match json {
        Json::Int(value) => *value as f64,
        Json::Float(value) => *value,
        _ => f64::NAN,
    }
}

fn number(json: &Json) -> String {
    match json {
        Json::Int(value) => value.to_string(),
        // An exponent where three hundred digits would stand.
        _ if float(json) != 0.0 && !(1e-6..1e17).contains(&float(json).abs()) => format!("{:e}", float(json)),
        _ => float(json).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_that_is_too_large_is_out_of_range_and_short() {
        let kind = Kind::Int { min: 0, max: 100 };
        for (text, code, message) in [
            ("1e300", ProblemCode::OutOfRange, "found 1e300"),
            ("-1e300", ProblemCode::OutOfRange, "found -1e300"),
            ("18446744073709551616", ProblemCode::OutOfRange, "found 1.8446744073709552e19"),
            ("101.0", ProblemCode::OutOfRange, "found 101"),
            ("0.5", ProblemCode::WrongType, "found 0.5, not a whole number"),
            ("1e-300", ProblemCode::WrongType, "found 1e-300, not a whole number"),
        ] {
            let mut problems = Problems::default();
            let json = Json::parse(text.as_bytes()).unwrap();
            assert_eq!(kind.read(&json, "$", &mut problems), None);
            let problem = problems.iter().next().unwrap();
            assert_eq!((problem.code, problem.message.as_str()), (code, message), "{text}");
        }
    }
}
