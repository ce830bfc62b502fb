//! Canonical bytes: deterministic CBOR (RFC 8949, section 4.2) for what is hashed or signed, canonical
//! JSON (RFC 8785) for what a stranger reads.
//!
//! Owns both encoders and the one strict decoder. Must never let a CBOR float through (floats travel as
//! their bits, see [`F64`]), nor accept bytes that differ from their own re-encoding.

mod decoder;
mod encoder;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why bytes were not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CanonError {
    /// Longer than the place they arrived at allows.
    #[error("{length} bytes, but at most {limit} are allowed here; send less")]
    TooLong { length: usize, limit: usize },
    /// Not the expected shape.
    #[error("not a valid encoding: {reason}; it may be truncated, damaged or of another version")]
    Malformed { reason: String },
    /// The right content in the wrong form.
    #[error("differs from its canonical form at byte {offset}; encode it canonically")]
    NotCanonical { offset: usize },
}

/// Is a count nought? Fields that came later are left out then, so that the bytes of what was there before stay the same.
pub fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The canonical CBOR of `value`: definite lengths, shortest integers, map keys sorted by their bytes.
pub fn to_bytes<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    append(value, &mut bytes);
    bytes
}

/// The same, behind what is there already.
pub fn append<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    encoder::append(value, out).expect("invariant: protocol types have keys of text or bytes and no floats");
}

/// The same without the bytes of the first byte string that has at least `least` of them, which need not be copied then; says
/// at which byte of `out` they belong. None, and nothing written, if there is none, or the fields before it are not in the
/// order of their keys.
pub fn append_around<T: Serialize + ?Sized>(value: &T, least: usize, out: &mut Vec<u8>) -> Option<usize> {
    encoder::append_around(value, least, out)
}

/// Decodes at most `limit` bytes and accepts them only if they are their own canonical form. Takes at most
/// [`crate::limits::DECODED_FACTOR`] bytes of memory for each of them, and
/// [`crate::limits::DECODED_BYTES`] besides.
pub fn from_bytes<T: Serialize + DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, CanonError> {
    if bytes.len() > limit {
        return Err(CanonError::TooLong { length: bytes.len(), limit });
    }
    let value: T =
        decoder::decode(bytes).map_err(|error| CanonError::Malformed { reason: error.to_string() })?;
    if encoder::is_seen_to_be(bytes, &value) {
        return Ok(value);
    }
    let mut again = Vec::with_capacity(bytes.len());
    append(&value, &mut again);
    match first_difference(&again, bytes) {
        None => Ok(value),
        Some(offset) => Err(CanonError::NotCanonical { offset }),
    }
}

/// The canonical JSON of `value` (RFC 8785): sorted keys, no white space, shortest round-trip numbers.
pub fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json_canonicalizer::to_vec(value)
        .expect("invariant: protocol types have text keys and finite numbers")
}

/// Where two byte strings first differ; the shorter one's end counts as a difference.
pub fn first_difference(a: &[u8], b: &[u8]) -> Option<usize> {
    // Most are equal, and that is quickly seen.
    if a == b {
        return None;
    }
    let common = a.iter().zip(b).position(|(x, y)| x != y);
    common.or_else(|| (a.len() != b.len()).then_some(a.len().min(b.len())))
}

/// A finite f64: its bits as an unsigned integer in CBOR, a number in JSON. −0 becomes +0.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct F64(f64);

impl F64 {
    /// Wraps a finite number; `None` for an infinity or a NaN.
    pub fn new(value: f64) -> Option<F64> {
        value.is_finite().then_some(F64(value + 0.0))
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Serialize for F64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_f64(self.0)
        } else {
            serializer.serialize_u64(self.0.to_bits())
        }
    }
}

impl<'de> Deserialize<'de> for F64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = if deserializer.is_human_readable() {
            f64::deserialize(deserializer)?
        } else {
            f64::from_bits(u64::deserialize(deserializer)?)
        };
        F64::new(value).ok_or_else(|| serde::de::Error::custom("a number must be finite"))
    }
}

