//! JSON as it arrives from outside: a tree that keeps what `serde_json::Value` forgets (duplicate keys).
//!
//! Must never recurse deeper than its limit, nor read more bytes than its limit.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::allowance::Allowance;
use crate::limits;
use crate::problem::{ProblemCode, Problems};

/// A JSON value with its keys in the order and number in which they came.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    /// A number written without fraction and exponent.
    Int(i128),
    /// Any other number; finite, since JSON has no other.
    Float(f64),
    Text(String),
    List(Vec<Json>),
    Map(Vec<(String, Json)>),
}

impl Json {
    /// Parses a document of at most [`limits::ENVELOPE_BYTES`] and refuses duplicate keys by their path.
    pub fn parse(bytes: &[u8]) -> Result<Json, Problems> {
        Json::parse_at_most(bytes, limits::ENVELOPE_BYTES)
    }

    /// The same, for a document of at most `limit` bytes.
    pub fn parse_at_most(bytes: &[u8], limit: usize) -> Result<Json, Problems> {
        Json::parse_within(bytes, limit, Allowance::of(bytes.len()), Made::Tree)
    }

    /// Parses a result of at most [`limits::ARTIFACT_BYTES`] as serde's own tree.
    pub fn parse_value(bytes: &[u8]) -> Result<Value, Problems> {
        // It has very many short numbers, and the hub has made it: more of them, the more paths there were.
        let allowance = Allowance::times(limits::RESULT_FACTOR, bytes.len());
        Json::parse_within(bytes, limits::ARTIFACT_BYTES, allowance, Made::Value).map(Json::into_value)
    }

    fn parse_within(bytes: &[u8], limit: usize, allowance: Allowance, made: Made) -> Result<Json, Problems> {
        if bytes.len() > limit {
            let message = format!("{} bytes", bytes.len());
            let cure = format!("at most {limit} bytes are read");
            return Err(Problems::one(ProblemCode::TooLarge, "$", message, cure));
        }
        if bytes.trim_ascii().is_empty() {
            return Err(Problems::one(ProblemCode::JsonSyntax, "$", "there is nothing in it", ONE_OBJECT));
        }
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let allowance = RefCell::new(allowance);
        let seed = Tree { depth: 0, made, allowance: &allowance };
        let json = seed.deserialize(&mut reader).and_then(|json| reader.end().map(|()| json));
        let json = json.map_err(syntax)?;
        let mut problems = Problems::default();
        find_duplicates(&json, "$", &mut problems);
        problems.into_result(json)
    }

    /// As serde's own tree, in which of equal keys the last one counts.
    fn into_value(self) -> Value {
        match self {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::from(value),
            Json::Int(value) => u64::try_from(value)
                .map(Value::from)
                .or_else(|_| i64::try_from(value).map(Value::from))
                .unwrap_or_default(),
            Json::Float(value) => Value::from(value),
            Json::Text(text) => Value::from(text),
            Json::List(items) => items.into_iter().map(Json::into_value).collect(),
            Json::Map(entries) => {
                Value::Object(entries.into_iter().map(|(key, value)| (key, value.into_value())).collect())
            }
        }
    }

    /// What kind of value this is, for a person.
    pub fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "a boolean",
            Json::Int(_) => "an integer",
            Json::Float(_) => "a number",
            Json::Text(_) => "a string",
            Json::List(_) => "a list",
            Json::Map(_) => "an object",
        }
    }
}

/// A value within a larger document, for serde's `deserialize_with`: as deep as an envelope at most, and of no more values
/// than the smallest envelope may have.
pub fn bounded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    let allowance = RefCell::new(Allowance::of(0));
    let seed = Tree { depth: 0, made: Made::Value, allowance: &allowance };
    Ok(seed.deserialize(deserializer)?.into_value())
}

const ONE_OBJECT: &str =
    "the file must be one JSON object (RFC 8259: no comments, no trailing commas, no NaN)";
const TOO_DEEP: &str = "nested too deeply";
const TOO_MANY: &str = "so many values that they take too much memory";

fn syntax(error: serde_json::Error) -> Problems {
    let text = error.to_string();
    if text.starts_with(TOO_DEEP) {
        let cure = format!("nest at most {} levels", limits::JSON_DEPTH);
        return Problems::one(ProblemCode::TooLarge, "$", text, cure);
    }
    if text.starts_with(TOO_MANY) {
        return Problems::one(ProblemCode::TooLarge, "$", text, "leave out values that no field asks for");
    }
    let cure = if text.contains("number out of range") {
        "a number must fit a 64-bit float and be finite"
    } else {
        ONE_OBJECT
    };
    Problems::one(ProblemCode::JsonSyntax, "$", text, cure)
}

