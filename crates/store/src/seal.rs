//! Sealing of endpoint secrets: XChaCha20-Poly1305 under keys derived from the main secrets.
//!
//! Guarantees that a sealed text opens only for the app and endpoint it was sealed for, and that no plaintext shows in
//! `Debug` or errors. The first main secret seals; all are tried for opening, so that a main secret can be rotated.
//! Sources: RFC 5869, draft-irtf-cfrg-xchacha-03.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use nuncio_domain::{AppId, EndpointId, UnixMillis};
use rand::Rng;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::StoreError;

/// What the derived key is for: one key per use of the main secret.
const PURPOSE: &[u8] = b"nuncio endpoint secrets v1";
/// What a sealed text starts with.
const FORMAT: &str = "x1.";
const NONCE_BYTES: usize = 24;

/// An endpoint's secrets, as texts such as `whsec_…`.
#[derive(Debug, Clone)]
pub struct EndpointSecrets {
    /// The one that signs.
    pub current: SecretString,
    /// Those that were rotated out and still sign until then.
    pub old: Vec<(SecretString, UnixMillis)>,
}

impl EndpointSecrets {
    /// One secret and no other.
    #[must_use]
    pub fn only(secret: SecretString) -> Self {
        Self {
            current: secret,
            old: Vec::new(),
        }
    }

    /// The secrets that sign at `now`, the current one first.
    pub fn valid_at(&self, now: UnixMillis) -> impl Iterator<Item = &SecretString> {
        let old = self.old.iter().filter(move |(_, until)| now < *until);
        std::iter::once(&self.current).chain(old.map(|(secret, _)| secret))
    }

    /// Whether `text` is the current secret; in a time that tells nothing of where they differ.
    #[must_use]
    pub fn is_current(&self, text: &SecretString) -> bool {
        same(&self.current, text)
    }

    /// Whether `text` is one of those that sign at `now`; in a time that tells nothing of where they differ.
    #[must_use]
    pub fn signs_with(&self, text: &SecretString, now: UnixMillis) -> bool {
        self.valid_at(now)
            .fold(false, |found, held| found | same(held, text))
    }

    /// These secrets after `new` took over at `now`: the current one goes on for `overlap_until`.
    pub(crate) fn rotated(&self, new: SecretString, overlap_until: UnixMillis, now: UnixMillis) -> Self {
        let mut old = vec![(self.current.clone(), overlap_until)];
        old.extend(self.old.iter().cloned());
        old.retain(|(_, until)| now < *until);
        Self { current: new, old }
    }
}

fn same(one: &SecretString, other: &SecretString) -> bool {
    let (one, other) = (one.expose_secret().as_bytes(), other.expose_secret().as_bytes());
    one.ct_eq(other).into()
}

/// The plaintext that is sealed. Wiped when dropped.
#[derive(Serialize, Deserialize)]
struct Plain {
    c: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    o: Vec<(String, i64)>,
}

impl Drop for Plain {
    fn drop(&mut self) {
        self.c.zeroize();
        for (secret, _) in &mut self.o {
            secret.zeroize();
        }
    }
}

/// Seals and opens.
#[derive(Clone)]
pub(crate) struct Sealer {
    ciphers: Vec<XChaCha20Poly1305>,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealer({} keys)", self.ciphers.len())
    }
}

impl Sealer {
    pub(crate) fn new(main_secrets: &[SecretString]) -> Result<Self, StoreError> {
        let ciphers: Vec<_> = main_secrets.iter().map(cipher).collect();
        if ciphers.is_empty() {
            return Err(StoreError::Settings("at least one main secret is needed"));
        }
        Ok(Self { ciphers })
    }

    pub(crate) fn seal(&self, app: &AppId, endpoint: &EndpointId, secrets: &EndpointSecrets) -> String {
        let plain = Plain {
            c: secrets.current.expose_secret().to_owned(),
            o: secrets
                .old
                .iter()
                .map(|(secret, until)| (secret.expose_secret().to_owned(), until.0))
                .collect(),
        };
        let json = Zeroizing::new(serde_json::to_vec(&plain).expect("strings and numbers always serialise"));
        let mut nonce = [0_u8; NONCE_BYTES];
        rand::rng().fill_bytes(&mut nonce);
        let context = context(app, endpoint);
        let payload = Payload {
            msg: &json,
            aad: &context,
        };
        let sealed = self.ciphers[0]
            .encrypt(&XNonce::from(nonce), payload)
            .expect("a few kilobytes can always be encrypted");
        let mut bytes = nonce.to_vec();
        bytes.extend_from_slice(&sealed);
        format!("{FORMAT}{}", STANDARD_NO_PAD.encode(bytes))
    }

    pub(crate) fn open(
        &self,
        app: &AppId,
        endpoint: &EndpointId,
        sealed: &str,
    ) -> Result<EndpointSecrets, StoreError> {
        self.try_open(app, endpoint, sealed)
            .map(|(secrets, _)| secrets)
            .ok_or_else(|| StoreError::Sealed(endpoint.clone()))
    }

