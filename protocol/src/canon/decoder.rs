//! Reads what the encoder writes, and keeps account of the memory to which that leads. Items are read by ciborium's lower
//! half; its upper half keeps no such account.
//!
//! Definite lengths alone; no floats, no tags. Must never go deeper than its limit, nor make more of an input than its
//! allowance, whatever the input claims of itself. Other spellings of a number are let through: who calls compares the
//! bytes.

use std::fmt::{self, Display, Write};

use ciborium_ll::{Header, simple};
use serde::de::value::StrDeserializer;
use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use crate::allowance::Allowance;
use crate::limits::{CANON_DEPTH, DECODED_AHEAD, DECODED_REASON_BYTES};

/// Why bytes are not the encoding of a value.
#[derive(Debug)]
pub(super) struct Undecodable(String);

impl Undecodable {
    fn new(reason: &str) -> Self {
        Undecodable(reason.to_owned())
    }
}

impl Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Undecodable {}

impl de::Error for Undecodable {
    /// A reason may quote the input: only its beginning is kept.
    fn custom<T: Display>(reason: T) -> Self {
        let mut beginning = Beginning(String::new());
        // It ends with an error where the room does.
        let _ = write!(beginning, "{reason}");
        Undecodable(beginning.0)
    }
}

struct Beginning(String);

impl Write for Beginning {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = DECODED_REASON_BYTES - self.0.len();
        let end = text.floor_char_boundary(room);
        self.0.push_str(&text[..end]);
        if end < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

/// The bytes that are left.
pub(super) struct Decoder<'de> {
    rest: &'de [u8],
    /// Arrays and maps that are open.
    depth: usize,
    allowance: Allowance,
}

/// What stands at the beginning of the rest; of arrays and maps only the head.
enum Item<'de> {
    Unsigned(u64),
    Negative(i64),
    Bytes(&'de [u8]),
    Text(&'de str),
    Array(usize),
    Map(usize),
    Bool(bool),
    Null,
}

const NULL: u8 = 0xf6;

/// The value at the beginning of `bytes`. Whether anything follows it, and whether it is spelled canonically, is the
/// caller's to find out: for that as much again as `bytes`, twice, is left of the allowance.
pub(super) fn decode<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, Undecodable> {
    let mut decoder = Decoder { rest: bytes, depth: 0, allowance: Allowance::of(bytes.len()) };
    let value = T::deserialize(&mut decoder)?;
    decoder.take(bytes.len().saturating_mul(2))?;
    Ok(value)
}

impl<'de> Decoder<'de> {
    fn take(&mut self, bytes: usize) -> Result<(), Undecodable> {
        within(self.allowance.take(bytes))
    }

    fn split(&mut self, length: u64) -> Result<&'de [u8], Undecodable> {
        let split = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let (head, rest) = split.ok_or_else(|| Undecodable::new("it ends within an item"))?;
        self.rest = rest;
        Ok(head)
    }

    /// A count of items of which each takes `least` bytes at least.
    fn count(&self, count: u64, least: u64) -> Result<usize, Undecodable> {
        let fits = count.checked_mul(least).is_some_and(|bytes| bytes <= self.rest.len() as u64);
        if fits { Ok(count as usize) } else { Err(Undecodable::new("it has fewer items than it says")) }
    }

    fn item(&mut self) -> Result<Item<'de>, Undecodable> {
        let mut heads = ciborium_ll::Decoder::from(self.rest);
        let head = heads.pull().map_err(|_| Undecodable::new("it ends within an item, or has none"))?;
        self.split(heads.offset() as u64)?;
        Ok(match head {
            Header::Positive(number) => Item::Unsigned(number),
            Header::Negative(number) => {
                let number = i64::try_from(number);
                Item::Negative(!number.map_err(|_| Undecodable::new("a number out of bounds"))?)
            }
            Header::Bytes(Some(length)) => Item::Bytes(self.split(length as u64)?),
            Header::Text(Some(length)) => {
                let text = std::str::from_utf8(self.split(length as u64)?);
                Item::Text(text.map_err(|_| Undecodable::new("a text that is not UTF-8"))?)
            }
            Header::Array(Some(length)) => Item::Array(self.count(length as u64, 1)?),
            Header::Map(Some(length)) => Item::Map(self.count(length as u64, 2)?),
            Header::Simple(simple::FALSE) => Item::Bool(false),
            Header::Simple(simple::TRUE) => Item::Bool(true),
            Header::Simple(simple::NULL) => Item::Null,
            Header::Bytes(None) | Header::Text(None) | Header::Array(None) | Header::Map(None) => {
                return Err(Undecodable::new("a length that is not definite"));
            }
            _ => return Err(Undecodable::new("an item of a kind that is not used")),
        })
    }

    fn text(&mut self) -> Result<&'de str, Undecodable> {
        match self.item()? {
            Item::Text(text) => Ok(text),
            _ => Err(Undecodable::new("a name is a text")),
        }
    }

    /// Reads what an array or a map of `left` items or entries holds, to its end.
    fn inside<T>(
        &mut self,
        left: usize,
        is_tree: bool,
        read: impl FnOnce(&mut Inside<'_, 'de>) -> Result<T, Undecodable>,
    ) -> Result<T, Undecodable> {
        if self.depth >= CANON_DEPTH {
            return Err(Undecodable::new("nested too deeply"));
        }
        self.depth += 1;
        let mut inside = Inside { left, first: left.min(DECODED_AHEAD), count: 0, is_tree, decoder: self };
        let value = read(&mut inside)?;
        if inside.left > 0 {
            return Err(Undecodable::new("it has more items than expected"));
        }
        self.depth -= 1;
        Ok(value)
    }

    /// Shows what stands here; bytes and texts are copied. `is_tree`: a map is kept as such; a structure's fields lie
    /// within it.
    fn show<V: Visitor<'de>>(&mut self, visitor: V, is_tree: bool) -> Result<V::Value, Undecodable> {
        match self.item()? {
            Item::Unsigned(number) => visitor.visit_u64(number),
            Item::Negative(number) => visitor.visit_i64(number),
            Item::Bytes(bytes) => {
                self.take(bytes.len())?;
                visitor.visit_borrowed_bytes(bytes)
            }
            Item::Text(text) => {
                self.take(text.len())?;
                visitor.visit_borrowed_str(text)
            }
            Item::Array(length) => self.inside(length, false, |items| visitor.visit_seq(items)),
            Item::Map(length) => self.inside(length, is_tree, |entries| visitor.visit_map(entries)),
            Item::Bool(value) => visitor.visit_bool(value),
            Item::Null => visitor.visit_unit(),
        }
    }
}