/// Bytes as a CBOR byte string, and as base64 text in JSON.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Bytes(pub Vec<u8>);

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bytes({})", self.0.len())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&crate::base64::encode(&self.0))
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            crate::base64::decode(&text).map(Bytes).map_err(serde::de::Error::custom)
        } else {
            serde_bytes::ByteBuf::deserialize(deserializer).map(|bytes| Bytes(bytes.into_vec()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ciborium::Value;

    use super::*;

    /// The same by another way: a tree whose maps are sorted by the lengths and the bytes of their keys, and ciborium's
    /// writer.
    fn by_tree<T: Serialize>(value: &T) -> Vec<u8> {
        let mut tree = Value::serialized(value).unwrap();
        sort_maps(&mut tree);
        let mut out = Vec::new();
        ciborium::into_writer(&tree, &mut out).unwrap();
        out
    }

    fn sort_maps(value: &mut Value) {
        match value {
            Value::Map(entries) => {
                for (_, entry) in entries.iter_mut() {
                    sort_maps(entry);
                }
                // The head of a string grows with its length and byte strings come before text, so sorting by
                // encoded bytes (RFC 8949, section 4.2.1) is this.
                entries.sort_by_cached_key(|(key, _)| match key {
                    Value::Bytes(bytes) => (2, bytes.len(), bytes.clone()),
                    Value::Text(text) => (3, text.len(), text.clone().into_bytes()),
                    _ => panic!("invariant: every map of the protocol has keys of text or bytes"),
                });
            }
            Value::Array(items) => items.iter_mut().for_each(sort_maps),
            Value::Float(_) => panic!("invariant: floats are encoded as F64, by their bits"),
            _ => {}
        }
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        long_name: u64,
        b: F64,
        a: Bytes,
    }

    fn sample() -> Sample {
        Sample { long_name: 300, b: F64::new(-0.0).unwrap(), a: Bytes(vec![1, 2]) }
    }

    #[test]
    fn keys_are_sorted_floats_are_bits_and_bytes_are_bytes() {
        let bytes = to_bytes(&sample());
        assert_eq!(bytes, b"\xa3aa\x42\x01\x02ab\x00ilong_name\x19\x01\x2c");
        assert_eq!(from_bytes::<Sample>(&bytes, 100), Ok(sample()));
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct InOrder {
        a: Bytes,
        b: BTreeMap<String, Option<i64>>,
        #[serde(default, skip_serializing_if = "is_zero")]
        later: u64,
    }

    /// A struct whose fields are in the order of their keys, as that of every large message is, need not be written again.
    #[test]
    fn what_was_decoded_is_held_against_its_bytes_as_they_are() {
        let b = BTreeMap::from([("y".to_owned(), Some(1 << 40))]);
        let ordered = InOrder { a: Bytes(vec![9; 300]), b, later: 70_000 };
        let bytes = to_bytes(&ordered);
        assert!(encoder::is_seen_to_be(&bytes, &ordered));
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert!(!encoder::is_seen_to_be(&other, &ordered), "another byte at {at}");
            assert!(!encoder::is_seen_to_be(&bytes[..at], &ordered), "the first {at}");
        }
        assert!(!encoder::is_seen_to_be(&[&bytes[..], &[0]].concat(), &ordered), "one more");
        // "long" comes before "y" in the map and behind it in the bytes, and `Sample` has its fields in no order.
        assert!(!encoder::is_seen_to_be(&to_bytes(&sample()), &sample()));
        assert_eq!(from_bytes(&to_bytes(&sample()), 100), Ok(sample()));
        let of_two = BTreeMap::from([("long".to_owned(), 1_u8), ("y".to_owned(), 2)]);
        assert!(!encoder::is_seen_to_be(&to_bytes(&of_two), &of_two));
        assert_eq!(from_bytes(&to_bytes(&of_two), 100), Ok(of_two));
    }

    #[test]
    fn long_messages_need_not_be_written_again() {
        use crate::hash::Hash;
        use crate::id::JobId;
        use crate::wire::Message;

        let bytes = Bytes(vec![1; 70_000]);
        for message in [
            Message::Pieced { bytes: bytes.clone(), index: 1, artifact: Hash::ZERO },
            Message::Blob { bytes: bytes.clone() },
            Message::Book { file: bytes.clone() },
            Message::Raft { bytes },
        ] {
            assert!(encoder::is_seen_to_be(&to_bytes(&message), &message), "{message:?}");
        }
        let openings = vec![Bytes(vec![1; 70_000])];
        let opened = Message::Opened { job: JobId(Hash::ZERO), attestation: Hash::ZERO, openings };
        assert_eq!(from_bytes(&to_bytes(&opened), 1 << 20), Ok(opened));
    }

    #[test]
    fn a_long_string_need_not_be_copied() {
        let with = |length: usize| {
            let b = BTreeMap::from([("y".to_owned(), Some(1 << 40))]);
            InOrder { a: Bytes(vec![9; length]), b, later: 70_000 }
        };
        for (length, least) in [(300, 300), (70_000, 1), (1, 1)] {
            let (value, mut out) = (with(length), vec![5; 3]);
            let place = append_around(&value, least, &mut out).unwrap();
            out.splice(place..place, value.a.0.iter().copied());
            assert_eq!(out, [vec![5; 3], to_bytes(&value)].concat(), "{length} of at least {least}");
        }
        let mut out = vec![5; 3];
        assert_eq!(append_around(&with(299), 300, &mut out), None, "it is too short");
        assert_eq!(append_around(&sample(), 1, &mut out), None, "it would have to be moved");
        assert_eq!(out, [5; 3]);
        // Of two the second one is written.
        let two = vec![Bytes(vec![1; 10]), Bytes(vec![2; 10])];
        let place = append_around(&two, 5, &mut out).unwrap();
        out.splice(place..place, [1; 10]);
        assert_eq!(out[3..], to_bytes(&two));
    }

    #[test]
    fn every_other_spelling_is_refused() {
        let bytes = to_bytes(&sample());
        let with = |at: usize, new: &[u8], drop: usize| {
            let mut changed = bytes[..at].to_vec();
            changed.extend_from_slice(new);
            changed.extend_from_slice(&bytes[at + drop..]);
            from_bytes::<Sample>(&changed, 100)
        };
        assert!(
            matches!(with(bytes.len(), b"\x00", 0), Err(CanonError::NotCanonical { .. })),
            "trailing byte"
        );
        assert!(matches!(with(8, b"\x18\x00", 1), Err(CanonError::NotCanonical { .. })), "long integer");
        assert!(matches!(with(0, b"\xbf", 1), Err(CanonError::Malformed { .. })), "indefinite map, no end");
        assert!(matches!(from_bytes::<Sample>(&bytes, 3), Err(CanonError::TooLong { .. })));
        for cut in 0..bytes.len() {
            assert!(from_bytes::<Sample>(&bytes[..cut], 100).is_err(), "truncated at {cut}");
        }
    }

    #[test]
    fn what_takes_much_memory_must_be_long() {
        let read = |count: usize, length: usize| {
            let items = vec![Bytes(vec![7; length]); count];
            from_bytes::<Vec<Bytes>>(&to_bytes(&items), 1 << 24).map(|read| read == items)
        };
        assert_eq!((read(10_000, 0), read(100_000, 40)), (Ok(true), Ok(true)));
        assert!(matches!(read(1 << 20, 0), Err(CanonError::Malformed { .. })));
        let deep = [b"\x81".repeat(crate::limits::CANON_DEPTH + 1), vec![0xf6]].concat();
        assert!(matches!(from_bytes::<Any>(&deep, 100), Err(CanonError::Malformed { .. })));
    }

    #[test]
    fn a_nan_is_not_a_number_of_ours() {
        let mut bytes = b"\xa3aa\x40ab".to_vec();
        bytes.extend_from_slice(b"\x1b\x7f\xf8\x00\x00\x00\x00\x00\x00ilong_name\x00");
        assert!(matches!(from_bytes::<Sample>(&bytes, 100), Err(CanonError::Malformed { .. })));
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Any {
        Unit,
        Newtype(Box<Any>),
        Tuple(u8, i16, char),
        Struct {
            zz: Option<u64>,
            a: (),
            #[serde(default, skip_serializing_if = "Option::is_none")]
            left_out: Option<bool>,
            b: (bool, i64),
        },
        Seq(Vec<Any>),
        Map(BTreeMap<String, Any>),
        Keyed(BTreeMap<Bytes, String>),
        Json(serde_json::Value),
    }

    /// splitmix64.
    fn draw(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn any(state: &mut u64, depth: u32) -> Any {
        let number = |state: &mut u64| draw(state) >> (draw(state) % 64);
        let text = |state: &mut u64| "é".repeat((draw(state) % 40) as usize) + &draw(state).to_string();
        let few = |state: &mut u64| (0..draw(state) % 5).map(|_| ()).collect::<Vec<()>>();
        let kind = if depth == 0 { draw(state) % 3 } else { draw(state) % 8 };
        match kind {
            0 => Any::Unit,
            1 => Any::Tuple(number(state) as u8, number(state) as i16, '\u{1f600}'),
            2 => Any::Struct {
                zz: (draw(state).is_multiple_of(2)).then(|| number(state)),
                a: (),
                left_out: (draw(state).is_multiple_of(2)).then_some(true),
                b: (draw(state).is_multiple_of(2), number(state) as i64),
            },
            3 => Any::Newtype(Box::new(any(state, depth - 1))),
            4 => Any::Seq(few(state).into_iter().map(|()| any(state, depth - 1)).collect()),
            5 => Any::Map(few(state).into_iter().map(|()| (text(state), any(state, depth - 1))).collect()),
            6 => Any::Keyed(
                few(state).into_iter().map(|()| (Bytes(text(state).into_bytes()), text(state))).collect(),
            ),
            _ => Any::Json(
                serde_json::json!({ text(state): [number(state), -(number(state) as i32 as i64)], "": null }),
            ),
        }
    }

    #[test]
    fn the_encoder_writes_what_a_sorted_tree_does() {
        for seed in 0..20_000 {
            let mut state = seed;
            let value = any(&mut state, 5);
            assert_eq!(to_bytes(&value), by_tree(&value), "seed {seed}: {value:?}");
            let mut behind = vec![0xff; 5];
            append(&value, &mut behind);
            assert_eq!(behind, [vec![0xff; 5], to_bytes(&value)].concat(), "seed {seed}: {value:?}");
        }
        for number in [0, 23, 24, 255, 256, 65_535, 65_536, u64::from(u32::MAX), 1 << 32, u64::MAX] {
            assert_eq!(to_bytes(&number), by_tree(&number), "{number}");
            let negative = (number as i64).wrapping_neg();
            assert_eq!(to_bytes(&negative), by_tree(&negative), "{negative}");
        }
    }

    #[test]
    #[should_panic(expected = "floats are encoded as F64")]
    fn a_float_is_not_encoded() {
        to_bytes(&0.5);
    }

    #[test]
    #[should_panic(expected = "keys of text or bytes")]
    fn a_key_is_no_number() {
        to_bytes(&BTreeMap::from([(1, 2)]));
    }
}
