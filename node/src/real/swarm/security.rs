//! How a connection over a stream of bytes is authenticated and encrypted: TLS 1.3 with AES if the caller's processor has
//! instructions for it, else noise with ChaCha20. Whoever is called can do both.
//!
//! Must never let pass whom the key in its certificate or handshake did not sign for, nor a node of another mesh.
//!
//! Both handshakes are libp2p's (<https://github.com/libp2p/specs>, `tls/tls.md` and `noise/README.md`), bound to the mesh:
//! by the protocol's name in TLS (ALPN, RFC 7301), which is a digest, for it is seen on the wire; by the prologue in noise. TLS is configured here because libp2p's own
//! prefers ChaCha20, which takes five times as long for a byte where there are instructions for AES.

use std::io;
use std::sync::Arc;

use forgemesh_protocol::hash::Hash;
use forgemesh_protocol::id::MeshId;
use futures_rustls::{TlsAcceptor, TlsConnector};
use libp2p::PeerId;
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};
use libp2p::futures::future::{BoxFuture, Either};
use libp2p::futures::{AsyncRead, AsyncWrite, FutureExt as _};
use libp2p::identity::Keypair;
use libp2p::noise;
use libp2p::tls::{TlsStream, certificate};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{IpAddr, Ipv4Addr, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ServerConfig};

use super::config::SwarmError;
use super::gathered::Gathered;
use super::verifier::Verifier;

const NOISE: &str = "/noise";

/// How, of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Tls,
    Noise,
}

impl Kind {
    /// What encrypts faster on this processor.
    pub fn fastest() -> Self {
        #[cfg(target_arch = "x86_64")]
        let has_aes = std::arch::is_x86_feature_detected!("aes");
        #[cfg(target_arch = "aarch64")]
        let has_aes = std::arch::is_aarch64_feature_detected!("aes");
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let has_aes = false;
        if has_aes { Kind::Tls } else { Kind::Noise }
    }
}

impl AsRef<str> for Kind {
    fn as_ref(&self) -> &str {
        match self {
            Kind::Tls => "/tls/1.0.0",
            Kind::Noise => NOISE,
        }
    }
}

/// A stream that is authenticated and encrypted.
pub(super) type Secured<S> = Either<Gathered<TlsStream<S>>, noise::Output<S>>;

/// What makes one.
#[derive(Clone)]
pub(super) struct Security {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    noise: noise::Config,
    /// What is asked for first.
    preferred: Kind,
    /// The protocol's name: none but that of this mesh will do.
    name: [u8; 32],
}

impl Security {
    pub fn new(keypair: &Keypair, mesh: &MeshId, preferred: Kind) -> Result<Self, SwarmError> {
        let setup = |reason: String| SwarmError::Setup { reason };
        let prologue = [b"forgemesh mesh ".as_slice(), &mesh.0.0].concat();
        let name = Hash::blob(&prologue).0;
        let noise = noise::Config::new(keypair).map_err(|error| setup(error.to_string()))?;
        let (client, server) = tls(keypair, &name).map_err(|error| setup(error.to_string()))?;
        Ok(Security {
            client: Arc::new(client),
            server: Arc::new(server),
            noise: noise.with_prologue(prologue),
            preferred,
            name,
        })
    }

    /// A stream whose handshake is over, and who is at the other end, by its certificate.
    fn admit<S>(&self, stream: TlsStream<S>) -> io::Result<(PeerId, Secured<S>)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (_, connection) = stream.get_ref();
        if connection.alpn_protocol() != Some(&self.name[..]) {
            return Err(io::Error::other("it is of another mesh"));
        }
        let peer = match connection.peer_certificates() {
            Some([certificate]) => certificate::parse(certificate).map_err(io::Error::other)?.peer_id(),
            _ => return Err(io::Error::other("it has shown no certificate")),
        };
        Ok((peer, Either::Left(Gathered::new(stream))))
    }
}