fn find_duplicates(json: &Json, path: &str, problems: &mut Problems) {
    match json {
        Json::List(items) => {
            for (i, item) in items.iter().enumerate() {
                find_duplicates(item, &format!("{path}[{i}]"), problems);
            }
        }
        Json::Map(entries) => {
            let mut seen = std::collections::BTreeSet::new();
            for (key, value) in entries {
                let path = child(path, key);
                if !seen.insert(key) {
                    let message = format!("the key \"{}\" stands here twice", printable(key));
                    problems.add(ProblemCode::DuplicateKey, &path, message, "keep one of them");
                }
                find_duplicates(value, &path, problems);
            }
        }
        _ => {}
    }
}

/// The path of `key` below `path`; a key that is no plain word is quoted, and cut if it is long.
pub fn child(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if plain && key.len() <= 64 { format!("{path}.{key}") } else { format!("{path}[\"{}\"]", printable(key)) }
}

/// A foreign text made safe to show: control characters escaped, at most 64 characters.
pub fn printable(text: &str) -> String {
    let mut out: String = text.chars().take(64).flat_map(char::escape_debug).collect();
    if text.chars().nth(64).is_some() {
        out.push('…');
    }
    out
}

/// What is made of a document in the end.
#[derive(Clone, Copy, PartialEq)]
enum Made {
    Tree,
    /// Serde's tree, which takes its own room while ours is still there.
    Value,
}

#[derive(Clone, Copy)]
struct Tree<'a> {
    depth: usize,
    made: Made,
    allowance: &'a RefCell<Allowance>,
}

impl Tree<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        let depth = self.depth + 1;
        if depth > limits::JSON_DEPTH { Err(E::custom(TOO_DEEP)) } else { Ok(Tree { depth, ..self }) }
    }

    /// One more for `list`.
    fn item<T, E: serde::de::Error>(self, list: &[T]) -> Result<(), E> {
        let fits = self.allowance.borrow_mut().item(list.len(), LIST, size_of::<T>());
        let fits = fits && (self.made == Made::Tree || self.allowance.borrow_mut().take(size_of::<Value>()));
        if fits { Ok(()) } else { Err(E::custom(TOO_MANY)) }
    }

    /// One more for `map`.
    fn entry<E: serde::de::Error>(self, map: &[(String, Json)]) -> Result<(), E> {
        self.item(map)?;
        let size = size_of::<(String, Value)>();
        let fits = self.made == Made::Tree || self.allowance.borrow_mut().entry(map.len(), size);
        if fits { Ok(()) } else { Err(E::custom(TOO_MANY)) }
    }
}

/// For how many a list has room at the beginning.
const LIST: usize = 4;

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Json;
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Int(value.into()))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Int(value.into()))
    }
    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Json, E> {
        if value.is_finite() { Ok(Json::Float(value)) } else { Err(E::custom("number out of range")) }
    }
    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let seed = self.deeper()?;
        let mut out = Vec::new();
        while let Some(item) = items.next_element_seed(seed)? {
            self.item(&out)?;
            out.push(item);
        }
        Ok(Json::List(out))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let seed = self.deeper()?;
        let mut out = Vec::new();
        while let Some(key) = entries.next_key::<String>()? {
            self.entry(&out)?;
            out.push((key, entries.next_value_seed(seed)?));
        }
        Ok(Json::Map(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_are_found_where_they_stand() {
        let problems = Json::parse(br#"{"a":[{"b":1,"b":2}],"a":0}"#).unwrap_err();
        let paths: Vec<_> = problems.iter().map(|p| p.path.as_str()).collect();
        assert_eq!(paths, ["$.a[0].b", "$.a"]);
    }

    #[test]
    fn depth_and_length_are_bounded() {
        let deep = "[".repeat(100_000);
        let problems = Json::parse(deep.as_bytes()).unwrap_err();
        assert_eq!(problems.iter().next().unwrap().code, ProblemCode::TooLarge);
        let long = vec![b' '; limits::ENVELOPE_BYTES + 1];
        assert_eq!(Json::parse(&long).unwrap_err().iter().next().unwrap().code, ProblemCode::TooLarge);
    }

    #[test]
    fn numbers_keep_their_bits() {
        assert_eq!(Json::parse(b"9007199254740993").unwrap(), Json::Int(9_007_199_254_740_993));
        assert_eq!(Json::parse(b"1.7976931348623157e308").unwrap(), Json::Float(f64::MAX));
        assert!(Json::parse(b"1e400").is_err());
        assert!(Json::parse(b"NaN").is_err());
        assert!(Json::parse(b"1 2").is_err());
    }
}
