//! Deterministic CBOR (RFC 8949, section 4.2.1) written in one pass: each map's entries are put in order where they lie.
//! What was decoded is first held against the bytes that it came from, without being written: that is enough for whatever
//! has its fields in the order of their keys.

use std::fmt::{self, Display};

use serde::ser::{self, Serialize, Serializer};

/// Why a value has no canonical bytes: its type breaks a rule of the protocol.
#[derive(Debug)]
pub(super) struct Unencodable(String);

impl Display for Unencodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unencodable {}

impl ser::Error for Unencodable {
    fn custom<T: Display>(reason: T) -> Self {
        Unencodable(reason.to_string())
    }
}

/// Writes the encoding of `value` behind what is there.
pub(super) fn append<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), Unencodable> {
    let mut encoder = Encoder::new(Out::Written(std::mem::take(out)));
    value.serialize(&mut encoder)?;
    if let Out::Written(written) = encoder.out {
        *out = written;
    }
    Ok(())
}

/// The same without the bytes of the first byte string that has at least `least` of them; says where they belong. None, and
/// nothing written, if there is none, or it would have to be moved.
pub(super) fn append_around<T: Serialize + ?Sized>(
    value: &T,
    least: usize,
    out: &mut Vec<u8>,
) -> Option<usize> {
    let begun = out.len();
    let mut encoder =
        Encoder::new(Out::Around { written: std::mem::take(out), least, place: None, same: true });
    let encoded = value.serialize(&mut encoder);
    let Out::Around { written, place, same, .. } = encoder.out else { return None };
    *out = written;
    let place = place.filter(|_| same && encoded.is_ok());
    if place.is_none() {
        out.truncate(begun);
    }
    place
}

/// Are these the encoding of `value`? It may be although this says no, if what it holds is not in the order of its keys: then
/// they are to be compared with what is written.
pub(super) fn is_seen_to_be<T: Serialize + ?Sized>(bytes: &[u8], value: &T) -> bool {
    let mut encoder = Encoder::new(Out::Expected { bytes, length: 0, same: true });
    let encoded = value.serialize(&mut encoder);
    encoded.is_ok()
        && matches!(encoder.out, Out::Expected { length, same: true, .. } if length == bytes.len())
}

/// Major types of RFC 8949, section 3.1, in the head's upper three bits.
const UNSIGNED: u8 = 0 << 5;
const NEGATIVE: u8 = 1 << 5;
const BYTES: u8 = 2 << 5;
const TEXT: u8 = 3 << 5;
const ARRAY: u8 = 4 << 5;
const MAP: u8 = 5 << 5;
const FALSE: u8 = 0xf4;
const TRUE: u8 = 0xf5;
const NULL: u8 = 0xf6;

/// Where the bytes go.
enum Out<'a> {
    Written(Vec<u8>),
    /// They are those at the beginning of these, so far, as many as this; no more are looked at once there is a difference.
    Expected {
        bytes: &'a [u8],
        length: usize,
        same: bool,
    },
    /// All but a byte string of at least so many bytes, whose place is this; it is no longer the same if something would have
    /// to be moved.
    Around {
        written: Vec<u8>,
        least: usize,
        place: Option<usize>,
        same: bool,
    },
}

impl Out<'_> {
    fn put(&mut self, more: &[u8]) {
        match self {
            Out::Written(out) | Out::Around { written: out, .. } => out.extend_from_slice(more),
            Out::Expected { bytes, length, same } => {
                *same = *same && bytes[*length..].starts_with(more);
                *length += if *same { more.len() } else { 0 };
            }
        }
    }

    fn so_far(&self) -> &[u8] {
        match self {
            Out::Written(out) | Out::Around { written: out, .. } => out,
            Out::Expected { bytes, length, .. } => &bytes[..*length],
        }
    }

    /// What a byte string holds.
    fn put_string(&mut self, string: &[u8]) {
        match self {
            Out::Around { written, least, place: place @ None, .. } if string.len() >= *least => {
                *place = Some(written.len());
            }
            _ => self.put(string),
        }
    }
}

/// Bytes so far.
pub(super) struct Encoder<'a> {
    out: Out<'a>,
    /// Where the entries of the maps that are open begin, the innermost last.
    starts: Vec<usize>,
    /// Room to put entries in order.
    scratch: Vec<u8>,
}

impl<'a> Encoder<'a> {
    fn new(out: Out<'a>) -> Self {
        Encoder { out, starts: Vec::new(), scratch: Vec::new() }
    }

