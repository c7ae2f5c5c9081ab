//! Secrets and public keys in their text form, parsed once.
//!
//! Guarantees that a parsed secret can sign, that it prints as redacted and that it is wiped
//! when dropped. Refuses to repair input: what official libraries would read otherwise is an error.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::VerifyingKey;
use rand::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Fewest bytes of a symmetric secret.
pub const SECRET_BYTES_MIN: usize = 24;
/// Most bytes of a symmetric secret.
pub const SECRET_BYTES_MAX: usize = 64;

/// Bytes of a generated symmetric secret: 192 bits, as the Standard Webhooks specification asks at least.
const GENERATED_BYTES: usize = 24;
const SYMMETRIC_PREFIX: &str = "whsec_";
const PRIVATE_PREFIX: &str = "whsk_";
const PUBLIC_PREFIX: &str = "whpk_";

/// What an endpoint signs with: a symmetric secret or an ed25519 private key.
///
/// ```
/// use nuncio_signing::Secret;
///
/// let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")?;
/// assert_eq!(secret.expose().as_str(), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
/// assert_eq!(format!("{secret:?}"), "Secret(Symmetric, redacted)");
/// # Ok::<(), nuncio_signing::SecretError>(())
/// ```
#[derive(Clone)]
pub struct Secret(pub(crate) Key);

/// The key inside a [`Secret`]; both forms are wiped when dropped.
#[derive(Clone)]
pub(crate) enum Key {
    Symmetric(Zeroizing<Vec<u8>>),
    Ed25519(Box<ed25519_dalek::SigningKey>),
}

/// Which signature a secret makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretKind {
    /// `whsec_…`: HMAC-SHA256, signature version `v1`.
    Symmetric,
    /// `whsk_…`: ed25519, signature version `v1a`.
    Ed25519,
}

/// Why a text is not a secret. No message repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// None of the known prefixes.
    #[error("a secret starts with `whsec_` (or `whsk_` for an ed25519 private key)")]
    Prefix,
    /// A public key where a secret was expected.
    #[error("`whpk_` is a public key, which cannot sign: give the `whsk_` private key")]
    PublicKey,
    /// A public key was expected.
    #[error("a public key starts with `whpk_`")]
    PublicPrefix,
    /// Not standard, padded base64.
    #[error("a secret is standard base64 (with padding) after its prefix")]
    Base64,
    /// Fewer than [`SECRET_BYTES_MIN`] bytes.
    #[error("a secret has at least {SECRET_BYTES_MIN} bytes, this one has {0}")]
    TooShort(usize),
    /// More than [`SECRET_BYTES_MAX`] bytes.
    #[error("a secret has at most {SECRET_BYTES_MAX} bytes, this one has {0}")]
    TooLong(usize),
    /// Not a key length that ed25519 has.
    #[error("an ed25519 private key is 32 or 64 bytes and a public key 32, this one has {0}")]
    KeyLength(usize),
    /// The second half of a 64-byte private key is not its public key, or the point is not on the curve.
    #[error("the bytes are not an ed25519 key")]
    Key,
}

