//! ChaCha with 8 rounds as a random function of an address (Bernstein 2008, "ChaCha, a variant of Salsa20").
//!
//! A block is addressed by (key, counter, stream), all 64-bit fields little-endian in the original layout:
//!
//! ```text
//! words  0..4   "expa" "nd 3" "2-by" "te k"
//! words  4..12  key
//! words 12, 13  counter, low word first
//! words 14, 15  stream, low word first
//! ```
//!
//! Four double rounds, then the input state is added. **Draw i of a stream** is `word[2j] | word[2j+1] << 32` with
//! `j = i mod 8`, in block `i / 8`. These are the bits of `rand_chacha::ChaCha8Rng` with `set_stream(stream)`.
//!
//! There is no state and no position here: a caller that needs "the next draw" must compute its address.

/// 64-bit draws in one block.
pub const DRAWS_PER_BLOCK: u64 = 8;

const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];
const DOUBLE_ROUNDS: usize = 4;

/// A 256-bit key: eight words, each read little-endian from the key bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key(pub [u32; 8]);

impl Key {
    /// Reads the 32 key bytes.
    pub fn from_bytes(bytes: &[u8; 32]) -> Key {
        Key(std::array::from_fn(|i| {
            u32::from_le_bytes([bytes[4 * i], bytes[4 * i + 1], bytes[4 * i + 2], bytes[4 * i + 3]])
        }))
    }
}

/// The eight draws of one block.
#[inline(always)]
pub fn block(key: &Key, counter: u64, stream: u64) -> [u64; 8] {
    blocks::<1>(key, &[counter], &[stream]).map(|[draw]| draw)
}

/// The draws of `L` independent blocks, structure of arrays: `result[j][lane]` is draw `j` of block
/// (`counter[lane]`, `stream[lane]`).
///
/// L = 32 is fast on every instruction set; with 8 or 16 lanes LLVM vectorises the AVX-512 instance only in part.
#[inline(always)]
pub fn blocks<const L: usize>(key: &Key, counter: &[u64; L], stream: &[u64; L]) -> [[u64; L]; 8] {
    let mut start = [[0_u32; L]; 16];
    for i in 0..4 {
        start[i] = [CONSTANTS[i]; L];
    }
    for i in 0..8 {
        start[4 + i] = [key.0[i]; L];
    }
    for lane in 0..L {
        start[12][lane] = counter[lane] as u32;
        start[13][lane] = (counter[lane] >> 32) as u32;
        start[14][lane] = stream[lane] as u32;
        start[15][lane] = (stream[lane] >> 32) as u32;
    }
    let mut state = start;
    for _ in 0..DOUBLE_ROUNDS {
        for i in 0..4 {
            quarter_round(&mut state, [i, 4 + i, 8 + i, 12 + i]);
        }
        for i in 0..4 {
            quarter_round(&mut state, [i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4]);
        }
    }
    let mut draws = [[0_u64; L]; 8];
    for j in 0..8 {
        for lane in 0..L {
            let low = state[2 * j][lane].wrapping_add(start[2 * j][lane]);
            let high = state[2 * j + 1][lane].wrapping_add(start[2 * j + 1][lane]);
            draws[j][lane] = u64::from(low) | u64::from(high) << 32;
        }
    }
    draws
}

/// The ChaCha quarter round on words `a`, `b`, `c`, `d` of every lane.
#[inline(always)]
fn quarter_round<const L: usize>(state: &mut [[u32; L]; 16], [a, b, c, d]: [usize; 4]) {
    let [mut va, mut vb, mut vc, mut vd] = [state[a], state[b], state[c], state[d]];
    for (turn_d, turn_b) in [(16, 12), (8, 7)] {
        for lane in 0..L {
            va[lane] = va[lane].wrapping_add(vb[lane]);
            vd[lane] = (vd[lane] ^ va[lane]).rotate_left(turn_d);
            vc[lane] = vc[lane].wrapping_add(vd[lane]);
            vb[lane] = (vb[lane] ^ vc[lane]).rotate_left(turn_b);
        }
    }
    [state[a], state[b], state[c], state[d]] = [va, vb, vc, vd];
}
