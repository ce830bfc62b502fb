//! Owns the room for large messages that are being received or were not taken yet.
//!
//! Must never lend room for bytes that were only announced, nor have a message wait for ever: of several that hold parts of
//! all the room, none could end. So one of them needs none of it, and makes way if it is slow while others wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use forgemesh_protocol::limits;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// For how long who is served although others wait may be late.
const GRACE: Duration = Duration::from_millis(limits::FRAME_MS);

/// The room for all messages of one kind.
#[derive(Debug)]
struct Room {
    /// Bytes that are lent as they come; nobody waits for more than there are.
    bytes: Arc<Semaphore>,
    most: usize,
    /// The one message for which there is room besides, whatever its length.
    seat: Arc<Semaphore>,
    /// How many wait.
    waiting: AtomicUsize,
}

impl Room {
    fn new(most: usize) -> Arc<Room> {
        let (bytes, seat) = (Arc::new(Semaphore::new(most)), Arc::new(Semaphore::new(1)));
        Arc::new(Room { bytes, most, seat, waiting: AtomicUsize::new(0) })
    }
}

/// All the room. The few messages that are very long take none from those that come all the time.
#[derive(Clone, Debug)]
pub(super) struct Rooms {
    middle: Arc<Room>,
    long: Arc<Room>,
}

impl Default for Rooms {
    fn default() -> Self {
        let middle = limits::MESH_MIDDLE_BYTES - limits::MIDDLE_MESSAGE_BYTES;
        Rooms::new(middle, limits::MESH_INBOX_BYTES - limits::MESH_MIDDLE_BYTES - limits::MESSAGE_BYTES)
    }
}

impl Rooms {
    /// With so many bytes beside the one message of each kind.
    pub fn new(middle: usize, long: usize) -> Self {
        Rooms { middle: Room::new(middle), long: Room::new(long) }
    }
}

/// What one peer may have of it.
#[derive(Debug)]
pub(super) struct Share {
    middle: Arc<Semaphore>,
    long: Arc<Semaphore>,
}

impl Default for Share {
    fn default() -> Self {
        Share {
            middle: Arc::new(Semaphore::new(limits::PEER_MIDDLE_BYTES)),
            long: Arc::new(Semaphore::new(1)),
        }
    }
}

/// One message's room; given back when dropped.
#[derive(Debug)]
pub(super) struct Held {
    room: Arc<Room>,
    length: usize,
    /// Of the peer's share, for the whole length: behind what it has announced only the peer itself waits.
    _share: OwnedSemaphorePermit,
    bytes: Option<OwnedSemaphorePermit>,
    seat: Option<OwnedSemaphorePermit>,
    /// Who has the seat keeps it so long, although others wait.
    until: Option<Instant>,
}

impl Held {
    /// A message of so many bytes has been announced. Waits while the peer has its share; none once the node stops.
    pub async fn begin(rooms: &Rooms, share: &Share, length: usize) -> Option<Held> {
        let is_long = length > limits::MIDDLE_MESSAGE_BYTES;
        let (room, share, count) = match is_long {
            true => (&rooms.long, &share.long, 1),
            false => (&rooms.middle, &share.middle, length as u32),
        };
        let _share = share.clone().acquire_many_owned(count).await.ok()?;
        Some(Held { room: room.clone(), length, _share, bytes: None, seat: None, until: None })
    }

    /// Is there room for so many bytes of the message?
    pub fn covers(&self, bytes: usize) -> bool {
        self.seat.is_some() || bytes <= self.held()
    }

