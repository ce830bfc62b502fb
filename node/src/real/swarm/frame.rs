//! Frames on a stream: four bytes of length, big-endian, then so many bytes.
//!
//! Must never take memory for what was only announced: a buffer grows as its bytes arrive, or is one that was filled before.

/// Bytes before each body.
pub const HEAD: usize = 4;

/// Why a stream can no longer be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// No message is so long.
    #[error(
        "a frame of {length} bytes, but at most {limit} are allowed; the sender must split what it sends"
    )]
    TooLong { length: usize, limit: usize },
    /// No message has no bytes.
    #[error("an empty frame; the sender must send messages")]
    Empty,
}

/// Takes a stream apart, whatever the pieces in which it comes.
#[derive(Debug)]
pub struct FrameDecoder {
    limit: usize,
    head: [u8; HEAD],
    head_bytes: usize,
    /// Length of the body that is being read; 0 while the head is.
    length: usize,
    /// Its bytes, as far as they have come, and behind them room.
    body: Vec<u8>,
    filled: usize,
}

impl FrameDecoder {
    /// For bodies of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        FrameDecoder { limit, head: [0; HEAD], head_bytes: 0, length: 0, body: Vec::new(), filled: 0 }
    }

    /// Takes bytes up to the end of a head or of a body and says how many, with the body if it is whole. After an error
    /// the stream has no frames any more.
    pub fn take(&mut self, input: &[u8]) -> Result<(usize, Option<Vec<u8>>), FrameError> {
        if self.length == 0 {
            return self.take_head(input).map(|taken| (taken, None));
        }
        let taken = input.len().min(self.length - self.filled);
        self.behind(taken).copy_from_slice(&input[..taken]);
        Ok((taken, self.advance(taken)))
    }

    /// Room for more bytes of a body of which some have come, so that they need not be copied: for as many as have, unless
    /// fewer are missing; none if that is not worth it, being fewer than `least`.
    pub fn room(&mut self, least: usize) -> Option<&mut [u8]> {
        let is_worth_it = self.filled >= least && self.filled < self.length;
        is_worth_it.then(|| self.behind(self.filled.min(self.length - self.filled)))
    }

    /// Bytes of the body for which there is memory at most once `count` more have come, or as many as fit into `room`.
    pub fn grows_to(&self, count: usize) -> usize {
        (self.filled + count).max(2 * self.filled).min(self.length)
    }

    /// So many bytes have come into that room; the body, if it is whole.
    pub fn advance(&mut self, count: usize) -> Option<Vec<u8>> {
        self.filled += count;
        if self.filled < self.length {
            return None;
        }
        self.body.truncate(self.length);
        (self.length, self.filled) = (0, 0);
        Some(std::mem::take(&mut self.body))
    }

    /// Gives memory for the next body; what is in it is lost. Nothing happens while one is being read.
    pub fn reuse(&mut self, memory: Vec<u8>) {
        if self.is_between() {
            self.body = memory;
        }
    }

    /// Length of the body that is being read, once its head has arrived.
    pub fn expects(&self) -> Option<usize> {
        (self.length > 0).then_some(self.length)
    }

    /// Whether no byte of a frame has arrived.
    pub fn is_between(&self) -> bool {
        self.length == 0 && self.head_bytes == 0
    }

    fn take_head(&mut self, input: &[u8]) -> Result<usize, FrameError> {
        let taken = input.len().min(HEAD - self.head_bytes);
        self.head[self.head_bytes..][..taken].copy_from_slice(&input[..taken]);
        self.head_bytes += taken;
        if self.head_bytes == HEAD {
            let length = u32::from_be_bytes(self.head) as usize;
            if length == 0 {
                return Err(FrameError::Empty);
            }
            if length > self.limit {
                return Err(FrameError::TooLong { length, limit: self.limit });
            }
            self.head_bytes = 0;
            self.length = length;
        }
        Ok(taken)
    }

    /// The next so many bytes of the body. Where there are none, it doubles at least, but never beyond its end.
    fn behind(&mut self, count: usize) -> &mut [u8] {
        let end = self.filled + count;
        if self.body.len() < end {
            let end = end.max((2 * self.filled).min(self.length));
            self.body.reserve_exact(end - self.body.len());
            self.body.resize(end, 0);
        }
        &mut self.body[self.filled..end]
    }
}

