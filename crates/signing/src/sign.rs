//! Signing: keys prepared once for each endpoint, then cheap for each delivery.
//!
//! Guarantees the header value's grammar: `v1,<base64>` or `v1a,<base64>`, one for each secret,
//! separated by single spaces, in the order the secrets were given.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::ed25519::signature::MultipartSigner;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::content::{Timestamp, parts};
use crate::secret::{Key, Secret, SecretKind};

/// Prefix of an HMAC-SHA256 signature.
pub(crate) const SYMMETRIC_VERSION: &str = "v1";
/// Prefix of an ed25519 signature.
pub(crate) const ED25519_VERSION: &str = "v1a";

/// One secret made ready: the key's schedule is computed once and cloned for each signature.
#[derive(Clone)]
pub struct SigningKey(pub(crate) Prepared);

#[derive(Clone)]
pub(crate) enum Prepared {
    Symmetric(Box<Hmac<Sha256>>),
    Ed25519(Box<ed25519_dalek::SigningKey>),
}

impl SigningKey {
    /// Prepares a secret.
    #[must_use]
    pub fn new(secret: &Secret) -> Self {
        Self(match &secret.0 {
            Key::Symmetric(bytes) => Prepared::Symmetric(Box::new(keyed(bytes))),
            Key::Ed25519(key) => Prepared::Ed25519(key.clone()),
        })
    }

    /// The signature of `message_id.timestamp.body`: `v1,<base64>` or `v1a,<base64>`.
    #[must_use]
    pub fn sign(&self, message_id: &str, timestamp_seconds: i64, body: &[u8]) -> String {
        let mut signature = String::new();
        self.append(
            message_id,
            Timestamp::new(timestamp_seconds),
            body,
            &mut signature,
        );
        signature
    }

    fn append(&self, message_id: &str, timestamp: Timestamp, body: &[u8], out: &mut String) {
        let parts = parts(message_id, timestamp.as_bytes(), body);
        match &self.0 {
            Prepared::Symmetric(keyed) => {
                out.push_str(SYMMETRIC_VERSION);
                out.push(',');
                STANDARD.encode_string(mac(keyed, &parts), out);
            }
            Prepared::Ed25519(key) => {
                out.push_str(ED25519_VERSION);
                out.push(',');
                STANDARD.encode_string(key.multipart_sign(&parts).to_bytes(), out);
            }
        }
    }
}

impl From<&Secret> for SigningKey {
    fn from(secret: &Secret) -> Self {
        Self::new(secret)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.0 {
            Prepared::Symmetric(_) => SecretKind::Symmetric,
            Prepared::Ed25519(_) => SecretKind::Ed25519,
        };
        write!(f, "SigningKey({kind:?}, redacted)")
    }
}

/// All secrets that are valid for an endpoint now: one, or several while a rotation overlaps.
#[derive(Clone, Debug)]
pub struct SigningKeys(Vec<SigningKey>);

impl SigningKeys {
    /// Prepares secrets; give the newest first, as receivers try signatures in order.
    #[must_use]
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        Self(secrets.into_iter().map(SigningKey::new).collect())
    }

    /// Replaces `out` with the value of the signature header: one signature for each secret, separated by spaces.
    ///
    /// The buffer keeps its capacity, so a caller that reuses it does not allocate.
    pub fn write_header(&self, message_id: &str, timestamp_seconds: i64, body: &[u8], out: &mut String) {
        out.clear();
        let timestamp = Timestamp::new(timestamp_seconds);
        for key in &self.0 {
            if !out.is_empty() {
                out.push(' ');
            }
            key.append(message_id, timestamp, body, out);
        }
    }

    /// How many signatures a header will carry.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no secret at all, so that nothing could be verified.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

pub(crate) fn keyed(bytes: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(bytes).expect("HMAC takes a key of any length")
}

pub(crate) fn mac(keyed: &Hmac<Sha256>, parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = keyed.clone();
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}
