//! Reads the messages of one stream into the node's inbox.
//!
//! Must never hold more than was sent and there is room for, and never let one peer take another's room. A few readers keep
//! the memory of a long message for a moment: `limits::KEPT_BUFFERS` of them.

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

/// How long a message of so many bytes may take to arrive; of one whose head has not arrived none are known.
fn allowed(bytes: Option<usize>) -> Duration {
    Duration::from_millis(limits::FRAME_MS + bytes.unwrap_or(0) as u64 * 1_000 / limits::FRAME_BYTES_PER_S)
}

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
    /// Readers that may keep memory.
    pub kept: Arc<Semaphore>,
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
        let (mut room, mut kept) = (None, None);
        // Until when the message that is being read must be here, by what was known of its length.
        let mut due: Option<(Instant, Option<usize>)> = None;
        loop {
            let until = due.map(|(until, _)| until);
            // Most of a long message comes where it belongs at once.
            if let (Some(until), Some(place)) = (until, decoder.room(CHUNK)) {
                let count = match timeout_at(until, stream.read(place)).await {
                    Err(_) => return self.fault(Fault::Stall).await,
                    Ok(Ok(0) | Err(_)) => return,
                    Ok(Ok(count)) => count,
                };
                if let Some(body) = decoder.advance(count) {
                    due = None;
                    kept = self.arrived(&mut decoder, body, room.take(), kept).await;
                }
                tokio::task::coop::consume_budget().await;
                continue;
            }
            // Between two messages a stream may be silent as long as its writer likes.
            let read = match until {
                Some(until) => match timeout_at(until, stream.read(&mut chunk)).await {
                    Ok(read) => read,
                    Err(_) => return self.fault(Fault::Stall).await,
                },
                None if kept.is_some() => match timeout(SOON, stream.read(&mut chunk)).await {
                    Ok(read) => read,
                    Err(_) => {
                        kept = self.keep(&mut decoder, Vec::new(), kept);
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
                    due = None;
                    kept = self.arrived(&mut decoder, body, room.take(), kept).await;
                } else if room.is_none()
                    && let Some(length) =
                        decoder.expects().filter(|length| *length > limits::SMALL_MESSAGE_BYTES)
                {
                    // While there is no room nothing is read, and the peer must wait.
                    room = self.inbox.large.clone().acquire_many_owned(length as u32).await.ok();
                }
            }
            let expected = decoder.expects();
            if !decoder.is_between() && due.is_none_or(|(_, known)| known != expected) {
                due = Some((Instant::now() + allowed(expected), expected));
            }
            tokio::task::coop::consume_budget().await;
        }
    }

    /// A body is whole: hands on what it says, and keeps its memory for the next message.
    async fn arrived(
        &self,
        decoder: &mut FrameDecoder,
        body: Vec<u8>,
        large: Option<OwnedSemaphorePermit>,
        kept: Option<OwnedSemaphorePermit>,
    ) -> Option<OwnedSemaphorePermit> {
        let memory = self.message(body, large).await;
        self.keep(decoder, memory, kept)
    }

    /// Keeps memory for the next message, if there is any and few enough readers do; says by which right.
    fn keep(
        &self,
        decoder: &mut FrameDecoder,
        memory: Vec<u8>,
        kept: Option<OwnedSemaphorePermit>,
    ) -> Option<OwnedSemaphorePermit> {
        let may = || kept.or_else(|| self.inbox.kept.clone().try_acquire_owned().ok());
        let right = if memory.capacity() > 0 { may() } else { None };
        decoder.reuse(if right.is_some() { memory } else { Vec::new() });
        right
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
        let is_worth_it = |memory: &Vec<u8>| {
            length > limits::SMALL_MESSAGE_BYTES && memory.capacity() <= KEPT.min(2 * length)
        };
        let memory = Some(body).filter(is_worth_it).unwrap_or_default();
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use forgemesh_protocol::canon::Bytes;
    use forgemesh_protocol::hash::Hash;

    use super::super::conduct::Conduct;
    use super::super::config::Limits;
    use super::super::frame::append_frame;
    use super::*;

    /// What comes, part by part, each after a silence of so many milliseconds; then nothing more comes.
    struct Parts {
        parts: VecDeque<(u64, Vec<u8>)>,
        silence: Option<Pin<Box<tokio::time::Sleep>>>,
    }

    impl AsyncRead for Parts {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            room: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            let Some((silence_ms, _)) = self.parts.front() else { return Poll::Pending };
            let silence_ms = *silence_ms;
            let silence = self
                .silence
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(Duration::from_millis(silence_ms))));
            std::task::ready!(silence.as_mut().poll(cx));
            let Some((_, mut part)) = self.parts.pop_front() else { return Poll::Pending };
            self.silence = None;
            let count = part.len().min(room.len());
            room[..count].copy_from_slice(&part[..count]);
            part.drain(..count);
            if !part.is_empty() {
                self.parts.push_front((0, part));
            }
            Poll::Ready(Ok(count))
        }
    }

    fn frame(bytes: usize) -> Vec<u8> {
        let message = Message::Pieced { bytes: Bytes(vec![7; bytes]), index: 3, artifact: Hash::ZERO };
        let mut out = Vec::new();
        assert!(append_frame(|out| message.encode_behind(out), limits::MESSAGE_BYTES, &mut out));
        out
    }

    /// A reader of these parts, what it delivers, its faults, and who may keep memory.
    fn reading(
        parts: Vec<(u64, Vec<u8>)>,
    ) -> (mpsc::Receiver<Delivery>, mpsc::Receiver<(PeerId, Fault)>, Arc<Semaphore>) {
        let (deliveries, delivered) = mpsc::channel(100);
        let (faults, found) = mpsc::channel(100);
        let kept = Arc::new(Semaphore::new(1));
        let inbox = Inbox {
            deliveries,
            presence: mpsc::channel(1).0,
            large: Arc::new(Semaphore::new(limits::MESH_INBOX_BYTES)),
            kept: kept.clone(),
            faults,
            counters: Arc::default(),
        };
        let peer = PeerId::random();
        let intake = Conduct::new(Limits::default()).intake(peer, std::time::Instant::now());
        let _place = intake.enter().unwrap();
        let reader = Reader { peer, node: NodeId(Hash::ZERO), intake, inbox, _place };
        tokio::spawn(reader.run(Parts { parts: parts.into(), silence: None }));
        (delivered, found, kept)
    }

    #[tokio::test]
    async fn memory_is_kept_for_a_moment_and_given_back() {
        let (mut delivered, _faults, kept) = reading(vec![(0, frame(300_000)), (0, frame(300_000))]);
        for _ in 0..2 {
            let message = delivered.recv().await.unwrap().message;
            assert!(matches!(message, Message::Pieced { bytes, .. } if bytes.0 == [7; 300_000]));
        }
        // It is taken before the message is there, or a moment later; and never by a second reader.
        while kept.available_permits() == 1 {
            tokio::task::yield_now().await;
        }
        let right = kept.acquire().await;
        assert!(right.is_ok(), "it is given back after a silence");
    }

    #[tokio::test]
    async fn small_and_very_long_messages_leave_nothing_behind() {
        let parts = vec![(0, frame(300_000)), (0, frame(100)), (0, frame(2 << 20)), (0, frame(100))];
        let (mut delivered, _faults, kept) = reading(parts);
        for _ in 0..4 {
            delivered.recv().await.unwrap();
        }
        while kept.available_permits() == 0 {
            tokio::task::yield_now().await;
        }
    }

    /// The head comes in two parts; the body stops half way.
    #[tokio::test]
    async fn who_stops_in_the_middle_of_a_long_message_is_faulted_when_its_time_is_over() {
        let whole = frame(70_000);
        let parts = [&whole[..2], &whole[2..4], &whole[4..50_000]].map(|part| (0, part.to_vec()));
        let begun = Instant::now();
        let (mut delivered, mut faults, _kept) = reading(parts.to_vec());
        assert_eq!(faults.recv().await.unwrap().1, Fault::Stall);
        assert!(
            begun.elapsed() >= allowed(Some(whole.len() - 4)),
            "its length counts: {:?}",
            begun.elapsed()
        );
        assert!(delivered.try_recv().is_err());
    }
}