/// A frame around what `write` puts behind the frames that are there, and around the bytes of the same body that are elsewhere,
/// of which it says how many; false, and nothing, if it has no bytes or more than `limit`.
pub fn append_frame(write: impl FnOnce(&mut Vec<u8>) -> usize, limit: usize, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD]);
    let elsewhere = write(out);
    let length = out.len() - start - HEAD + elsewhere;
    match u32::try_from(length) {
        Ok(head) if (1..=limit).contains(&length) => {
            out[start..start + HEAD].copy_from_slice(&head.to_be_bytes());
            true
        }
        _ => {
            out.truncate(start);
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All bodies in `input`, given in pieces of these lengths, and the most memory that was held.
    fn read(input: &[u8], pieces: impl Iterator<Item = usize>) -> (Result<Vec<Vec<u8>>, FrameError>, usize) {
        let mut decoder = FrameDecoder::new(1 << 20);
        let (mut bodies, mut rest, mut held) = (Vec::new(), input, 0);
        for piece in pieces {
            let (mut now, later) = rest.split_at(piece.min(rest.len()));
            rest = later;
            while !now.is_empty() {
                match decoder.take(now) {
                    Ok((taken, body)) => {
                        assert!(taken > 0);
                        now = &now[taken..];
                        held = held.max(decoder.body.capacity());
                        bodies.extend(body);
                    }
                    Err(error) => return (Err(error), held),
                }
            }
        }
        (Ok(bodies), held)
    }

    fn append(body: &[u8], limit: usize, out: &mut Vec<u8>) -> bool {
        let write = |out: &mut Vec<u8>| {
            out.extend_from_slice(body);
            0
        };
        append_frame(write, limit, out)
    }

    /// A linear congruential generator: the numbers are the seed's.
    fn draws(seed: u64) -> impl FnMut(u64) -> u64 {
        let mut state = seed;
        move |below| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        }
    }

    #[test]
    fn frames_come_out_as_they_went_in_whatever_the_pieces() {
        for seed in 0..200 {
            let mut draw = draws(seed);
            let mut bodies: Vec<Vec<u8>> = Vec::new();
            for _ in 0..draw(8) {
                let longest = if draw(4) == 0 { 5_000 } else { 9 };
                let length = 1 + draw(longest);
                bodies.push((0..length).map(|_| draw(256) as u8).collect());
            }
            let mut input = Vec::new();
            assert!(bodies.iter().all(|body| append(body, 1 << 20, &mut input)));
            let (read, _) = read(&input, std::iter::repeat_with(|| 1 + draw(700) as usize).take(input.len()));
            assert_eq!(read, Ok(bodies), "seed {seed}");
        }
    }

    #[test]
    fn random_bytes_give_frames_or_an_error_and_little_memory() {
        for seed in 0..2_000 {
            let mut draw = draws(seed);
            let mut input: Vec<u8> = (0..draw(4_000)).map(|_| draw(256) as u8).collect();
            // Small lengths, so that frames are found at all.
            let step = 1 + draw(60) as usize;
            input.iter_mut().step_by(step).for_each(|byte| *byte = 0);
            let (_, held) = read(&input, std::iter::repeat_with(|| 1 + draw(100) as usize).take(input.len()));
            assert!(held <= 2 * input.len(), "seed {seed}: {held} bytes for {}", input.len());
        }
    }

    #[test]
    fn what_is_only_announced_takes_no_memory() {
        let announced = (1_u32 << 20).to_be_bytes();
        let mut decoder = FrameDecoder::new(1 << 20);
        assert_eq!(decoder.take(&announced), Ok((4, None)));
        assert_eq!((decoder.expects(), decoder.body.capacity()), (Some(1 << 20), 0));
        assert_eq!(decoder.take(&[1; 100]), Ok((100, None)));
        assert!(decoder.body.capacity() <= 200);
    }

    #[test]
    fn most_of_a_long_body_needs_no_copy() {
        let body: Vec<u8> = (0..10_000_u32).map(|at| at as u8).collect();
        let mut frame = Vec::new();
        assert!(append(&body, 1 << 20, &mut frame));
        let mut decoder = FrameDecoder::new(1 << 20);
        for memory in [vec![], vec![9; 20_000]] {
            decoder.reuse(memory);
            assert!(decoder.room(0).is_none(), "there is no body yet");
            assert_eq!(decoder.take(&frame), Ok((HEAD, None)));
            let mut at = HEAD + 100;
            assert_eq!(decoder.take(&frame[HEAD..at]), Ok((100, None)));
            assert!(decoder.room(101).is_none());
            let read = loop {
                let place = decoder.room(100).unwrap();
                assert!(place.len() <= at - HEAD && at + place.len() <= frame.len());
                let count = place.len().min(3_000);
                place[..count].copy_from_slice(&frame[at..at + count]);
                at += count;
                if let Some(read) = decoder.advance(count) {
                    break read;
                }
            };
            assert_eq!((read == body, at), (true, frame.len()));
        }
    }

    #[test]
    fn a_frame_is_as_long_as_what_is_in_it_and_elsewhere() {
        let (mut whole, mut parted) = (Vec::new(), Vec::new());
        assert!(append(&[7; 5_000], 1 << 20, &mut whole));
        let around = |out: &mut Vec<u8>| {
            out.extend_from_slice(&[7; 10]);
            4_990
        };
        assert!(append_frame(around, 1 << 20, &mut parted));
        assert_eq!(parted, whole[..HEAD + 10]);
        assert!(!append_frame(around, 4_999, &mut parted));
        assert_eq!(parted.len(), HEAD + 10);
    }

    #[test]
    fn memory_serves_again() {
        let mut decoder = FrameDecoder::new(1 << 20);
        let (mut first, mut second) = (Vec::new(), Vec::new());
        assert!(append(&[1; 3_000], 1 << 20, &mut first) && append(&[2; 2_000], 1 << 20, &mut second));
        decoder.take(&first).unwrap();
        let body = decoder.take(&first[HEAD..]).unwrap().1.unwrap();
        let memory = body.as_ptr();
        decoder.reuse(body);
        decoder.take(&second).unwrap();
        decoder.reuse(vec![3; 5_000]);
        let body = decoder.take(&second[HEAD..]).unwrap().1.unwrap();
        assert_eq!((&body, body.as_ptr()), (&vec![2; 2_000], memory));
    }

    #[test]
    fn lengths_that_no_message_has_are_refused() {
        let limit = 1 << 20;
        let refused = |length: u32| FrameDecoder::new(limit).take(&length.to_be_bytes());
        assert_eq!(refused(0), Err(FrameError::Empty));
        assert_eq!(refused(limit as u32 + 1), Err(FrameError::TooLong { length: limit + 1, limit }));
        assert_eq!(refused(u32::MAX), Err(FrameError::TooLong { length: u32::MAX as usize, limit }));
        let mut out = Vec::new();
        assert!(!append(&[], limit, &mut out) && !append(&vec![0; limit + 1], limit, &mut out));
        assert!(out.is_empty());
    }
}
