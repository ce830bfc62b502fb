//! Numbers of shards as an attestation names them. A batch may name hundreds, in a byte or three each, and a record thousands
//! of batches: as words they would take several times the memory of what they came in.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A list of numbers, in CBOR and JSON too. In memory each takes as many bytes as it has groups of seven bits (LEB128: DWARF 5,
/// section 7.6), which is not more than its CBOR below 2⁶³.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ShardList {
    groups: Box<[u8]>,
    len: usize,
}

/// The bits of a group, and the mark that another one follows.
const BITS: u32 = 7;
const MORE: u8 = 1 << BITS;

impl ShardList {
    /// How many.
    pub fn len(&self) -> usize {
        self.len
    }

    /// None?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// In their order.
    pub fn iter(&self) -> impl Iterator<Item = u64> + Clone {
        let mut rest = &self.groups[..];
        let number = move || {
            let (mut number, mut at) = (0, 0);
            while let Some((group, behind)) = rest.split_first() {
                rest = behind;
                number |= u64::from(group & !MORE) << at;
                at += BITS;
                if group & MORE == 0 {
                    return Some(number);
                }
            }
            None
        };
        std::iter::from_fn(number)
    }
}

/// Appends one number.
fn push(groups: &mut Vec<u8>, mut number: u64) {
    while number >= u64::from(MORE) {
        groups.push(number as u8 | MORE);
        number >>= BITS;
    }
    groups.push(number as u8);
}

impl FromIterator<u64> for ShardList {
    fn from_iter<I: IntoIterator<Item = u64>>(numbers: I) -> ShardList {
        let (mut groups, mut len) = (Vec::new(), 0);
        for number in numbers {
            push(&mut groups, number);
            len += 1;
        }
        ShardList { groups: groups.into(), len }
    }
}

impl From<Vec<u64>> for ShardList {
    fn from(numbers: Vec<u64>) -> ShardList {
        numbers.into_iter().collect()
    }
}

impl fmt::Debug for ShardList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Serialize for ShardList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeSeq;
        let mut list = serializer.serialize_seq(Some(self.len))?;
        self.iter().try_for_each(|number| list.serialize_element(&number))?;
        list.end()
    }
}

impl<'de> Deserialize<'de> for ShardList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ShardList, D::Error> {
        deserializer.deserialize_seq(Numbers)
    }
}

struct Numbers;

impl<'de> Visitor<'de> for Numbers {
    type Value = ShardList;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of shards")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<ShardList, A::Error> {
        let (mut groups, mut len) = (Vec::new(), 0);
        while list.next_element_seed(Number(&mut groups))?.is_some() {
            len += 1;
        }
        Ok(ShardList { groups: groups.into(), len })
    }
}

/// The next number, appended. The decoder charges nothing for it: the list takes about as much as it came in, and three times
/// that for a moment while it grows.
struct Number<'a>(&'a mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for Number<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        push(self.0, u64::deserialize(deserializer)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canon;

    const NUMBERS: [u64; 10] = [0, 23, 24, 127, 128, 255, 256, 1 << 20, 1 << 32, u64::MAX];

    #[test]
    fn it_is_the_list_it_was_made_of() {
        let list: ShardList = NUMBERS.into_iter().collect();
        assert_eq!(list.iter().collect::<Vec<_>>(), NUMBERS);
        assert_eq!((list.len(), list.is_empty(), ShardList::default().is_empty()), (10, false, true));
        assert_eq!(format!("{:?}", ShardList::from(vec![7, 3])), "[7, 3]");
    }

    #[test]
    fn it_travels_as_a_list_of_numbers() {
        let (list, numbers) = (ShardList::from(NUMBERS.to_vec()), NUMBERS.to_vec());
        let bytes = canon::to_bytes(&list);
        assert_eq!(bytes, canon::to_bytes(&numbers));
        assert_eq!(canon::from_bytes::<ShardList>(&bytes, 100), Ok(list.clone()));
        assert_eq!(canon::to_json(&list), canon::to_json(&numbers));
        for other in [canon::to_bytes(&"text"), canon::to_bytes(&vec![-1]), canon::to_bytes(&vec!["1"])] {
            assert!(canon::from_bytes::<ShardList>(&other, 100).is_err());
        }
    }

    #[test]
    fn it_takes_no_more_memory_than_what_it_came_in() {
        for number in NUMBERS.into_iter().filter(|number| *number < 1 << 63) {
            let list = ShardList::from(vec![number; 50]);
            assert!(list.groups.len() < canon::to_bytes(&list).len(), "{number}");
        }
    }
}
