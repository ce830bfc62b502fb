//! Reads the messages of one stream into the node's inbox.
//!
//! Must never hold more than was sent and there is room for, and never let one peer take another's room.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::limits;
use forgemesh_protocol::wire::Message;
use libp2p::PeerId;
use libp2p::futures::{AsyncRead, AsyncReadExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout, timeout_at};

use super::conduct::{Fault, Intake, Place};
use super::counters::Counters;
use super::frame::FrameDecoder;

/// Bytes read at once.
const CHUNK: usize = 16 << 10;
/// Memory of so many bytes at most, that of a piece of an artifact, serves the next message too, if it comes so soon.
const KEPT: usize = limits::PIECE_BYTES + CHUNK;
const SOON: Duration = Duration::from_secs(1);

/// A message for the node, with the room it takes until it is taken.
#[derive(Debug)]
pub(super) struct Delivery {
    pub from: NodeId,
    pub message: Message,
    /// None, of an announcement: its author has no more than a few a second.
    _room: Option<(OwnedSemaphorePermit, Option<OwnedSemaphorePermit>)>,
}

/// What all readers share.
#[derive(Clone)]
pub(super) struct Inbox {
    pub deliveries: mpsc::Sender<Delivery>,
    /// Who is connected from now on, or is no longer.
    pub presence: mpsc::Sender<(NodeId, bool)>,
    /// Bytes of large messages that may be under way.
    pub large: Arc<Semaphore>,
    pub faults: mpsc::Sender<(PeerId, Fault)>,
    pub counters: Arc<Counters>,
}

impl Inbox {
    /// Hands the node an announcement.
    pub fn hear(&self, from: NodeId, message: Message) {
        self.deliver(Delivery { from, message, _room: None });
    }

    /// Tells the node that another one is connected, or is not. It has a place of its own: who comes and goes takes none
    /// from those who speak.
    pub fn notice(&self, node: NodeId, is_there: bool) {
        // A hint that is lost is made up for by the next message, or by silence.
        let _ = self.presence.try_send((node, is_there));
    }

    fn deliver(&self, delivery: Delivery) {
        if self.deliveries.try_send(delivery).is_err() {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// One stream's reader.
pub(super) struct Reader {
    pub peer: PeerId,
    pub node: NodeId,
    pub intake: Arc<Intake>,
    pub inbox: Inbox,
    /// The stream's place among the peer's; given back at its end.
    pub _place: Place,
}

impl Reader {
    /// Reads until the stream ends, breaks, or says what no stream says.
    pub async fn run<S: AsyncRead + Unpin>(self, mut stream: S) {
        let mut decoder = FrameDecoder::new(limits::MESSAGE_BYTES);
        let mut chunk = vec![0; CHUNK];
        let mut room = None;
        let mut deadline = None;
        loop {
            // Most of a long message comes where it belongs at once.
            if let (Some(until), Some(place)) = (deadline, decoder.room(CHUNK)) {
                let count = match timeout_at(until, stream.read(place)).await {
                    Err(_) => return self.fault(Fault::Stall).await,
                    Ok(Ok(0) | Err(_)) => return,
                    Ok(Ok(count)) => count,
                };
                if let Some(body) = decoder.advance(count) {
                    deadline = None;
                    decoder.reuse(self.message(body, room.take()).await);
                }
                tokio::task::coop::consume_budget().await;
                continue;
            }
            // Between two messages a stream may be silent as long as its writer likes.
            let read = match deadline {
                Some(deadline) => match timeout_at(deadline, stream.read(&mut chunk)).await {
                    Ok(read) => read,
                    Err(_) => return self.fault(Fault::Stall).await,
                },
                None if decoder.has_memory() => match timeout(SOON, stream.read(&mut chunk)).await {
                    Ok(read) => read,
                    Err(_) => {
                        decoder.reuse(Vec::new());
                        continue;
                    }
                },
                None => stream.read(&mut chunk).await,
            };
            let mut rest = match read {
                Ok(0) | Err(_) => return,
                Ok(count) => &chunk[..count],
            };
            while !rest.is_empty() {
                let Ok((taken, body)) = decoder.take(rest) else { return self.fault(Fault::Frame).await };
                rest = &rest[taken..];
                if let Some(body) = body {
                    deadline = None;
                    decoder.reuse(self.message(body, room.take()).await);
                } else if room.is_none()
                    && let Some(length) =
                        decoder.expects().filter(|length| *length > limits::SMALL_MESSAGE_BYTES)
                {
                    // While there is no room nothing is read, and the peer must wait.
                    room = self.inbox.large.clone().acquire_many_owned(length as u32).await.ok();
                }
            }
            if deadline.is_none() && !decoder.is_between() {
                let length = decoder.expects().unwrap_or_default() as u64;
                let allowed = limits::FRAME_MS + length * 1_000 / limits::FRAME_BYTES_PER_S;
                deadline = Some(Instant::now() + Duration::from_millis(allowed));
            }
            tokio::task::coop::consume_budget().await;
        }
    }

    /// Hands on what a body says; gives back memory that is worth to be kept.
    async fn message(&self, body: Vec<u8>, large: Option<OwnedSemaphorePermit>) -> Vec<u8> {
        let counters = &self.inbox.counters;
        let length = body.len();
        counters.bytes_received.fetch_add(length as u64, Ordering::Relaxed);
        if !self.intake.spend(length) {
            self.fault(Fault::Flood).await;
            return Vec::new();
        }
        let (message, body) = decode(body).await;
        let memory =
            if length > limits::SMALL_MESSAGE_BYTES && body.capacity() <= KEPT { body } else { Vec::new() };
        let Some(message) = message else {
            self.fault(Fault::Message).await;
            return memory;
        };
        counters.received.fetch_add(1, Ordering::Relaxed);
        if let Ok(share) = self.intake.share.clone().acquire_owned().await {
            self.inbox.deliver(Delivery { from: self.node, message, _room: Some((share, large)) });
        }
        memory
    }

    async fn fault(&self, fault: Fault) {
        // Nobody listens when the node is stopping.
        let _ = self.inbox.faults.send((self.peer, fault)).await;
    }
}

/// What is large is decoded off the network's thread. Its bytes are given back.
async fn decode(body: Vec<u8>) -> (Option<Message>, Vec<u8>) {
    let is_large = body.len() > limits::SMALL_MESSAGE_BYTES;
    let decode = move || (Message::decode(&body).ok(), body);
    if is_large { tokio::task::spawn_blocking(decode).await.unwrap_or_default() } else { decode() }
}