    /// The secrets, and whether it was the first main secret that opened them.
    pub(crate) fn try_open(
        &self,
        app: &AppId,
        endpoint: &EndpointId,
        sealed: &str,
    ) -> Option<(EndpointSecrets, bool)> {
        let bytes = STANDARD_NO_PAD.decode(sealed.strip_prefix(FORMAT)?).ok()?;
        let (nonce, ciphertext) = bytes.split_first_chunk::<NONCE_BYTES>()?;
        let context = context(app, endpoint);
        let nonce = XNonce::from(*nonce);
        self.ciphers.iter().enumerate().find_map(|(index, cipher)| {
            let payload = Payload {
                msg: ciphertext,
                aad: &context,
            };
            let json = Zeroizing::new(cipher.decrypt(&nonce, payload).ok()?);
            let plain: Plain = serde_json::from_slice(&json).ok()?;
            let secrets = EndpointSecrets {
                current: SecretString::from(plain.c.as_str()),
                old: plain
                    .o
                    .iter()
                    .map(|(secret, until)| (SecretString::from(secret.as_str()), UnixMillis(*until)))
                    .collect(),
            };
            Some((secrets, index == 0))
        })
    }
}

fn cipher(main_secret: &SecretString) -> XChaCha20Poly1305 {
    let mut key = Zeroizing::new([0_u8; 32]);
    Hkdf::<Sha256>::new(None, main_secret.expose_secret().as_bytes())
        .expand(PURPOSE, &mut *key)
        .expect("32 bytes are within what HKDF-SHA256 can give");
    XChaCha20Poly1305::new((&*key).into())
}

fn context(app: &AppId, endpoint: &EndpointId) -> Vec<u8> {
    format!("{app}\0{endpoint}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> (AppId, EndpointId) {
        (AppId::parse("app_1").unwrap(), EndpointId::parse("ep_1").unwrap())
    }

    fn sealer(secrets: &[&str]) -> Sealer {
        let secrets: Vec<_> = secrets.iter().map(|text| SecretString::from(*text)).collect();
        Sealer::new(&secrets).unwrap()
    }

    #[test]
    fn what_was_sealed_opens_for_its_app_and_endpoint_alone() {
        let (app, endpoint) = ids();
        let sealer = sealer(&["0123456789abcdef0123456789abcdef"]);
        let secrets = EndpointSecrets {
            current: SecretString::from("whsec_new"),
            old: vec![(SecretString::from("whsec_old"), UnixMillis(10))],
        };
        let sealed = sealer.seal(&app, &endpoint, &secrets);
        assert!(!sealed.contains("whsec"));
        let opened = sealer.open(&app, &endpoint, &sealed).unwrap();
        assert_eq!(opened.current.expose_secret(), "whsec_new");
        let valid = |now| opened.valid_at(UnixMillis(now)).count();
        assert_eq!((valid(9), valid(10)), (2, 1));
        let signs = |text: &str, now| opened.signs_with(&SecretString::from(text), UnixMillis(now));
        assert!(signs("whsec_new", 10) && signs("whsec_old", 9));
        assert!(!signs("whsec_old", 10) && !signs("whsec_ne", 10) && !signs("whsec_new1", 10));
        assert!(opened.is_current(&SecretString::from("whsec_new")));
        assert!(!opened.is_current(&SecretString::from("whsec_old")));
        let other = EndpointId::parse("ep_2").unwrap();
        assert!(matches!(
            sealer.open(&app, &other, &sealed),
            Err(StoreError::Sealed(_))
        ));
        let other = AppId::parse("app_2").unwrap();
        assert!(sealer.open(&other, &endpoint, &sealed).is_err());
    }

    #[test]
    fn an_older_main_secret_still_opens_and_a_foreign_one_does_not() {
        let (app, endpoint) = ids();
        let secrets = EndpointSecrets::only(SecretString::from("whsec_a"));
        let sealed = sealer(&["old main secret, 32 bytes long.."]).seal(&app, &endpoint, &secrets);
        let rotated = sealer(&[
            "new main secret, 32 bytes long..",
            "old main secret, 32 bytes long..",
        ]);
        let (opened, by_first) = rotated.try_open(&app, &endpoint, &sealed).unwrap();
        assert_eq!((opened.current.expose_secret(), by_first), ("whsec_a", false));
        assert!(
            sealer(&["another main secret of 32 bytes.."])
                .open(&app, &endpoint, &sealed)
                .is_err()
        );
    }

    #[test]
    fn a_flipped_byte_does_not_open() {
        let (app, endpoint) = ids();
        let sealer = sealer(&["0123456789abcdef0123456789abcdef"]);
        let sealed = sealer.seal(
            &app,
            &endpoint,
            &EndpointSecrets::only(SecretString::from("whsec_a")),
        );
        for at in FORMAT.len()..sealed.len() - 1 {
            let mut bytes = sealed.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let text = String::from_utf8(bytes).unwrap();
            assert!(sealer.open(&app, &endpoint, &text).is_err(), "byte {at}");
        }
    }

    #[test]
    fn no_plaintext_shows_in_debug() {
        let secrets = EndpointSecrets::only(SecretString::from("whsec_canary"));
        assert!(!format!("{secrets:?} {:?}", sealer(&["canary main secret"])).contains("canary"));
    }

    #[test]
    fn a_rotation_keeps_the_old_secret_until_the_overlap_ends() {
        let first = EndpointSecrets::only(SecretString::from("a"));
        let second = first.rotated(SecretString::from("b"), UnixMillis(100), UnixMillis(10));
        let third = second.rotated(SecretString::from("c"), UnixMillis(200), UnixMillis(100));
        let names = |secrets: &EndpointSecrets, now| {
            let valid = secrets.valid_at(UnixMillis(now));
            valid
                .map(|secret| secret.expose_secret().to_owned())
                .collect::<String>()
        };
        assert_eq!(names(&second, 99), "ba");
        assert_eq!(names(&third, 100), "cb", "what has run out is forgotten");
    }
}