/// Both sides' settings.
fn tls(keypair: &Keypair, name: &[u8]) -> Result<(ClientConfig, ServerConfig), Box<dyn std::error::Error>> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = vec![aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384];
    let (certificate, key) = certificate::generate(keypair)?;
    // Not `from_der`, which reads the certificate as that of a site: libp2p's extension is none that it knows.
    let certified = CertifiedKey::new(vec![certificate], provider.key_provider.load_private_key(key)?);
    let certified = Arc::new(SingleCertAndKey::from(certified));
    let provider = Arc::new(provider);
    let only = [&rustls::version::TLS13];
    let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&only)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier))
        .with_client_cert_resolver(certified.clone());
    client.alpn_protocols = vec![name.to_vec()];
    // Every node is called by the same name here, and none may be taken for another.
    client.resumption = Resumption::disabled();
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&only)?
        .with_client_cert_verifier(Arc::new(Verifier))
        .with_cert_resolver(certified);
    server.alpn_protocols = vec![name.to_vec()];
    server.send_tls13_tickets = 0;
    Ok((client, server))
}

impl UpgradeInfo for Security {
    type Info = Kind;
    type InfoIter = [Kind; 2];

    fn protocol_info(&self) -> Self::InfoIter {
        match self.preferred {
            Kind::Tls => [Kind::Tls, Kind::Noise],
            Kind::Noise => [Kind::Noise, Kind::Tls],
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> InboundConnectionUpgrade<S> for Security {
    type Output = (PeerId, Secured<S>);
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Output>>;

    fn upgrade_inbound(self, socket: S, kind: Kind) -> Self::Future {
        async move {
            match kind {
                Kind::Tls => {
                    let stream = TlsAcceptor::from(Arc::clone(&self.server)).accept(socket).await?;
                    self.admit(stream.into())
                }
                Kind::Noise => noised(self.noise.upgrade_inbound(socket, NOISE).await),
            }
        }
        .boxed()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> OutboundConnectionUpgrade<S> for Security {
    type Output = (PeerId, Secured<S>);
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Output>>;

    fn upgrade_outbound(self, socket: S, kind: Kind) -> Self::Future {
        async move {
            match kind {
                Kind::Tls => {
                    // An address stands for no name, and none is sent.
                    let nobody = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::from([0, 0, 0, 0])));
                    let stream = TlsConnector::from(Arc::clone(&self.client)).connect(nobody, socket).await?;
                    self.admit(stream.into())
                }
                Kind::Noise => noised(self.noise.upgrade_outbound(socket, NOISE).await),
            }
        }
        .boxed()
    }
}

/// What the noise handshake led to.
fn noised<S>(shaken: Result<(PeerId, noise::Output<S>), noise::Error>) -> io::Result<(PeerId, Secured<S>)> {
    let (peer, stream) = shaken.map_err(io::Error::other)?;
    Ok((peer, Either::Right(stream)))
}

#[cfg(test)]
mod tests {
    use libp2p::core::transport::{DialOpts, ListenerId, MemoryTransport, PortUse, TransportEvent};
    use libp2p::core::{Endpoint, Transport as _};
    use libp2p::futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _, future};
    use multistream_select::{Version, dialer_select_proto, listener_select_proto};

    use super::*;

    fn keypair(seed: u8) -> Keypair {
        Keypair::ed25519_from_bytes([seed; 32]).expect("a seed")
    }

    fn security(seed: u8, preferred: Kind, mesh: &[u8]) -> Security {
        Security::new(&keypair(seed), &MeshId(Hash::blob(mesh)), preferred).expect("a key")
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
    }

    /// One calls the other; what each sees of it.
    async fn call(
        caller: Security,
        called: Security,
    ) -> (io::Result<(PeerId, Kind)>, io::Result<(PeerId, Kind)>) {
        let mut line = MemoryTransport::default().boxed();
        line.listen_on(ListenerId::next(), "/memory/0".parse().expect("an address")).expect("a port");
        let Some(TransportEvent::NewAddress { listen_addr, .. }) = line.next().await else {
            panic!("it listens")
        };
        let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::Reuse };
        let dialled = line.dial(listen_addr, options).expect("an address");
        let call = async {
            let socket = dialled.await.expect("it listens");
            let names = caller.protocol_info();
            let (kind, socket) =
                dialer_select_proto(socket, names, Version::V1Lazy).await.map_err(io::Error::other)?;
            finish(caller.upgrade_outbound(socket, kind)).await
        };
        let answer = async {
            let Some(TransportEvent::Incoming { upgrade, .. }) = line.next().await else { panic!("a call") };
            let socket = upgrade.await.expect("it calls");
            let names = called.protocol_info();
            let (kind, socket) = listener_select_proto(socket, names).await.map_err(io::Error::other)?;
            finish(called.upgrade_inbound(socket, kind)).await
        };
        future::join(call, answer).await
    }

    /// Each says something that the other hears, more than is gathered.
    async fn finish<S: AsyncRead + AsyncWrite + Unpin>(
        upgrade: impl Future<Output = io::Result<(PeerId, Secured<S>)>>,
    ) -> io::Result<(PeerId, Kind)> {
        let (peer, stream) = upgrade.await?;
        let kind = if matches!(stream, Either::Left(_)) { Kind::Tls } else { Kind::Noise };
        let (mut reader, mut writer) = stream.split();
        let said: Vec<u8> = (0..200_017).map(|at| at as u8).collect();
        let mut heard = vec![0; said.len()];
        let say = async {
            writer.write_all(&said).await?;
            writer.flush().await
        };
        future::try_join(say, reader.read_exact(&mut heard)).await?;
        assert!(heard == said);
        Ok((peer, kind))
    }

    #[test]
    fn whoever_calls_chooses_and_both_know_who_the_other_is() {
        for caller in [Kind::Tls, Kind::Noise] {
            for called in [Kind::Tls, Kind::Noise] {
                let (one, other) = (security(1, caller, b"mesh"), security(2, called, b"mesh"));
                let (dialled, heard) = runtime().block_on(call(one, other));
                assert_eq!(dialled.expect("it was called"), (keypair(2).public().to_peer_id(), caller));
                assert_eq!(heard.expect("it called"), (keypair(1).public().to_peer_id(), caller));
            }
        }
    }

    #[test]
    fn a_node_of_another_mesh_is_not_let_in_either_way() {
        for kind in [Kind::Tls, Kind::Noise] {
            let (one, other) = (security(1, kind, b"mesh"), security(2, kind, b"another"));
            let (dialled, heard) = runtime().block_on(call(one, other));
            assert!(dialled.is_err() && heard.is_err(), "{kind:?}: {dialled:?} {heard:?}");
        }
    }

    #[test]
    fn who_names_no_mesh_is_not_let_in() {
        let mut one = security(1, Kind::Tls, b"mesh");
        Arc::make_mut(&mut one.client).alpn_protocols.clear();
        let (_, heard) = runtime().block_on(call(one, security(2, Kind::Tls, b"mesh")));
        assert!(heard.is_err(), "{heard:?}");
    }

    #[test]
    fn who_shows_somebody_else_s_certificate_is_not_let_in() {
        let (theirs, _) = certificate::generate(&keypair(3)).expect("a certificate");
        let (_, own) = certificate::generate(&keypair(1)).expect("a certificate");
        let key = aws_lc_rs::default_provider().key_provider.load_private_key(own).expect("a key");
        let shown = Arc::new(SingleCertAndKey::from(CertifiedKey::new(vec![theirs], key)));
        let (mut caller, mut called) = (security(1, Kind::Tls, b"mesh"), security(1, Kind::Tls, b"mesh"));
        Arc::make_mut(&mut caller.client).client_auth_cert_resolver = shown.clone();
        let (_, heard) = runtime().block_on(call(caller, security(2, Kind::Tls, b"mesh")));
        assert!(heard.is_err(), "{heard:?}");
        Arc::make_mut(&mut called.server).cert_resolver = shown;
        let (dialled, _) = runtime().block_on(call(security(2, Kind::Tls, b"mesh"), called));
        assert!(dialled.is_err(), "{dialled:?}");
    }
}
