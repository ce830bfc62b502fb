//! Standard base64 with padding (RFC 4648, section 4), strict: slack bits and white space are refused.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The padded text of `bytes`.
pub fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The bytes of `text`, which must be the one canonical spelling of them.
pub fn decode(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    STANDARD.decode(text)
}
