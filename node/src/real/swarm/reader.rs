//! Reads the messages of one stream into the node's inbox.
//!
//! Must never hold more than was sent and there is room for, and never let one peer take another's room: that is lent as the
//! bytes come (`room.rs`), and who stops in the middle is not waited for. A few readers keep the memory of a long message for
//! a moment: `limits::KEPT_BUFFERS` of them.

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
use super::room::{Held, Rooms};

/// Bytes read at once.
const CHUNK: usize = 16 << 10;
/// Memory of so many bytes at most, that of a piece of an artifact, serves the next message too, if it comes so soon.
const KEPT: usize = limits::PIECE_BYTES + CHUNK;
const SOON: Duration = Duration::from_secs(1);

/// Until when the next bytes of a message must be here.
#[derive(Clone, Copy)]
struct Due(Instant);

impl Due {
    /// Of a message that begins.
    fn new() -> Due {
        Due(Instant::now() + Duration::from_millis(limits::FRAME_MS))
    }

    /// So many bytes have come. What came fast earlier does not pay for a long silence.
    fn came(self, bytes: usize) -> Due {
        let earned = Duration::from_nanos(bytes as u64 * 1_000_000_000 / limits::FRAME_BYTES_PER_S);
        Due((self.0 + earned).min(Due::new().0))
    }

    /// The time since then was not the peer's fault.
    fn without(self, since: Instant) -> Due {
        Due(self.0 + since.elapsed())
    }
}

/// A message for the node, with the room it takes until it is taken.
#[derive(Debug)]
pub(super) struct Delivery {
    pub from: NodeId,
    pub message: Message,
    /// None, of an announcement: its author has no more than a few a second.
    _room: Option<(OwnedSemaphorePermit, Option<Held>)>,
}

