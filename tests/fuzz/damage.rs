//! Makes hostile inputs out of valid ones: bits that flip, lengths that lie, lists that never end, depths without a ground.

use forgemesh_storage::testing::Random;
use serde_json::{Map, Value, json};

use crate::grammar::{Item, head, items};

/// How the examples are written, which says how to harm them most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Cbor,
    Json,
    /// Lines of text.
    Text,
    /// Fields of fixed width.
    Bytes,
}

/// Bytes of what one wound adds, mostly and at times.
const MUCH: usize = 16 << 10;
const VERY_MUCH: usize = 1 << 20;

/// Draws, the same for everybody from the same decoder, seed and case.
pub struct Draws(Random);

impl Draws {
    pub fn new(name: &str, seed: u64, case: u64) -> Draws {
        let start = name.bytes().fold(seed, |sum, byte| sum.wrapping_mul(0x100_0000_01b3) ^ u64::from(byte));
        Draws(Random(start ^ case.wrapping_mul(0x2545_f491_4f6c_dd1d)))
    }

    /// Below `bound`; 0 if that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound)
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let (a, b) = (self.below(length + 1), self.below(length + 1));
        a.min(b)..a.max(b)
    }

    /// A length: mostly short, seldom very long.
    fn length(&mut self) -> usize {
        let most = match self.below(100) {
            0..70 => 40,
            70..97 => MUCH,
            _ => VERY_MUCH,
        };
        self.below(most)
    }

    /// A number at which something ends.
    fn edge(&mut self) -> u64 {
        let at = 1_u64 << self.below(64);
        *self.pick(&[0, 1, at, at - 1, at + 1, u64::MAX, i64::MAX as u64, self.0.0 % 300, self.0.0])
    }
}

/// One of the valid inputs, wounded one to four times.
pub fn of(form: Form, valid: &[Vec<u8>], draws: &mut Draws) -> Vec<u8> {
    let mut input = draws.pick(valid).clone();
    for _ in 0..1 + draws.below(4) {
        let other = draws.pick(valid);
        let is_blind = draws.below(3) == 0;
        match form {
            Form::Cbor if !is_blind => cbor(&mut input, other, draws),
            Form::Json if !is_blind => json(&mut input, other, draws),
            Form::Text if !is_blind => text(&mut input, draws),
            Form::Bytes if !is_blind => field(&mut input, draws),
            _ => blind(&mut input, other, draws),
        }
    }
    input
}

/// Without a look at what it is.
fn blind(input: &mut Vec<u8>, other: &[u8], draws: &mut Draws) {
    let at = draws.below(input.len());
    match draws.below(8) {
        0 | 1 if !input.is_empty() => input[at] ^= 1 << draws.below(8),
        2 if !input.is_empty() => input[at] = draws.0.draw() as u8,
        3 => input.truncate(at),
        4 => drop(input.drain(draws.range(input.len()))),
        5 => {
            let range = draws.range(input.len().min(MUCH));
            let again = input[range].to_vec();
            input.splice(at..at, again);
        }
        6 => input.splice(at.., other[draws.range(other.len())].iter().copied()).for_each(drop),
        _ => {
            let more = (0..draws.length().min(MUCH)).map(|_| draws.0.draw() as u8).collect::<Vec<u8>>();
            input.splice(at..at, more);
        }
    }
}

/// Puts a number at which something ends in the place of a field.
fn field(input: &mut Vec<u8>, draws: &mut Draws) {
    let width = *draws.pick(&[1, 2, 4, 8, 16]);
    let at = draws.below(input.len());
    let end = input.len().min(at + width);
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&draws.edge().to_le_bytes());
    input.splice(at..end, bytes[..end - at].to_vec());
}

