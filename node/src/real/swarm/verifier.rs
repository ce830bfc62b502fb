//! Whether a certificate is such as libp2p wants it: <https://github.com/libp2p/specs/blob/master/tls/tls.md>.
//!
//! Must never let pass a certificate that its own key and a peer's key have not signed, nor a handshake that the
//! certificate's key has not signed.

use libp2p::tls::certificate;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, PeerIncompatible, SignatureScheme};

/// Checks what libp2p wants of a certificate: it is the only one, signed with its own key, and in it a peer's key signs for
/// that key.
#[derive(Debug)]
pub(super) struct Verifier;

impl Verifier {
    /// The one kind of key that certificates are made with.
    const SCHEME: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;

    fn check(certificate: &CertificateDer<'_>, more: &[CertificateDer<'_>]) -> Result<(), rustls::Error> {
        if !more.is_empty() {
            return Err(CertificateError::BadEncoding.into());
        }
        certificate::parse(certificate).map(|_| ()).map_err(|_| CertificateError::BadEncoding.into())
    }

    fn check_signature(
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let bad = || rustls::Error::from(CertificateError::BadSignature);
        if signed.scheme != Self::SCHEME {
            return Err(bad());
        }
        let certificate = certificate::parse(certificate).map_err(|_| bad())?;
        certificate.verify_signature(signed.scheme, message, signed.signature()).map_err(|_| bad())?;
        Ok(HandshakeSignatureValid::assertion())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Verifier::check(end_entity, intermediates).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerIncompatible::Tls12NotOfferedOrEnabled.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Verifier::check_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![Self::SCHEME]
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Verifier::check(end_entity, intermediates).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(PeerIncompatible::Tls12NotOfferedOrEnabled.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Verifier::check_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![Self::SCHEME]
    }
}

#[cfg(test)]
mod tests {
    use libp2p::identity::Keypair;

    use super::*;

    #[test]
    fn one_whole_certificate_is_let_pass_and_nothing_else() {
        let keypair = Keypair::ed25519_from_bytes([7; 32]).expect("a seed");
        let (good, _) = certificate::generate(&keypair).expect("a certificate");
        assert!(Verifier::check(&good, &[]).is_ok());
        assert!(Verifier::check(&good, std::slice::from_ref(&good)).is_err());
        // A few bits of the encoding are nobody's; with them changed it is still the same peer's.
        let mut refused = 0;
        for at in 0..good.len() {
            let mut bytes = good.to_vec();
            bytes[at] ^= 1;
            let changed = CertificateDer::from(bytes);
            match Verifier::check(&changed, &[]) {
                Ok(()) => {
                    let peer = certificate::parse(&changed).expect("just now").peer_id();
                    assert_eq!(peer, keypair.public().to_peer_id(), "byte {at}");
                }
                Err(_) => refused += 1,
            }
        }
        assert!(refused >= good.len() - 4, "{refused} of {}", good.len());
        assert!(Verifier::check(&CertificateDer::from(good[..good.len() - 1].to_vec()), &[]).is_err());
    }
}