/// What all readers share.
#[derive(Clone)]
pub(super) struct Inbox {
    pub deliveries: mpsc::Sender<Delivery>,
    /// Who is connected from now on, or is no longer.
    pub presence: mpsc::Sender<(NodeId, bool)>,
    /// Room for large messages that are under way.
    pub rooms: Rooms,
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
        let (mut room, mut kept): (Option<Held>, _) = (None, None);
        // None between two messages: there a stream may be silent as long as its writer likes.
        let mut due: Option<Due> = None;
        loop {
            if let Some(known) = due {
                let Some(next) = self.make_room(&decoder, &mut room, known).await else { return };
                due = Some(next);
            }
            let until =
                due.map(|due| room.as_ref().and_then(Held::until).map_or(due.0, |until| until.min(due.0)));
            // Most of a long message comes where it belongs at once.
            if let (Some(until), Some(place)) = (until, decoder.room(CHUNK)) {
                let count = match timeout_at(until, stream.read(place)).await {
                    Err(_) if self.may_go_on(due, &mut room).await => continue,
                    Err(_) | Ok(Ok(0) | Err(_)) => return,
                    Ok(Ok(count)) => count,
                };
                self.intake.hear();
                due = due.map(|due| due.came(count));
                if let Some(body) = decoder.advance(count) {
                    due = None;
                    kept = self.arrived(&mut decoder, body, room.take(), kept).await;
                }
                tokio::task::coop::consume_budget().await;
                continue;
            }
            let read = match until {
                Some(until) => match timeout_at(until, stream.read(&mut chunk)).await {
                    Ok(read) => read,
                    Err(_) if self.may_go_on(due, &mut room).await => continue,
                    Err(_) => return,
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
            self.intake.hear();
            due = due.map(|due| due.came(rest.len()));
            while !rest.is_empty() {
                let Ok((taken, body)) = decoder.take(rest) else { return self.fault(Fault::Frame).await };
                rest = &rest[taken..];
                if let Some(body) = body {
                    due = None;
                    kept = self.arrived(&mut decoder, body, room.take(), kept).await;
                }
            }
            if !decoder.is_between() {
                due = due.or_else(|| Some(Due::new()));
            }
            tokio::task::coop::consume_budget().await;
        }
    }

    /// A body is whole: hands on what it says, and keeps its memory for the next message.
    async fn arrived(
        &self,
        decoder: &mut FrameDecoder,
        body: Vec<u8>,
        large: Option<Held>,
        kept: Option<OwnedSemaphorePermit>,
    ) -> Option<OwnedSemaphorePermit> {
        let memory = self.message(body, large).await;
        self.keep(decoder, memory, kept)
    }

    /// Waits for room for what the next bytes may take; says until when they must be here, or none once the node stops. While
    /// there is no room nothing is read, and the peer must wait.
    async fn make_room(&self, decoder: &FrameDecoder, room: &mut Option<Held>, due: Due) -> Option<Due> {
        let Some(length) = decoder.expects().filter(|length| *length > limits::SMALL_MESSAGE_BYTES) else {
            return Some(due);
        };
        // As long as it is small it needs no more room than a small message.
        let next = Some(decoder.grows_to(CHUNK)).filter(|next| *next > limits::SMALL_MESSAGE_BYTES);
        if room.as_ref().is_some_and(|room| next.is_none_or(|next| room.covers(next))) {
            return Some(due);
        }
        let begun = Instant::now();
        if room.is_none() {
            *room = Some(Held::begin(&self.inbox.rooms, &self.intake.room, length).await?);
        }
        if let (Some(room), Some(next)) = (room, next) {
            room.cover(next).await;
        }
        Some(due.without(begun))
    }

    /// Nothing has come for so long: may the peer go on all the same? If not, it was too slow for all, or for those who wait. A
    /// peer of whom nothing comes on any stream has lost its line, and is not to blame.
    async fn may_go_on(&self, due: Option<Due>, room: &mut Option<Held>) -> bool {
        if due.is_some_and(|due| due.0 <= Instant::now()) {
            if self.intake.silence() < Duration::from_millis(limits::FRAME_MS / 2) {
                self.fault(Fault::Stall).await;
            } else {
                self.inbox.counters.refused.fetch_add(1, Ordering::Relaxed);
            }
            return false;
        }
        let makes_way = room.as_mut().is_some_and(Held::makes_way);
        if makes_way {
            self.inbox.counters.refused.fetch_add(1, Ordering::Relaxed);
        }
        !makes_way
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
    async fn message(&self, body: Vec<u8>, large: Option<Held>) -> Vec<u8> {
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
        let write = |out: &mut Vec<u8>| {
            message.encode_behind(out);
            0
        };
        assert!(append_frame(write, limits::MESSAGE_BYTES, &mut out));
        out
    }

    /// An inbox with this room, what is delivered there, and the faults that are found.
    fn inbox(rooms: Rooms) -> (Inbox, mpsc::Receiver<Delivery>, mpsc::Receiver<(PeerId, Fault)>) {
        let (deliveries, delivered) = mpsc::channel(100);
        let (faults, found) = mpsc::channel(100);
        let presence = mpsc::channel(1).0;
        let kept = Arc::new(Semaphore::new(1));
        (Inbox { deliveries, presence, rooms, kept, faults, counters: Arc::default() }, delivered, found)
    }

    /// One more peer's streams of these parts are read.
    fn read(inbox: &Inbox, streams: Vec<Vec<(u64, Vec<u8>)>>) -> PeerId {
        let peer = PeerId::random();
        let intake = Conduct::new(Limits::default()).intake(peer, std::time::Instant::now());
        for parts in streams {
            let (intake, _place) = (intake.clone(), intake.enter().unwrap());
            let reader = Reader { peer, node: NodeId(Hash::ZERO), intake, inbox: inbox.clone(), _place };
            tokio::spawn(reader.run(Parts { parts: parts.into(), silence: None }));
        }
        peer
    }

    /// A reader of these parts, what it delivers, its faults, and who may keep memory.
    fn reading(
        parts: Vec<(u64, Vec<u8>)>,
    ) -> (mpsc::Receiver<Delivery>, mpsc::Receiver<(PeerId, Fault)>, Arc<Semaphore>) {
        let (inbox, delivered, found) = inbox(Rooms::default());
        read(&inbox, vec![parts]);
        (delivered, found, inbox.kept)
    }

    /// A message in so many parts, each after a silence.
    fn slowly(bytes: usize, parts: usize, silence_ms: u64) -> Vec<(u64, Vec<u8>)> {
        let frame = frame(bytes);
        frame.chunks(frame.len().div_ceil(parts)).map(|part| (silence_ms, part.to_vec())).collect()
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

    /// A stream of small messages, now and then, for as long as another one is looked at.
    fn alive() -> Vec<(u64, Vec<u8>)> {
        vec![(limits::FRAME_MS / 4, frame(100)); 8]
    }

    /// The head comes in two parts; the body stops near its end.
    #[tokio::test]
    async fn who_stops_in_the_middle_of_a_long_message_is_faulted_however_fast_it_was_before() {
        let whole = frame(5 << 20);
        let parts = [&whole[..2], &whole[2..4], &whole[4..5 << 20]].map(|part| (0, part.to_vec()));
        let (inbox, mut delivered, mut faults) = inbox(Rooms::default());
        let begun = Instant::now();
        read(&inbox, vec![parts.to_vec(), alive()]);
        assert_eq!(faults.recv().await.unwrap().1, Fault::Stall);
        let (waited, most) = (begun.elapsed(), Duration::from_millis(limits::FRAME_MS));
        assert!(waited >= most && waited < most + most / 2, "{waited:?}");
        while let Ok(delivery) = delivered.try_recv() {
            assert!(matches!(delivery.message, Message::Pieced { bytes, .. } if bytes.0.len() == 100));
        }
    }

    /// Its line was cut: the stream ends, so that its room is others', and nobody is to blame.
    #[tokio::test]
    async fn who_is_silent_altogether_loses_the_stream_and_is_not_struck() {
        let whole = frame(5 << 20);
        let (inbox, mut delivered, mut faults) = inbox(Rooms::default());
        let refused = inbox.counters.clone();
        read(&inbox, vec![vec![(0, whole[..1 << 20].to_vec())]]);
        drop(inbox);
        // Both ends close with the last reader.
        assert!(delivered.recv().await.is_none() && faults.recv().await.is_none());
        assert_eq!(refused.refused.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn who_is_slow_and_goes_on_gets_through() {
        let (mut delivered, mut faults, _kept) = reading(slowly(700 << 10, 6, 1_900));
        delivered.recv().await.unwrap();
        assert!(faults.try_recv().is_err());
    }

    #[tokio::test]
    async fn who_only_announces_takes_no_room_from_others_and_is_struck() {
        let (inbox, mut delivered, mut faults) = inbox(Rooms::default());
        let heads: [u32; 3] = [limits::MESSAGE_BYTES as u32, limits::MESSAGE_BYTES as u32, 8 << 20];
        let heads = heads.map(|head| vec![(0, head.to_be_bytes().to_vec())]);
        let silent = read(&inbox, heads.into_iter().chain([alive()]).collect());
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let begun = Instant::now();
        for bytes in [300_000, 9 << 20] {
            read(&inbox, vec![vec![(0, frame(bytes))]]);
            delivered.recv().await.unwrap();
        }
        assert!(begun.elapsed() < Duration::from_millis(limits::FRAME_MS / 2), "{:?}", begun.elapsed());
        for _ in 0..limits::STRIKES {
            assert_eq!(faults.recv().await.unwrap(), (silent, Fault::Stall));
        }
    }

    #[tokio::test]
    async fn many_whose_messages_have_no_room_together_all_get_through() {
        let (inbox, mut delivered, mut faults) = inbox(Rooms::new(400_000, 0));
        for peer in 0..8 {
            read(&inbox, vec![slowly(300_000, 5, 100 + peer)]);
        }
        for _ in 0..8 {
            delivered.recv().await.unwrap();
        }
        assert!(faults.try_recv().is_err());
    }
}