    fn head(&mut self, major: u8, number: u64) {
        let (bytes, first) = match number {
            0..24 => return self.out.put(&[major | number as u8]),
            24..=0xff => (1, 24),
            0x100..=0xffff => (2, 25),
            0x1_0000..=0xffff_ffff => (4, 26),
            _ => (8, 27),
        };
        self.out.put(&[major | first]);
        self.out.put(&number.to_be_bytes()[8 - bytes..]);
    }

    fn text(&mut self, text: &str) {
        self.head(TEXT, text.len() as u64);
        self.out.put(text.as_bytes());
    }

    /// An array or a map; where its length is not known yet, its head follows at the end.
    fn open(&mut self, major: u8, length: Option<usize>) -> Open<'_, 'a> {
        if let Some(length) = length {
            self.head(major, length as u64);
        }
        let (content, starts) = (self.out.so_far().len(), self.starts.len());
        Open { content, starts, announced: length, major, count: 0, encoder: self }
    }

    /// A map of one entry, whose value follows.
    fn variant(&mut self, name: &str) {
        self.head(MAP, 1);
        self.text(name);
    }

    /// Puts the entries that begin at `starts[from..]` and end with the output in the order of their bytes. A key's encoding
    /// is no prefix of another's, so that is the order of their keys.
    fn sort(&mut self, from: usize) {
        let end = self.out.so_far().len();
        let entry = |i: usize| self.starts[i]..self.starts.get(i + 1).copied().unwrap_or(end);
        let ordered = |i: usize| self.out.so_far()[entry(i)] < self.out.so_far()[entry(i + 1)];
        if !(from..self.starts.len().saturating_sub(1)).all(ordered) {
            match &mut self.out {
                Out::Expected { same, .. } | Out::Around { same, .. } => *same = false,
                Out::Written(out) => {
                    let mut entries: Vec<_> = (from..self.starts.len()).map(entry).collect();
                    entries.sort_unstable_by(|a, b| out[a.clone()].cmp(&out[b.clone()]));
                    make_room(&mut self.scratch, end - self.starts[from], end);
                    entries.into_iter().for_each(|entry| self.scratch.extend_from_slice(&out[entry]));
                    out[self.starts[from]..].copy_from_slice(&self.scratch);
                }
            }
        }
        self.starts.truncate(from);
    }

    /// Puts the head before what began at `content`.
    fn put_before(&mut self, content: usize, major: u8, number: u64) {
        match &mut self.out {
            // It comes after them where what is expected has it before them.
            Out::Expected { same, .. } | Out::Around { same, .. } => *same = false,
            Out::Written(out) => {
                let content = out.split_off(content);
                self.head(major, number);
                self.out.put(&content);
            }
        }
    }
}

/// Empties the scratch, which then holds so many bytes. It is never longer than the output, nor there twice.
fn make_room(scratch: &mut Vec<u8>, bytes: usize, most: usize) {
    scratch.clear();
    let room = scratch.capacity();
    if room < bytes {
        *scratch = Vec::new();
        *scratch = Vec::with_capacity((2 * room).clamp(bytes, most));
    }
}

/// An array or a map that is being written.
pub(super) struct Open<'e, 'a> {
    encoder: &'e mut Encoder<'a>,
    major: u8,
    /// Where what it holds begins; the head stands before it once the length is known.
    content: usize,
    /// How many entries of other maps had begun.
    starts: usize,
    announced: Option<usize>,
    count: usize,
}

impl Open<'_, '_> {
    fn item<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), Unencodable> {
        self.count += 1;
        item.serialize(&mut *self.encoder)
    }

    fn key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Unencodable> {
        self.count += 1;
        let start = self.encoder.out.so_far().len();
        self.encoder.starts.push(start);
        key.serialize(&mut *self.encoder)?;
        match self.encoder.out.so_far().get(start).map(|head| head >> 5) {
            Some(2 | 3) => Ok(()),
            None => Err(ser::Error::custom("it differs from what was expected")),
            _ => Err(ser::Error::custom("every map of the protocol has keys of text or bytes")),
        }
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unencodable> {
        value.serialize(&mut *self.encoder)
    }

    fn close(self) -> Result<(), Unencodable> {
        if self.major == MAP {
            self.encoder.sort(self.starts);
        }
        match self.announced {
            Some(announced) if announced == self.count => {}
            Some(_) => return Err(ser::Error::custom("another number of items than announced")),
            None => self.encoder.put_before(self.content, self.major, self.count as u64),
        }
        Ok(())
    }
}

impl<'e, 'a> Serializer for &'e mut Encoder<'a> {
    type Ok = ();
    type Error = Unencodable;
    type SerializeSeq = Open<'e, 'a>;
    type SerializeTuple = Open<'e, 'a>;
    type SerializeTupleStruct = Open<'e, 'a>;
    type SerializeTupleVariant = Open<'e, 'a>;
    type SerializeMap = Open<'e, 'a>;
    type SerializeStruct = Open<'e, 'a>;
    type SerializeStructVariant = Open<'e, 'a>;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_bool(self, value: bool) -> Result<(), Unencodable> {
        self.out.put(&[if value { TRUE } else { FALSE }]);
        Ok(())
    }