impl Secret {
    /// Reads `whsec_<base64 of 24 to 64 bytes>` or `whsk_<base64 of an ed25519 key>`.
    ///
    /// An ed25519 key is its 32-byte seed, or the seed followed by the 32-byte public key.
    ///
    /// # Errors
    /// Says which part is wrong; the text itself is never repeated.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        if let Some(encoded) = text.strip_prefix(SYMMETRIC_PREFIX) {
            let bytes = decode(encoded)?;
            return match bytes.len() {
                ..SECRET_BYTES_MIN => Err(SecretError::TooShort(bytes.len())),
                SECRET_BYTES_MIN..=SECRET_BYTES_MAX => Ok(Self(Key::Symmetric(bytes))),
                _ => Err(SecretError::TooLong(bytes.len())),
            };
        }
        if let Some(encoded) = text.strip_prefix(PRIVATE_PREFIX) {
            return private_key(&decode(encoded)?);
        }
        Err(if text.starts_with(PUBLIC_PREFIX) {
            SecretError::PublicKey
        } else {
            SecretError::Prefix
        })
    }

    /// A new symmetric secret of 24 random bytes.
    pub fn generate<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut bytes = Zeroizing::new(vec![0; GENERATED_BYTES]);
        rng.fill_bytes(&mut bytes);
        Self(Key::Symmetric(bytes))
    }

    /// A new ed25519 private key.
    pub fn generate_ed25519<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(seed.as_mut_slice());
        Self(Key::Ed25519(Box::new(ed25519_dalek::SigningKey::from_bytes(
            &seed,
        ))))
    }

    /// The text form, which [`Secret::parse`] reads back: for the customer's eyes and for encryption at rest only.
    #[must_use]
    pub fn expose(&self) -> Zeroizing<String> {
        match &self.0 {
            Key::Symmetric(bytes) => encode(SYMMETRIC_PREFIX, bytes),
            Key::Ed25519(key) => encode(PRIVATE_PREFIX, &*Zeroizing::new(key.to_keypair_bytes())),
        }
    }

    /// Which signature this secret makes.
    #[must_use]
    pub fn kind(&self) -> SecretKind {
        match self.0 {
            Key::Symmetric(_) => SecretKind::Symmetric,
            Key::Ed25519(_) => SecretKind::Ed25519,
        }
    }

    /// The key that verifies this secret's signatures, where it is one that may be published.
    #[must_use]
    pub fn public_key(&self) -> Option<PublicKey> {
        match &self.0 {
            Key::Symmetric(_) => None,
            Key::Ed25519(key) => Some(PublicKey(key.verifying_key())),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({:?}, redacted)", self.kind())
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Key::Symmetric(a), Key::Symmetric(b)) => a.ct_eq(b.as_slice()).into(),
            (Key::Ed25519(a), Key::Ed25519(b)) => a.ct_eq(b).into(),
            (Key::Symmetric(_), Key::Ed25519(_)) | (Key::Ed25519(_), Key::Symmetric(_)) => false,
        }
    }
}

impl Eq for Secret {}

/// An ed25519 public key, `whpk_<base64 of 32 bytes>`: what a receiver needs to verify `v1a` signatures.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(pub(crate) VerifyingKey);

impl PublicKey {
    /// Reads `whpk_<base64 of 32 bytes>`.
    ///
    /// # Errors
    /// Says which part is wrong.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let encoded = text
            .strip_prefix(PUBLIC_PREFIX)
            .ok_or(SecretError::PublicPrefix)?;
        let bytes = decode(encoded)?;
        let bytes: &[u8; 32] = bytes
            .as_slice()
            .try_into()
            .map_err(|_| SecretError::KeyLength(bytes.len()))?;
        VerifyingKey::from_bytes(bytes)
            .map(Self)
            .map_err(|_| SecretError::Key)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC_PREFIX}{}", STANDARD.encode(self.0.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

fn private_key(bytes: &[u8]) -> Result<Secret, SecretError> {
    let key = if let Ok(pair) = <&[u8; 64]>::try_from(bytes) {
        ed25519_dalek::SigningKey::from_keypair_bytes(pair).map_err(|_| SecretError::Key)?
    } else if let Ok(seed) = <&[u8; 32]>::try_from(bytes) {
        ed25519_dalek::SigningKey::from_bytes(seed)
    } else {
        return Err(SecretError::KeyLength(bytes.len()));
    };
    Ok(Secret(Key::Ed25519(Box::new(key))))
}

fn decode(encoded: &str) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    STANDARD
        .decode(encoded)
        .map(Zeroizing::new)
        .map_err(|_| SecretError::Base64)
}

fn encode(prefix: &str, bytes: &[u8]) -> Zeroizing<String> {
    // Room for the whole text at once, so that no half-grown copy stays behind in freed memory.
    let mut text = Zeroizing::new(String::with_capacity(prefix.len() + bytes.len().div_ceil(3) * 4));
    text.push_str(prefix);
    STANDARD.encode_string(bytes, &mut text);
    text
}
