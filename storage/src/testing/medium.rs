//! The bytes of the model disk, and which of them a power loss leaves.
//!
//! Owns the crash model: what a completed sync covers is there; of what came later any subset may be, whole or torn at
//! 512-byte sectors. A write that lands after a newer one of the same place leaves what the loss of the newer one
//! leaves, so that losing subsets covers reordering too. Must never lose what an honest sync covered.

use super::random::Random;

/// What a disk writes whole or not at all.
pub(super) const SECTOR: usize = 512;

/// A change of the bytes.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Write { offset: usize, data: Vec<u8> },
    SetLen(usize),
}

/// What a sync did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SyncResult {
    /// Everything before it is durable.
    Held,
    /// It said so and did nothing: a lying disk. A later honest sync makes up for it.
    Lied,
    /// It said that it failed. The system takes what it covered for clean from then on: readable until the power goes,
    /// and no later sync covers it.
    Failed,
}

/// What of the changes that no sync covers survives a loss of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// Nothing.
    Lost,
    /// All of it, though no sync promised it; also what a killed process leaves.
    Kept,
    /// A random subset, torn at sectors; from this seed.
    Torn(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Unsynced,
    Synced,
    /// A sync of it failed.
    Limbo,
}

/// A change with what it replaced.
#[derive(Clone, Debug)]
struct Step {
    change: Change,
    standing: Standing,
    len_before: usize,
    bytes_before: Vec<u8>,
    offset: usize,
}

/// The bytes as they read now, and the changes since the last sync that leaves no doubt.
#[derive(Clone, Debug, Default)]
pub(super) struct Medium {
    image: Vec<u8>,
    steps: Vec<Step>,
}

impl Medium {
    /// With bytes that are durable.
    pub(super) fn new(image: Vec<u8>) -> Medium {
        Medium { image, steps: Vec::new() }
    }

    /// The bytes as they read now.
    pub(super) fn image(&self) -> &[u8] {
        &self.image
    }

    /// Flips bits of a byte where it lies; no sync is asked.
    pub(super) fn rot(&mut self, at: usize, mask: u8) {
        if let Some(byte) = self.image.get_mut(at) {
            *byte ^= mask;
        }
    }

    pub(super) fn change(&mut self, change: Change) {
        let len_before = self.image.len();
        let (offset, end) = match &change {
            Change::Write { offset, data } => (*offset, *offset + data.len()),
            Change::SetLen(len) => (*len, len_before),
        };
        let replaced = offset.min(len_before)..end.clamp(offset.min(len_before), len_before);
        let bytes_before = self.image[replaced].to_vec();
        change.apply(&mut self.image);
        self.steps.push(Step { change, standing: Standing::Unsynced, len_before, bytes_before, offset });
    }

    pub(super) fn sync(&mut self, result: SyncResult) {
        let standing = match result {
            SyncResult::Lied => return,
            SyncResult::Held => Standing::Synced,
            SyncResult::Failed => Standing::Limbo,
        };
        for step in self.steps.iter_mut().filter(|step| step.standing == Standing::Unsynced) {
            step.standing = standing;
        }
        if self.steps.iter().all(|step| step.standing == Standing::Synced) {
            self.steps.clear();
        }
    }

    /// What a loss of power at this moment leaves.
    pub(super) fn survivors(&self, way: Unsynced) -> Vec<u8> {
        let mut image = self.image.clone();
        if way == Unsynced::Kept {
            return image;
        }
        for step in self.steps.iter().rev() {
            step.undo(&mut image);
        }
        let mut random = match way {
            Unsynced::Torn(seed) => Some(Random(seed ^ self.steps.len() as u64)),
            _ => None,
        };
        for step in &self.steps {
            match (&mut random, step.standing) {
                (_, Standing::Synced) => step.change.apply(&mut image),
                (Some(random), _) => step.change.tear(&mut image, random),
                (None, _) => {}
            }
        }
        image
    }
}

impl Step {
    fn undo(&self, image: &mut Vec<u8>) {
        image.resize(self.len_before, 0);
        put(image, self.offset.min(self.len_before), &self.bytes_before);
    }
}

impl Change {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Change::Write { offset, data } => put(image, *offset, data),
            Change::SetLen(len) => image.resize(*len, 0),
        }
    }

    /// Lost, whole, or (a write) some of its sectors.
    fn tear(&self, image: &mut Vec<u8>, random: &mut Random) {
        match (self, random.below(3)) {
            (_, 0) => {}
            (change, 1) | (change @ Change::SetLen(_), _) => change.apply(image),
            (Change::Write { offset, data }, _) => {
                for (at, sector) in sectors(*offset, data) {
                    if random.below(2) == 0 {
                        put(image, at, sector);
                    }
                }
            }
        }
    }
}

/// The parts of a write that a disk writes whole, with their offsets.
pub(super) fn sectors(offset: usize, data: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let head = data.len().min((SECTOR - offset % SECTOR) % SECTOR);
    let (first, rest) = data.split_at(head);
    let whole = rest.chunks(SECTOR).enumerate().map(move |(n, part)| (offset + head + n * SECTOR, part));
    std::iter::once((offset, first)).filter(|(_, part)| !part.is_empty()).chain(whole)
}

fn put(image: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if image.len() < offset + data.len() {
        image.resize(offset + data.len(), 0);
    }
    image[offset..offset + data.len()].copy_from_slice(data);
}