    fn serialize_i8(self, value: i8) -> Result<(), Unencodable> {
        self.serialize_i64(i64::from(value))
    }

    fn serialize_i16(self, value: i16) -> Result<(), Unencodable> {
        self.serialize_i64(i64::from(value))
    }

    fn serialize_i32(self, value: i32) -> Result<(), Unencodable> {
        self.serialize_i64(i64::from(value))
    }

    fn serialize_i64(self, value: i64) -> Result<(), Unencodable> {
        match u64::try_from(value) {
            Ok(value) => self.head(UNSIGNED, value),
            // −1 − n, which is n with all bits turned.
            Err(_) => self.head(NEGATIVE, !value as u64),
        }
        Ok(())
    }

    fn serialize_u8(self, value: u8) -> Result<(), Unencodable> {
        self.serialize_u64(u64::from(value))
    }

    fn serialize_u16(self, value: u16) -> Result<(), Unencodable> {
        self.serialize_u64(u64::from(value))
    }

    fn serialize_u32(self, value: u32) -> Result<(), Unencodable> {
        self.serialize_u64(u64::from(value))
    }

    fn serialize_u64(self, value: u64) -> Result<(), Unencodable> {
        self.head(UNSIGNED, value);
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Result<(), Unencodable> {
        self.serialize_f64(f64::from(value))
    }

    fn serialize_f64(self, _: f64) -> Result<(), Unencodable> {
        Err(ser::Error::custom("floats are encoded as F64, by their bits"))
    }

    fn serialize_char(self, value: char) -> Result<(), Unencodable> {
        self.text(value.encode_utf8(&mut [0; 4]));
        Ok(())
    }

    fn serialize_str(self, value: &str) -> Result<(), Unencodable> {
        self.text(value);
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Unencodable> {
        self.head(BYTES, value.len() as u64);
        self.out.put_string(value);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Unencodable> {
        self.out.put(&[NULL]);
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Unencodable> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Unencodable> {
        self.serialize_none()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Unencodable> {
        self.serialize_none()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, name: &'static str) -> Result<(), Unencodable> {
        self.serialize_str(name)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Unencodable> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        value: &T,
    ) -> Result<(), Unencodable> {
        self.variant(name);
        value.serialize(self)
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Open<'e, 'a>, Unencodable> {
        Ok(self.open(ARRAY, length))
    }

    fn serialize_tuple(self, length: usize) -> Result<Open<'e, 'a>, Unencodable> {
        Ok(self.open(ARRAY, Some(length)))
    }

    fn serialize_tuple_struct(self, _: &'static str, length: usize) -> Result<Open<'e, 'a>, Unencodable> {
        Ok(self.open(ARRAY, Some(length)))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        length: usize,
    ) -> Result<Open<'e, 'a>, Unencodable> {
        self.variant(name);
        Ok(self.open(ARRAY, Some(length)))
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Open<'e, 'a>, Unencodable> {
        Ok(self.open(MAP, length))
    }

    fn serialize_struct(self, _: &'static str, length: usize) -> Result<Open<'e, 'a>, Unencodable> {
        Ok(self.open(MAP, Some(length)))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        length: usize,
    ) -> Result<Open<'e, 'a>, Unencodable> {
        self.variant(name);
        Ok(self.open(MAP, Some(length)))
    }
}

macro_rules! arrays {
    ($($trait:ident $method:ident,)*) => {$(
        impl ser::$trait for Open<'_, '_> {
            type Ok = ();
            type Error = Unencodable;

            fn $method<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), Unencodable> {
                self.item(item)
            }

            fn end(self) -> Result<(), Unencodable> {
                self.close()
            }
        }
    )*};
}

arrays! {
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field,
}

macro_rules! structs {
    ($($trait:ident)*) => {$(
        impl ser::$trait for Open<'_, '_> {
            type Ok = ();
            type Error = Unencodable;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), Unencodable> {
                self.key(name)?;
                self.value(value)
            }

            fn end(self) -> Result<(), Unencodable> {
                self.close()
            }
        }
    )*};
}

structs! { SerializeStruct SerializeStructVariant }

impl ser::SerializeMap for Open<'_, '_> {
    type Ok = ();
    type Error = Unencodable;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Unencodable> {
        self.key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unencodable> {
        self.value(value)
    }

    fn end(self) -> Result<(), Unencodable> {
        self.close()
    }
}
