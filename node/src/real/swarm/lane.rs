//! What waits to be sent to one peer, and the task that writes it to a stream: one lane for small messages, one for
//! large ones, each in order.
//!
//! A lane outlives its streams. Must never hold more than its bounds: what finds no room is lost, as the port allows.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use forgemesh_protocol::limits;
use forgemesh_protocol::wire::Message;
use libp2p::futures::AsyncWriteExt;
use libp2p::swarm::Stream;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{sleep, timeout};

use super::budget::Budget;
use super::counters::Counters;
use super::frame::append_frame;

/// Small messages that are written at once.
const BATCH: usize = 64;
/// Bytes of a frame beside its message's body, in most.
const AROUND_BODY: usize = 256;
/// Frames of so many bytes at most are made ahead, and their memory kept: a few pieces of an artifact.
const AHEAD: usize = 4 << 20;
const IDLE: Duration = Duration::from_millis(limits::STREAM_IDLE_MS);

/// Which lane a message takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Size {
    Small,
    Large,
}

/// Bytes of a message's body, near enough: that of a message that has none counts as nothing.
pub(super) fn body_bytes(message: &Message) -> usize {
    match message {
        Message::Blob { bytes } | Message::Book { file: bytes } | Message::Raft { bytes } => bytes.0.len(),
        Message::Pieced { bytes, .. } => bytes.0.len(),
        Message::Outlined(outlined) => outlined.outline.sums.0.len() + outlined.last.0.len(),
        Message::Attest(attested) => attested.members.0.len(),
        Message::Deliver(delivery) => delivery.bytes(),
        Message::Check(challenge) | Message::Open(challenge) => challenge.members.0.len(),
        Message::Opened { openings, .. } => openings.iter().map(|opening| opening.0.len()).sum(),
        _ => 0,
    }
}

/// A message on its way out.
#[derive(Debug)]
pub(super) struct Parcel {
    message: Message,
    since: Instant,
    /// Its share of what may wait altogether, if it is large; given back when it is encoded.
    room: Option<OwnedSemaphorePermit>,
}

impl Parcel {
    pub fn new(message: Message, room: Option<OwnedSemaphorePermit>) -> Self {
        Parcel { message, since: Instant::now(), room }
    }

    pub fn size(&self) -> Size {
        if self.room.is_some() { Size::Large } else { Size::Small }
    }
}

/// A queue.
#[derive(Debug, Default)]
pub(super) struct Lane {
    waiting: Mutex<VecDeque<Parcel>>,
    wake: Notify,
}

impl Lane {
    /// Puts a message at the end; false if there is no room. A large one that waits already is not put there again: who
    /// asked twice for it because the line is slow would make the line slower.
    pub fn push(&self, parcel: Parcel) -> bool {
        let mut waiting = self.waiting();
        if parcel.size() == Size::Large && waiting.iter().any(|other| other.message == parcel.message) {
            return true;
        }
        if waiting.len() >= limits::MESH_OUTBOX {
            return false;
        }
        waiting.push_back(parcel);
        drop(waiting);
        self.wake();
        true
    }

