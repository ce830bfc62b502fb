//! Where the items of a CBOR text lie. Looser than the decoder: it has to find its way in what is already damaged.

/// An item with all that it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    pub start: usize,
    /// Behind its head.
    pub inside: usize,
    pub end: usize,
    /// 0 to 7, as in RFC 8949.
    pub major: u8,
    pub argument: u64,
}

/// Deeper than this it does not look.
const DEPTH: usize = 64;

/// All items, each before those that it holds; those up to the first that is damaged.
pub fn items(bytes: &[u8]) -> Vec<Item> {
    let mut found = Vec::new();
    walk(bytes, 0, 0, &mut found);
    found
}

/// Reads the item at `start` and says where it ends.
fn walk(bytes: &[u8], start: usize, depth: usize, found: &mut Vec<Item>) -> Option<usize> {
    let first = *bytes.get(start)?;
    let width = match first & 31 {
        0..=23 => 0,
        width @ 24..=27 => 1 << (width - 24),
        _ => return None,
    };
    let inside = start + 1 + width;
    let read = bytes.get(start + 1..inside)?;
    let argument = match width {
        0 => u64::from(first & 31),
        _ => read.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
    };
    let (major, at) = (first >> 5, found.len());
    found.push(Item { start, inside, end: inside, major, argument });
    let within = match major {
        2 | 3 => {
            let end = inside.checked_add(usize::try_from(argument).ok()?)?;
            found[at].end = (end <= bytes.len()).then_some(end)?;
            return Some(end);
        }
        4 => argument,
        5 => argument.checked_mul(2)?,
        6 => 1,
        _ => 0,
    };
    let mut end = inside;
    for _ in 0..within {
        if depth == DEPTH {
            return None;
        }
        end = walk(bytes, end, depth + 1, found)?;
    }
    found[at].end = end;
    Some(end)
}

/// The shortest head of this kind.
pub fn head(major: u8, argument: u64) -> Vec<u8> {
    let kind = major << 5;
    match argument {
        0..24 => vec![kind | argument as u8],
        24..=0xff => vec![kind | 24, argument as u8],
        0x100..=0xffff => [&[kind | 25][..], &(argument as u16).to_be_bytes()].concat(),
        0x1_0000..=0xffff_ffff => [&[kind | 26][..], &(argument as u32).to_be_bytes()].concat(),
        _ => [&[kind | 27][..], &argument.to_be_bytes()].concat(),
    }
}

#[test]
fn items_are_found_where_they_lie() {
    // {"a": [1, 300], "b": h'0102'}
    let bytes = b"\xa2aa\x82\x01\x19\x01\x2cab\x42\x01\x02";
    let found = items(bytes);
    let spans: Vec<(u8, &[u8])> =
        found.iter().map(|item| (item.major, &bytes[item.start..item.end])).collect();
    let expected: [(u8, &[u8]); 7] = [
        (5, bytes),
        (3, b"aa"),
        (4, b"\x82\x01\x19\x01\x2c"),
        (0, b"\x01"),
        (0, b"\x19\x01\x2c"),
        (3, b"ab"),
        (2, b"\x42\x01\x02"),
    ];
    assert_eq!(spans, expected);
    assert_eq!(items(&bytes[..5]).len(), 4, "what is damaged ends it");
    for number in [0, 23, 24, 255, 256, 65_535, 65_536, u64::from(u32::MAX), 1 << 32, u64::MAX] {
        assert_eq!(items(&head(0, number)).first().map(|item| item.argument), Some(number));
    }
}
