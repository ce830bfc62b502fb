//! How bytes get to another node: TCP or a circuit through a relay, under the pre-shared key if there is one, then encrypted
//! (see `security.rs`) and yamux; QUIC in an open mesh.
//!
//! Must never let a connection of a private mesh past its key: every route but QUIC goes through the one place where it
//! is applied, and QUIC is not built at all.

use std::time::Duration;

use forgemesh_protocol::limits;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::upgrade::Version;
use libp2p::futures::future::Either;
use libp2p::futures::io::BufReader;
use libp2p::identity::Keypair;
use libp2p::pnet::{PnetConfig, PreSharedKey};
use libp2p::{PeerId, Transport as _, quic, relay, tcp, yamux};

use super::config::{Config, SwarmError};
use super::security::{Kind, Security};

/// A connection is ready for use in this time, or it is none.
const SETUP: Duration = Duration::from_millis(limits::FRAME_MS);

/// The transport of a node, and what makes its circuits.
pub(super) fn build(
    config: &Config,
    keypair: &Keypair,
) -> Result<(Boxed<(PeerId, StreamMuxerBox)>, relay::client::Behaviour), SwarmError> {
    let key = config.pre_shared_key.map(|bytes| PnetConfig::new(PreSharedKey::new(bytes)));
    let (circuits, relay) = relay::client::new(keypair.public().to_peer_id());
    let security = Security::new(keypair, &config.mesh, Kind::fastest())?;
    let mut yamux = yamux::Config::default();
    yamux.set_max_num_streams(limits::STREAMS_PER_CONNECTION);
    let streams = circuits
        .or_transport(tcp::tokio::Transport::new(tcp::Config::default().nodelay(true)))
        // What decrypts asks for 8 KiB at a time, or less.
        .map(|socket, _| BufReader::with_capacity(limits::READ_AHEAD, socket))
        .and_then(move |socket, _| async move {
            match key {
                Some(key) => key.handshake(socket).await.map(Either::Left).map_err(std::io::Error::other),
                None => Ok(Either::Right(socket)),
            }
        })
        .upgrade(Version::V1Lazy)
        .authenticate(security)
        .multiplex(yamux)
        .timeout(SETUP)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    if key.is_some() {
        return Ok((streams.boxed(), relay));
    }
    let quic = quic::tokio::Transport::new(quic::Config::new(keypair))
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let any = streams.or_transport(quic).map(|either, _| match either {
        Either::Left(connection) | Either::Right(connection) => connection,
    });
    Ok((any.boxed(), relay))
}