fn cbor(input: &mut Vec<u8>, other: &[u8], draws: &mut Draws) {
    let found = items(input);
    let Some(item) = (!found.is_empty()).then(|| *draws.pick(&found)) else {
        return blind(input, other, draws);
    };
    let whole = item.start..item.end.max(item.inside);
    match draws.below(10) {
        // A head that lies.
        0 => {
            let lie = head(item.major, draws.edge());
            input.splice(item.start..item.inside, lie);
        }
        // The same head, longer than it needs to be.
        1 => {
            let long = [&[item.major << 5 | 27][..], &item.argument.to_be_bytes()].concat();
            input.splice(item.start..item.inside, long);
        }
        2 => drop(input.splice(whole, short(draws).to_vec())),
        // Very many of them.
        3 | 4 => {
            let lists: Vec<Item> = found.iter().filter(|item| matches!(item.major, 4 | 5)).copied().collect();
            let list = if lists.is_empty() { item } else { *draws.pick(&lists) };
            let held = found.iter().find(|held| held.start >= list.inside && held.end <= list.end);
            let one = match held {
                Some(held) if draws.below(2) == 0 => input[held.start..held.end].to_vec(),
                _ => short(draws).to_vec(),
            };
            let count = 1 + draws.length() / one.len().max(1);
            let many = [head(4, count as u64), one.repeat(count)].concat();
            input.splice(list.start..list.end.max(list.inside), many);
        }
        // Deeper and deeper.
        5 => {
            let one = *draws.pick::<&[u8]>(&[b"\x81", b"\xa1\x60", b"\xa1\x61a", b"\xc0", b"\x82\x00"]);
            let deep = [one.repeat(draws.length()), input[whole.clone()].to_vec()].concat();
            input.splice(whole, deep);
        }
        // Something else that is valid somewhere.
        6 | 7 => {
            let from = if draws.below(2) == 0 { other } else { &input[..] };
            let others = items(from);
            let Some(new) = (!others.is_empty()).then(|| *draws.pick(&others)) else { return };
            let new = from[new.start..new.end.max(new.inside)].to_vec();
            if new.len() <= MUCH {
                input.splice(whole, new);
            }
        }
        // A text or bytes without end.
        8 => {
            let (major, length) = (*draws.pick(&[2, 3]), draws.length());
            let fill = *draws.pick(&[0, b'a', 0xff]);
            input.splice(whole, [head(major, length as u64), vec![fill; length]].concat());
        }
        // One more, or one fewer, than is said.
        _ => {
            let more = draws.below(2) == 0;
            let said = if more { item.argument.saturating_add(1) } else { item.argument.saturating_sub(1) };
            input.splice(item.start..item.inside, head(item.major, said));
        }
    }
}

/// The shortest items there are, and some that are none.
fn short(draws: &mut Draws) -> &'static [u8] {
    draws.pick::<&[u8]>(&[
        b"\x00",
        b"\x20",
        b"\x40",
        b"\x60",
        b"\x80",
        b"\xa0",
        b"\xf4",
        b"\xf5",
        b"\xf6",
        b"\xf7",
        b"\xff",
        b"\x9f",
        b"\xa1\x60\x00",
        b"\x81\x40",
        b"\xf9\x7e\x00",
        b"\xfb\x7f\xf8\x00\x00\x00\x00\x00\x00",
        b"\xc2\x41\x01",
        b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x3b\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x62\xc3\x28",
    ])
}

fn json(input: &mut Vec<u8>, other: &[u8], draws: &mut Draws) {
    if draws.below(5) == 0 {
        return text(input, draws);
    }
    let Ok(mut value) = serde_json::from_slice::<Value>(input) else { return blind(input, other, draws) };
    let wound = nasty(draws);
    let mut path = String::new();
    // A way down from the root, which ends somewhere.
    while draws.below(4) > 0 {
        let step = match value.pointer(&path) {
            Some(Value::Array(list)) if !list.is_empty() => draws.below(list.len()).to_string(),
            Some(Value::Object(map)) if !map.is_empty() => {
                let key = map.keys().nth(draws.below(map.len())).map_or("", String::as_str);
                key.replace('~', "~0").replace('/', "~1")
            }
            _ => break,
        };
        path = format!("{path}/{step}");
    }
    let Some(at) = value.pointer_mut(&path) else { return };
    match at {
        Value::Object(map) if draws.below(2) == 0 => drop(map.insert(draws.length().to_string(), wound)),
        Value::Array(list) if draws.below(2) == 0 => list.push(wound),
        at => *at = wound,
    }
    *input = forgemesh_protocol::canon::to_json(&value);
}

fn nasty(draws: &mut Draws) -> Value {
    let count = draws.length();
    let (count, few) = (count / 2, count / 8);
    match draws.below(10) {
        0 => json!(vec![0; count]),
        1 => json!(vec![json!({ "": 0 }); few]),
        2 => json!(vec![Value::Array(Vec::new()); count]),
        3 => (0..few.min(100)).fold(Value::Null, |deep, _| json!([deep])),
        4 => "a".repeat(2 * count).into(),
        5 => "\n".repeat(count).into(),
        6 => Value::Object((0..few).map(|key| (key.to_string(), Value::Null)).collect::<Map<_, _>>()),
        7 => {
            draws.pick(&[json!(1e308), json!(-0.0), json!(5e-324), json!(u64::MAX), json!(i64::MIN)]).clone()
        }
        8 => draws.pick(&[Value::Null, json!(true), json!(""), json!([]), json!({}), json!("\u{0}")]).clone(),
        _ => json!(draws.edge()),
    }
}

fn text(input: &mut Vec<u8>, draws: &mut Draws) {
    let tokens: [&[u8]; 22] = [
        b"[", b"]", b"{", b"}", b"\"", b",", b":", b"=", b"\n", b"\\ud800", b"\\u0000", b"1e999", b"-",
        b"0x", b".", b"{\"\":", b"[[", b"\xff", b"null", b"'''", b"\"\"\"", b"a.b.c=",
    ];
    let at = draws.below(input.len() + 1);
    let token = draws.pick(&tokens).repeat(1 + draws.length().min(MUCH) / 4);
    input.splice(at..at, token);
}