fn within(allowed: bool) -> Result<(), Undecodable> {
    if allowed { Ok(()) } else { Err(Undecodable::new("so many short items that they take too much memory")) }
}

impl<'de> Deserializer<'de> for &mut Decoder<'de> {
    type Error = Undecodable;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Undecodable> {
        self.show(visitor, true)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Undecodable> {
        self.show(visitor, false)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Undecodable> {
        if self.rest.first() == Some(&NULL) {
            self.split(1)?;
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Undecodable> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Undecodable> {
        visitor.visit_borrowed_str(self.text()?)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Undecodable> {
        match self.item()? {
            Item::Text(name) => visitor.visit_enum(IntoDeserializer::<Undecodable>::into_deserializer(name)),
            Item::Map(1) => self.inside(0, false, |inside| visitor.visit_enum(Variant(inside.decoder))),
            _ => Err(Undecodable::new("a choice is a name, or a map with one")),
        }
    }

    /// For who looks at them and keeps no copy: digests.
    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Undecodable> {
        match self.item()? {
            Item::Bytes(bytes) => visitor.visit_borrowed_bytes(bytes),
            _ => Err(Undecodable::new("other than the bytes that belong here")),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string byte_buf unit unit_struct seq tuple
        tuple_struct map ignored_any
    }
}

/// An array or a map that is being read.
struct Inside<'a, 'de> {
    decoder: &'a mut Decoder<'de>,
    left: usize,
    /// For how many there is room at the beginning.
    first: usize,
    count: usize,
    is_tree: bool,
}

impl<'de> SeqAccess<'de> for &mut Inside<'_, 'de> {
    type Error = Undecodable;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Undecodable> {
        if self.left == 0 {
            return Ok(None);
        }
        within(self.decoder.allowance.item(self.count, self.first, size_of::<T::Value>()))?;
        self.left -= 1;
        self.count += 1;
        seed.deserialize(&mut *self.decoder).map(Some)
    }

    /// For so many the list makes room at once.
    fn size_hint(&self) -> Option<usize> {
        Some(self.left.min(DECODED_AHEAD))
    }
}

impl<'de> MapAccess<'de> for &mut Inside<'_, 'de> {
    type Error = Undecodable;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Undecodable> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        if self.is_tree {
            within(self.decoder.allowance.entry(self.count, size_of::<K::Value>()))?;
        }
        seed.deserialize(&mut *self.decoder).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Undecodable> {
        if self.is_tree {
            within(self.decoder.allowance.entry(self.count, size_of::<V::Value>()))?;
        }
        self.count += 1;
        seed.deserialize(&mut *self.decoder)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left.min(DECODED_AHEAD))
    }
}

/// A choice: its name, then its value.
struct Variant<'a, 'de>(&'a mut Decoder<'de>);

impl<'a, 'de> EnumAccess<'de> for Variant<'a, 'de> {
    type Error = Undecodable;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Undecodable> {
        let name: StrDeserializer<'_, Undecodable> = self.0.text()?.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, 'de> {
    type Error = Undecodable;

    fn unit_variant(self) -> Result<(), Undecodable> {
        Err(Undecodable::new("this choice is a name alone"))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Undecodable> {
        seed.deserialize(self.0)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Undecodable> {
        self.0.show(visitor, false)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Undecodable> {
        self.0.show(visitor, false)
    }
}