    /// Lets the writer look again.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    pub fn is_empty(&self) -> bool {
        self.waiting().is_empty()
    }

    /// Drops what has waited too long; says how many.
    pub fn expire(&self, now: Instant) -> usize {
        let mut waiting = self.waiting();
        let wait = Duration::from_millis(limits::MESH_WAIT_MS);
        let old =
            waiting.iter().take_while(|parcel| now.saturating_duration_since(parcel.since) >= wait).count();
        waiting.drain(..old);
        old
    }

    /// Takes the next messages: one large one, or some small ones.
    fn take(&self) -> Vec<Parcel> {
        let mut waiting = self.waiting();
        let count = waiting.iter().take_while(|parcel| parcel.size() == Size::Small).take(BATCH).count();
        let count = count.max(1).min(waiting.len());
        waiting.drain(..count).collect()
    }

    /// Takes the next message, if it is a large one, but none of the largest.
    fn take_ahead(&self) -> Option<Parcel> {
        let is_next = |parcel: &mut Parcel| {
            parcel.size() == Size::Large && body_bytes(&parcel.message) + AROUND_BODY <= AHEAD
        };
        self.waiting().pop_front_if(is_next)
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Parcel>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Frames on their way out.
#[derive(Default)]
struct Frames {
    /// Of so many messages.
    count: u64,
    bytes: Vec<u8>,
    /// Most of a large message, which was not copied, and its place in `bytes`.
    long: Option<(usize, Vec<u8>)>,
}

impl Frames {
    /// All bytes.
    fn len(&self) -> usize {
        self.bytes.len() + self.long.as_ref().map_or(0, |(_, long)| long.len())
    }

    async fn write(&self, stream: &mut Stream) -> std::io::Result<()> {
        let (place, long) = self.long.as_ref().map_or((0, &[][..]), |(place, long)| (*place, long));
        let (before, behind) = self.bytes.split_at(place);
        for part in [before, long, behind] {
            stream.write_all(part).await?;
        }
        stream.flush().await
    }
}

/// Messages on their way into frames.
enum Encoding {
    Here(Frames),
    Soon(JoinHandle<Frames>),
}

impl Encoding {
    async fn finish(self) -> Frames {
        match self {
            Encoding::Here(frames) => frames,
            Encoding::Soon(frames) => frames.await.unwrap_or_default(),
        }
    }
}

/// What a writer needs beside its stream.
pub(super) struct Writer {
    pub lane: Arc<Lane>,
    /// Shared by the lanes to one peer.
    pub pace: Arc<Mutex<Budget>>,
    pub counters: Arc<Counters>,
    /// Asks the writer to stop after what it is writing, and what is ready by then: there is a better connection, or this one is gone. Who sets it
    /// wakes the lane.
    pub is_retired: Arc<AtomicBool>,
    /// Whether the stream stays open though nothing is said.
    pub is_kept: bool,
}

impl Writer {
    /// Writes what comes, until the stream breaks, is idle or is retired. What was being written when it broke is lost, and
    /// what was made ready meanwhile.
    pub async fn run(self, mut stream: Stream) {
        // While something is written the next large one is encoded.
        let mut ahead: Option<Encoding> = None;
        // Memory that serves again while there is something to say.
        let mut spare = Vec::new();
        while ahead.is_some() || !self.is_retired.load(Ordering::Acquire) {
            let frames = match ahead.take() {
                Some(encoding) => encoding.finish().await,
                None => {
                    let parcels = self.lane.take();
                    if parcels.is_empty() {
                        spare = Vec::new();
                        tokio::select! {
                            () = self.lane.wake.notified() => continue,
                            () = sleep(IDLE), if !self.is_kept => break,
                        }
                    }
                    self.encode(parcels, std::mem::take(&mut spare)).finish().await
                }
            };
            if frames.len() <= AHEAD && !self.is_retired.load(Ordering::Acquire) {
                let next = self.lane.take_ahead();
                ahead = next.map(|parcel| self.encode(vec![parcel], std::mem::take(&mut spare)));
            }
            let count = frames.count;
            self.wait_for_budget(count, frames.len() as u64).await;
            let allowed = Duration::from_millis(
                limits::FRAME_MS + frames.len() as u64 * 1_000 / limits::FRAME_BYTES_PER_S,
            );
            if !matches!(timeout(allowed, frames.write(&mut stream)).await, Ok(Ok(()))) {
                // One at most is made ahead.
                let lost = count + u64::from(ahead.is_some());
                self.counters.lost.fetch_add(lost, Ordering::Relaxed);
                return;
            }
            self.counters.sent.fetch_add(count, Ordering::Relaxed);
            self.counters.bytes_sent.fetch_add(frames.len() as u64, Ordering::Relaxed);
            spare = if frames.bytes.capacity() <= AHEAD { frames.bytes } else { Vec::new() };
        }
        // The peer learns that no more comes, while the lane goes on elsewhere. If it does not, its reader ends with the
        // connection.
        tokio::spawn(async move {
            let _ = timeout(Duration::from_millis(limits::FRAME_MS), stream.close()).await;
        });
    }

    /// Puts the frames of these messages in this memory. What is large and must be copied is encoded off the network's thread.
    fn encode(&self, mut parcels: Vec<Parcel>, mut bytes: Vec<u8>) -> Encoding {
        bytes.clear();
        let is_large = parcels.iter().any(|parcel| parcel.size() == Size::Large);
        if is_large && let [parcel] = &mut parcels[..] {
            let mut long = None;
            let around = |out: &mut Vec<u8>| {
                long = parcel.message.encode_around(out);
                long.as_ref().map_or(0, |(_, long)| long.len())
            };
            let is_framed = append_frame(around, limits::MESSAGE_BYTES, &mut bytes);
            if is_framed {
                return Encoding::Here(Frames { count: 1, bytes, long });
            }
            if long.is_some() {
                self.counters.lost.fetch_add(1, Ordering::Relaxed);
                return Encoding::Here(Frames::default());
            }
        }
        let lost = self.counters.clone();
        let encode = move || {
            let bodies = parcels.iter().map(|parcel| body_bytes(&parcel.message) + AROUND_BODY).sum();
            bytes.reserve_exact(bodies);
            let mut count = 0;
            for parcel in parcels {
                let write = |out: &mut Vec<u8>| {
                    parcel.message.encode_behind(out);
                    0
                };
                match append_frame(write, limits::MESSAGE_BYTES, &mut bytes) {
                    true => count += 1,
                    false => drop(lost.lost.fetch_add(1, Ordering::Relaxed)),
                }
            }
            Frames { count, bytes, long: None }
        };
        if is_large { Encoding::Soon(spawn_blocking(encode)) } else { Encoding::Here(encode()) }
    }

    async fn wait_for_budget(&self, messages: u64, bytes: u64) {
        loop {
            let taken = {
                let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
                pace.take(messages, bytes, Instant::now())
            };
            match taken {
                Ok(()) => return,
                Err(wait) => sleep(wait).await,
            }
        }
    }
}
