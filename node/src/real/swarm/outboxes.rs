//! The outboxes of all nodes that something is said to: two lanes each, and the streams these are written to.
//!
//! It knows of no connection but by its number; whoever has the swarm opens streams and says what came of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use forgemesh_protocol::id::NodeId;
use forgemesh_protocol::limits;
use libp2p::swarm::{ConnectionId, Stream};
use tokio::task::JoinSet;

use super::budget::Budget;
use super::counters::Counters;
use super::lane::{Lane, Parcel, Size, Writer};

/// A stream that is not open after so long is asked for again.
const OPENING: Duration = Duration::from_millis(limits::FRAME_MS);
const SIZES: [Size; 2] = [Size::Small, Size::Large];

/// What a lane is written to.
#[derive(Debug)]
enum End {
    Nothing,
    Opening { since: Instant },
    Open { connection: ConnectionId, is_retired: Arc<AtomicBool> },
}

#[derive(Debug)]
struct Outbox {
    lanes: BTreeMap<Size, (Arc<Lane>, End)>,
    pace: Arc<Mutex<Budget>>,
}

impl Outbox {
    fn new(now: Instant) -> Self {
        let lanes = SIZES.map(|size| (size, (Arc::default(), End::Nothing))).into();
        Outbox { lanes, pace: Arc::new(Mutex::new(Budget::of_sender(now))) }
    }
}

/// All outboxes.
pub(super) struct Outboxes {
    by_node: BTreeMap<NodeId, Outbox>,
    writers: JoinSet<(NodeId, Size, ConnectionId)>,
    counters: Arc<Counters>,
}

impl Outboxes {
    pub fn new(counters: Arc<Counters>) -> Self {
        Outboxes { by_node: BTreeMap::new(), writers: JoinSet::new(), counters }
    }

    /// Puts a message into a node's outbox, or loses it.
    pub fn post(&mut self, to: NodeId, parcel: Parcel, is_connected: bool, now: Instant) {
        let has_room =
            is_connected || self.by_node.contains_key(&to) || self.by_node.len() < limits::MESH_AWAITED;
        let outbox = has_room.then(|| self.by_node.entry(to).or_insert_with(|| Outbox::new(now)));
        let lane = outbox.and_then(|outbox| outbox.lanes.get(&parcel.size()));
        if !lane.is_some_and(|(lane, _)| lane.push(parcel)) {
            self.counters.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Lanes of a connected node that have something to write and nothing to write it to; a stream is now being opened
    /// for each.
    pub fn begin_opening(&mut self, node: &NodeId, now: Instant) -> Vec<Size> {
        let lanes = self.by_node.get_mut(node).into_iter().flat_map(|outbox| &mut outbox.lanes);
        let stale = |end: &End| match end {
            End::Nothing => true,
            End::Opening { since } => now.saturating_duration_since(*since) >= OPENING,
            End::Open { .. } => false,
        };
        let wanting = lanes.filter(|(_, (lane, end))| !lane.is_empty() && stale(end));
        let begin = |(size, (_, end)): (&Size, &mut (Arc<Lane>, End))| {
            *end = End::Opening { since: now };
            *size
        };
        wanting.map(begin).collect()
    }

    /// A stream is open: it is written to from now on. A second one for the same lane is closed again.
    pub fn opened(
        &mut self,
        node: NodeId,
        size: Size,
        connection: ConnectionId,
        stream: Stream,
        is_kept: bool,
    ) {
        let Some(outbox) = self.by_node.get_mut(&node) else { return };
        let Some((lane, end)) = outbox.lanes.get_mut(&size) else { return };
        if matches!(end, End::Open { .. }) {
            return;
        }
        let is_retired = Arc::<AtomicBool>::default();
        *end = End::Open { connection, is_retired: is_retired.clone() };
        let (lane, pace) = (lane.clone(), outbox.pace.clone());
        let writer = Writer { lane, pace, counters: self.counters.clone(), is_retired, is_kept };
        self.writers.spawn(async move {
            writer.run(stream).await;
            (node, size, connection)
        });
    }

    /// A stream could not be opened.
    pub fn refused(&mut self, node: &NodeId, size: Size) {
        if let Some((_, end)) = self.by_node.get_mut(node).and_then(|outbox| outbox.lanes.get_mut(&size))
            && matches!(end, End::Opening { .. })
        {
            *end = End::Nothing;
        }
    }

    /// The next stream that is written no more, and whose lane has no other. Cancel-safe.
    pub async fn next_end(&mut self) -> Option<NodeId> {
        let (node, size, connection) = self.writers.join_next().await?.ok()?;
        let (_, end) = self.by_node.get_mut(&node)?.lanes.get_mut(&size)?;
        if matches!(end, End::Open { connection: current, .. } if *current == connection) {
            *end = End::Nothing;
        }
        Some(node)
    }

    /// Streams of a node that are not on this connection are given up after what they are writing, and what is ready by then.
    pub fn prefer(&mut self, node: &NodeId, best: Option<ConnectionId>) {
        for (lane, end) in self.by_node.get_mut(node).into_iter().flat_map(|outbox| outbox.lanes.values_mut())
        {
            match end {
                End::Open { connection, is_retired } if Some(*connection) != best => {
                    is_retired.store(true, Ordering::Release);
                    lane.wake();
                }
                End::Opening { .. } if best.is_none() => *end = End::Nothing,
                _ => {}
            }
        }
    }

    /// Nodes for which something waits.
    pub fn awaited(&self) -> Vec<NodeId> {
        let waits = |outbox: &Outbox| outbox.lanes.values().any(|(lane, _)| !lane.is_empty());
        self.by_node.iter().filter(|(_, outbox)| waits(outbox)).map(|(node, _)| *node).collect()
    }

    /// Loses what has waited too long for a stream, and forgets boxes of nodes that are not connected and have nothing
    /// coming.
    pub fn sweep(&mut self, now: Instant, is_connected: impl Fn(&NodeId) -> bool) {
        let mut lost = 0;
        self.by_node.retain(|node, outbox| {
            let closed = outbox.lanes.values().filter(|(_, end)| !matches!(end, End::Open { .. }));
            lost += closed.map(|(lane, _)| lane.expire(now)).sum::<usize>();
            let is_idle =
                |(lane, end): &(Arc<Lane>, End)| lane.is_empty() && !matches!(end, End::Open { .. });
            is_connected(node) || !outbox.lanes.values().all(is_idle)
        });
        self.counters.lost.fetch_add(lost as u64, Ordering::Relaxed);
    }
}
