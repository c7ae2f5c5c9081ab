//! Verification, as a receiver does it.
//!
//! Guarantees that every signature offered is compared in constant time, and that a signature
//! which is right but old, or from the future, is refused. Refuses to know the clock.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};
use hmac::Hmac;
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

use crate::content::parts;
use crate::secret::{Key, PublicKey, Secret, SecretError};
use crate::sign::{ED25519_VERSION, SYMMETRIC_VERSION, keyed, mac};

/// How far a timestamp may lie from the receiver's clock, either way.
pub const TOLERANCE: Duration = Duration::from_secs(300);

/// Signatures looked at in one header: more than a rotation ever sends, few enough to bound the work.
const SIGNATURES_MAX: usize = 32;

/// A delivery as it was received: three header values and the raw body.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// `webhook-id` or `svix-id`.
    pub message_id: &'a str,
    /// `webhook-timestamp` or `svix-timestamp`, in seconds, as text.
    pub timestamp: &'a str,
    /// `webhook-signature` or `svix-signature`: one or several signatures, separated by spaces.
    pub signature: &'a str,
    /// The body's bytes as they came, before any parsing.
    pub body: &'a [u8],
}

/// Why a delivery cannot be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The timestamp is not a whole number of seconds.
    #[error("the timestamp header is not a number of seconds")]
    Timestamp,
    /// Signed too long ago: it may be a replay, or this machine's clock is fast.
    #[error("the timestamp is {} s in the past, more than the tolerance", .0.as_secs())]
    TooOld(Duration),
    /// Signed in the future: this machine's clock is slow, or the sender's fast.
    #[error("the timestamp is {} s in the future, more than the tolerance", .0.as_secs())]
    TooNew(Duration),
    /// The header has no signature of the version that the key verifies.
    #[error("no `{0}` signature in the signature header")]
    NoSignature(&'static str),
    /// None of the signatures is right: another secret, another id or another body.
    #[error("no signature matches: the secret, the message id or the body differs")]
    Mismatch,
}

/// Verifies one delivery against one secret; `now_seconds` is the receiver's clock.
///
/// # Errors
/// Says whether the timestamp or the signature is wrong.
pub fn verify(
    secret: &Secret,
    signed: &Signed<'_>,
    now_seconds: i64,
    tolerance: Duration,
) -> Result<(), VerifyError> {
    Verifier::new(secret).verify(signed, now_seconds, tolerance)
}

/// A key made ready to verify many deliveries.
#[derive(Clone)]
pub struct Verifier(Checked);

#[derive(Clone)]
enum Checked {
    Symmetric(Box<Hmac<Sha256>>),
    Ed25519(Box<VerifyingKey>),
}

impl Verifier {
    /// Verifies what this secret signs.
    #[must_use]
    pub fn new(secret: &Secret) -> Self {
        Self(match &secret.0 {
            Key::Symmetric(bytes) => Checked::Symmetric(Box::new(keyed(bytes))),
            Key::Ed25519(key) => Checked::Ed25519(Box::new(key.verifying_key())),
        })
    }

    /// Reads what a receiver may hold: `whsec_…`, `whpk_…` or `whsk_…`.
    ///
    /// # Errors
    /// As [`Secret::parse`] and [`PublicKey::parse`].
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        match Secret::parse(text) {
            Ok(secret) => Ok(Self::new(&secret)),
            Err(SecretError::PublicKey) => PublicKey::parse(text).map(Self::from),
            Err(other) => Err(other),
        }
    }

    /// Verifies one delivery; `now_seconds` is the receiver's clock.
    ///
    /// # Errors
    /// Says whether the timestamp or the signature is wrong.
    pub fn verify(
        &self,
        signed: &Signed<'_>,
        now_seconds: i64,
        tolerance: Duration,
    ) -> Result<(), VerifyError> {
        check_age(signed.timestamp, now_seconds, tolerance)?;
        // The text of the timestamp is what was signed, so it goes in as it came.
        let parts = parts(signed.message_id, signed.timestamp.as_bytes(), signed.body);
        let version = self.version();
        let mut offered = signed
            .signature
            .split(' ')
            .filter_map(|one| one.split_once(','))
            .filter_map(|(found, encoded)| (found == version).then_some(encoded))
            .take(SIGNATURES_MAX)
            .peekable();
        if offered.peek().is_none() {
            return Err(VerifyError::NoSignature(version));
        }
        let decoded = offered.filter_map(|encoded| STANDARD.decode(encoded).ok());
        let matched = match &self.0 {
            Checked::Symmetric(keyed) => {
                let expected = mac(keyed, &parts);
                decoded
                    .fold(Choice::from(0), |any, one| any | one.ct_eq(expected.as_slice()))
                    .into()
            }
            Checked::Ed25519(key) => {
                let content = parts.concat();
                decoded
                    .filter_map(|one| Signature::from_slice(&one).ok())
                    .any(|one| key.verify_strict(&content, &one).is_ok())
            }
        };
        if matched {
            Ok(())
        } else {
            Err(VerifyError::Mismatch)
        }
    }

    fn version(&self) -> &'static str {
        match self.0 {
            Checked::Symmetric(_) => SYMMETRIC_VERSION,
            Checked::Ed25519(_) => ED25519_VERSION,
        }
    }
}

impl From<PublicKey> for Verifier {
    fn from(key: PublicKey) -> Self {
        Self(Checked::Ed25519(Box::new(key.0)))
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({}, redacted)", self.version())
    }
}

fn check_age(timestamp: &str, now_seconds: i64, tolerance: Duration) -> Result<(), VerifyError> {
    let digits_only = !timestamp.is_empty() && timestamp.bytes().all(|byte| byte.is_ascii_digit());
    if !digits_only {
        return Err(VerifyError::Timestamp);
    }
    let sent: i64 = timestamp.parse().map_err(|_| VerifyError::Timestamp)?;
    let apart = Duration::from_secs(now_seconds.abs_diff(sent));
    if apart <= tolerance {
        Ok(())
    } else if sent < now_seconds {
        Err(VerifyError::TooOld(apart))
    } else {
        Err(VerifyError::TooNew(apart))
    }
}
