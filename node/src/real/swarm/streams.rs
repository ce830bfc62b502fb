//! Streams of messages: opens them on the best connection to a peer, and hands over those that peers open.
//!
//! It never reads or writes a byte: that is the lanes' and the readers'.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::task::{Context, Poll};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::ReadyUpgrade;
use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished};
use libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
    NotifyHandler, Stream, StreamProtocol, SubstreamProtocol, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};

use super::lane::Size;

/// What happened to a stream.
#[derive(Debug)]
pub(super) enum Event {
    /// A peer wants to send.
    Incoming { peer: PeerId, stream: Stream },
    /// A stream that was asked for is open.
    Opened { peer: PeerId, connection: ConnectionId, size: Size, stream: Stream },
    /// It is not.
    Refused { peer: PeerId, size: Size },
}

/// The connections, and what waits to be said to them.
#[derive(Debug)]
pub(super) struct Streams {
    protocol: StreamProtocol,
    /// Peers whose connections are kept though nothing is said on them.
    kept: BTreeSet<PeerId>,
    /// Of each peer, whether relayed: direct ones come first, of these the oldest.
    connections: BTreeMap<PeerId, BTreeSet<(bool, ConnectionId)>>,
    queue: VecDeque<ToSwarm<Event, Open>>,
}

impl Streams {
    /// Of messages under this protocol's name.
    pub fn new(protocol: StreamProtocol, kept: BTreeSet<PeerId>) -> Self {
        Streams { protocol, kept, connections: BTreeMap::new(), queue: VecDeque::new() }
    }

    /// Asks for a stream to a peer that is connected; otherwise nothing happens.
    pub fn open(&mut self, peer: PeerId, size: Size) {
        if let Some(connection) = self.best(&peer) {
            let handler = NotifyHandler::One(connection);
            self.queue.push_back(ToSwarm::NotifyHandler { peer_id: peer, handler, event: Open(size) });
        }
    }

    /// The connection that a stream to this peer would be opened on.
    pub fn best(&self, peer: &PeerId) -> Option<ConnectionId> {
        self.connections.get(peer)?.first().map(|(_, connection)| *connection)
    }

    fn handler(&self, peer: &PeerId) -> Handler {
        Handler {
            protocol: self.protocol.clone(),
            is_kept: self.kept.contains(peer),
            asked: VecDeque::new(),
            events: VecDeque::new(),
        }
    }
}

impl NetworkBehaviour for Streams {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(self.handler(&peer))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(self.handler(&peer))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            }) => {
                self.connections.entry(peer_id).or_default().insert((endpoint.is_relayed(), connection_id));
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, .. }) => {
                if let Some(connections) = self.connections.get_mut(&peer_id) {
                    connections.retain(|(_, connection)| *connection != connection_id);
                    if connections.is_empty() {
                        self.connections.remove(&peer_id);
                    }
                }
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        let event = match event {
            FromHandler::Incoming(stream) => Event::Incoming { peer, stream },
            FromHandler::Opened(size, stream) => Event::Opened { peer, connection, size, stream },
            FromHandler::Refused(size) => Event::Refused { peer, size },
        };
        self.queue.push_back(ToSwarm::GenerateEvent(event));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Event, Open>> {
        // Whoever fills the queue polls the swarm afterwards, so nobody must be woken.
        self.queue.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

/// To a connection: open a stream.
#[derive(Debug)]
pub(super) struct Open(Size);

/// From a connection.
#[derive(Debug)]
pub(super) enum FromHandler {
    Incoming(Stream),
    Opened(Size, Stream),
    Refused(Size),
}

/// One connection's part.
pub(super) struct Handler {
    protocol: StreamProtocol,
    is_kept: bool,
    asked: VecDeque<Size>,
    events: VecDeque<FromHandler>,
}

impl Handler {
    fn upgrade<I>(&self, info: I) -> SubstreamProtocol<ReadyUpgrade<StreamProtocol>, I> {
        SubstreamProtocol::new(ReadyUpgrade::new(self.protocol.clone()), info)
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Open;
    type ToBehaviour = FromHandler;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Size;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        self.upgrade(())
    }

    fn connection_keep_alive(&self) -> bool {
        self.is_kept
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Size, FromHandler>> {
        if let Some(event) = self.events.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(event));
        }
        match self.asked.pop_front() {
            Some(size) => {
                let protocol = self.upgrade(size);
                Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol })
            }
            // Both queues are filled by calls after which the connection polls again.
            None => Poll::Pending,
        }
    }

    fn on_behaviour_event(&mut self, Open(size): Open) {
        self.asked.push_back(size);
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol, (), Size>,
    ) {
        let event = match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: stream, .. }) => {
                FromHandler::Incoming(stream)
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: stream, info }) => {
                FromHandler::Opened(info, stream)
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, .. }) => FromHandler::Refused(info),
            _ => return,
        };
        self.events.push_back(event);
    }
}
