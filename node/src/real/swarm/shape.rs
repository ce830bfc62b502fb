//! A look at a message before it is decoded: how many items it has and how deep they lie.
//!
//! A decoder makes tens of bytes of each item, so a frame of short items would take many times its own size. Must never
//! allocate, and never refuse what `Message::encode` makes of a message within its bounds.

use forgemesh_protocol::limits;

/// Whether `bytes` begin with one item of definite lengths, within the bounds of depth and number.
pub fn is_modest(bytes: &[u8]) -> bool {
    // For each open array or map, the items it still lacks.
    let mut open = [0_u64; limits::CANON_DEPTH + 1];
    let mut depth = 0;
    open[0] = 1;
    let (mut rest, mut items) = (bytes, 0);
    loop {
        while open[depth] == 0 {
            if depth == 0 {
                return true;
            }
            depth -= 1;
        }
        open[depth] -= 1;
        items += 1;
        if items > limits::MESSAGE_ITEMS {
            return false;
        }
        let Some((major, argument, after)) = head(rest) else { return false };
        rest = after;
        let inside = match major {
            2 | 3 => {
                let Some(after) = usize::try_from(argument).ok().and_then(|n| rest.get(n..)) else {
                    return false;
                };
                rest = after;
                continue;
            }
            4 => argument,
            5 => argument.saturating_mul(2),
            6 => 1,
            _ => continue,
        };
        depth += 1;
        if inside > rest.len() as u64 || depth > limits::CANON_DEPTH {
            return false;
        }
        open[depth] = inside;
    }
}

/// Major type, argument and what comes after; none for indefinite lengths and truncated heads.
fn head(bytes: &[u8]) -> Option<(u8, u64, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let width = match first & 31 {
        small @ 0..=23 => return Some((first >> 5, u64::from(small), rest)),
        24 => 1,
        25 => 2,
        26 => 4,
        27 => 8,
        _ => return None,
    };
    let argument = rest.get(..width)?.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    Some((first >> 5, argument, &rest[width..]))
}

#[cfg(test)]
mod tests {
    use forgemesh_protocol::canon::Bytes;
    use forgemesh_protocol::hash::Hash;
    use forgemesh_protocol::id::JobId;
    use forgemesh_protocol::wire::{Hello, Holding, Message};

    use super::*;

    #[test]
    fn messages_are_modest() {
        let job = JobId(Hash::ZERO);
        let holding =
            Holding { job, stage: 0, input: None, shards: (0..4_096).map(|n| 2 * n..2 * n + 1).collect() };
        let hello = Hello {
            seating: 0,
            candidacy: None,
            capacity: 1,
            backend: "cpu".to_owned(),
            accepts: 9,
            holds: vec![holding; 16],
            ops: Vec::new(),
            region: None,
            billing: Vec::new(),
            clients: None,
        };
        let blob = Message::Blob { bytes: Bytes(vec![7; 3 << 20]) };
        let opened =
            Message::Opened { job, attestation: Hash::ZERO, openings: vec![Bytes(vec![0; 99]); 1_000] };
        for message in [Message::Hello(Box::new(hello)), blob, opened, Message::Over { job }] {
            assert!(is_modest(&message.encode()), "{message:?}");
        }
    }

    #[test]
    fn many_short_items_deep_ones_and_truncated_ones_are_not() {
        let job = JobId(Hash::ZERO);
        let openings = vec![Bytes(Vec::new()); limits::MESSAGE_ITEMS as usize];
        assert!(!is_modest(&Message::Opened { job, attestation: Hash::ZERO, openings }.encode()));
        assert!(!is_modest(&[0x81; 100]));
        assert!(!is_modest(&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]));
        assert!(!is_modest(&[0x5b, 0, 0, 0, 1, 0, 0, 0, 0]));
        assert!(!is_modest(&[0x9f, 0xff]) && !is_modest(&[]) && !is_modest(&[0xbb, 0x80]));
        let whole = Message::Fetch { blobs: vec![Hash::ZERO; 3] }.encode();
        for end in 0..whole.len() {
            assert!(!is_modest(&whole[..end]), "{end}");
        }
    }
}