    fn held(&self) -> usize {
        self.bytes.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    /// Waits until there is.
    pub async fn cover(&mut self, bytes: usize) {
        if self.covers(bytes) {
            return;
        }
        let held = self.held();
        // It doubles, so that a message takes room a few times only.
        let more = bytes.max(2 * held).min(self.length) - held;
        let fits = held + more <= self.room.most;
        if let (true, Ok(got)) = (fits, self.room.bytes.clone().try_acquire_many_owned(more as u32)) {
            return self.add(got);
        }
        let _waits = Waiting::new(&self.room);
        let (bytes, seat) = (self.room.bytes.clone(), self.room.seat.clone());
        tokio::select! {
            biased;
            Ok(got) = bytes.acquire_many_owned(more as u32), if fits => self.add(got),
            Ok(seat) = seat.acquire_owned() => self.sit(seat, held),
            else => {}
        }
    }

    fn add(&mut self, got: OwnedSemaphorePermit) {
        match &mut self.bytes {
            Some(bytes) => bytes.merge(got),
            none => *none = Some(got),
        }
    }

    /// The rest of it has room, and its first part needs none from the others any more.
    fn sit(&mut self, seat: OwnedSemaphorePermit, held: usize) {
        let rest_ms = (self.length - held) as u64 * 1_000 / limits::SEAT_BYTES_PER_S;
        self.until = Some(Instant::now() + GRACE + Duration::from_millis(rest_ms));
        (self.seat, self.bytes) = (Some(seat), None);
    }

    /// When it is to be seen whether this message makes way.
    pub fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Its time is over: does it make way, others waiting? If none do, it has more time.
    pub fn makes_way(&mut self) -> bool {
        let Some(until) = self.until.filter(|until| *until <= Instant::now()) else { return false };
        self.until = Some(until + GRACE);
        self.room.waiting.load(Ordering::Relaxed) > 0
    }
}

/// One that waits; no longer when dropped.
struct Waiting(Arc<Room>);

impl Waiting {
    fn new(room: &Arc<Room>) -> Self {
        room.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(room.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const LENGTH: usize = 1 << 20;
    const MOMENT: Duration = Duration::from_millis(20);

    /// A message of one more peer.
    async fn begin(rooms: &Rooms) -> Held {
        Held::begin(rooms, &Share::default(), LENGTH).await.unwrap()
    }

    #[tokio::test]
    async fn an_announced_length_takes_no_room_of_others_and_of_its_own_peer_it_does() {
        let (rooms, share) = (Rooms::default(), Share::default());
        let mut announced = Vec::new();
        for _ in 0..limits::PEER_MIDDLE_BYTES / LENGTH {
            announced.push(Held::begin(&rooms, &share, LENGTH).await.unwrap());
        }
        assert!(timeout(MOMENT, Held::begin(&rooms, &share, LENGTH)).await.is_err());
        let long = Held::begin(&rooms, &share, limits::MESSAGE_BYTES).await;
        assert!(timeout(MOMENT, Held::begin(&rooms, &share, limits::MESSAGE_BYTES)).await.is_err());
        assert_eq!(rooms.middle.bytes.available_permits(), rooms.middle.most);
        assert_eq!(rooms.long.bytes.available_permits(), rooms.long.most);
        drop((announced, long));
        Held::begin(&rooms, &share, LENGTH).await.unwrap();
    }

    #[tokio::test]
    async fn of_messages_that_hold_all_the_room_one_ends_and_then_the_next() {
        let rooms = Rooms::new(LENGTH, 0);
        let mut held = vec![begin(&rooms).await, begin(&rooms).await, begin(&rooms).await];
        for held in &mut held {
            held.cover(LENGTH / 3).await;
        }
        let mut ended = tokio::task::JoinSet::new();
        for mut held in held {
            ended.spawn(async move {
                held.cover(LENGTH / 2).await;
                held.cover(LENGTH).await;
            });
        }
        while let Some(end) = timeout(GRACE, ended.join_next()).await.unwrap() {
            end.unwrap();
        }
        assert_eq!(
            (rooms.middle.bytes.available_permits(), rooms.middle.seat.available_permits()),
            (LENGTH, 1)
        );
    }

    #[tokio::test]
    async fn who_is_slow_makes_way_for_those_who_wait_and_only_for_them() {
        let rooms = Rooms::new(0, 0);
        let mut slow = begin(&rooms).await;
        slow.cover(1).await;
        assert!(slow.until() > Some(Instant::now() + GRACE) && !slow.makes_way(), "its time is not over");
        slow.until = Some(Instant::now());
        assert!(!slow.makes_way(), "nobody waits");
        assert!(slow.until() > Some(Instant::now()), "it has more time");
        let mut next = begin(&rooms).await;
        let waits = tokio::spawn(async move { next.cover(1).await });
        tokio::time::sleep(MOMENT).await;
        slow.until = Some(Instant::now());
        assert!(slow.makes_way());
        drop(slow);
        waits.await.unwrap();
    }
}
