//! What is kept of requests, sealed: drafts and answers may hold secrets.
//!
//! Guarantees that what was sealed opens for its caller, key and purpose alone, under any of the main secrets.

use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use http::{HeaderValue, StatusCode, header};
use nuncio_runtime::Dice;
use nuncio_store::StoredResponse;
use secrecy::SecretString;

use super::draft::Draft;
use crate::token::derive_key;
use crate::usecase::refusal::{Outcome, Refusal};

const NONCE_BYTES: usize = 24;

/// Whose request it is, under which key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Of<'a> {
    pub(super) caller: &'a str,
    pub(super) key: &'a str,
}

impl Of<'_> {
    fn context(self, what: &str) -> String {
        let Self { caller, key } = self;
        format!("{what}:{}:{caller}:{key}", caller.len())
    }
}

/// Seals and opens.
pub(crate) struct Sealed {
    ciphers: Vec<XChaCha20Poly1305>,
}

impl Sealed {
    pub(crate) fn new(main_secrets: &[SecretString]) -> Self {
        let ciphers = main_secrets.iter().map(|secret| {
            let key = derive_key::<32>(secret, b"nuncio idempotent answer v1");
            XChaCha20Poly1305::new(key.as_slice().try_into().expect("the key has 32 bytes"))
        });
        Self {
            ciphers: ciphers.collect(),
        }
    }

    pub(super) fn answer(&self, of: Of<'_>, status: StatusCode, body: &[u8], dice: &Dice) -> StoredResponse {
        StoredResponse {
            status: status.as_u16(),
            body: self.seal(&of.context("answer"), body, dice),
        }
    }

    pub(super) fn open_answer(&self, of: Of<'_>, stored: &StoredResponse) -> Outcome<Response> {
        let body = self
            .open(&of.context("answer"), &stored.body)
            .ok_or_else(unreadable)?;
        let status = StatusCode::from_u16(stored.status).unwrap_or(StatusCode::OK);
        let mut response = (status, body.clone()).into_response();
        response.headers_mut().remove(header::CONTENT_TYPE);
        if !body.is_empty() {
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
        }
        Ok(response)
    }

    pub(super) fn draft(&self, of: Of<'_>, draft: &Draft, dice: &Dice) -> String {
        self.seal(&of.context("draft"), &draft.to_bytes(), dice)
    }

    pub(super) fn open_draft(&self, of: Of<'_>, text: &str) -> Outcome<Draft> {
        let bytes = self.open(&of.context("draft"), text);
        bytes
            .and_then(|bytes| Draft::from_bytes(&bytes))
            .ok_or_else(unreadable)
    }

    fn seal(&self, context: &str, plain: &[u8], dice: &Dice) -> String {
        let mut nonce = [0; NONCE_BYTES];
        dice.fill(&mut nonce);
        let payload = Payload {
            msg: plain,
            aad: context.as_bytes(),
        };
        let sealed = self.ciphers[0]
            .encrypt(&XNonce::from(nonce), payload)
            .expect("a body of a few MiB can be sealed");
        BASE64.encode([nonce.as_slice(), &sealed].concat())
    }

    fn open(&self, context: &str, text: &str) -> Option<Vec<u8>> {
        let bytes = BASE64.decode(text).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>()?;
        self.ciphers.iter().find_map(|cipher| {
            let payload = Payload {
                msg: sealed,
                aad: context.as_bytes(),
            };
            cipher.decrypt(&XNonce::from(*nonce), payload).ok()
        })
    }
}

fn unreadable() -> Refusal {
    Refusal::Conflict {
        code: "idempotency_key_in_use",
        detail: "what is kept under this idempotency key cannot be read any more: use another key".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use nuncio_domain::UnixMillis;

    use super::*;

    const OURS: Of<'_> = Of {
        caller: "caller",
        key: "key",
    };

    fn sealed(secrets: &[&str]) -> Sealed {
        let secrets: Vec<_> = secrets
            .iter()
            .map(|text| SecretString::from(text.repeat(8)))
            .collect();
        Sealed::new(&secrets)
    }

    #[test]
    fn an_answer_opens_for_its_caller_and_key_alone_and_is_not_kept_in_the_clear() {
        let ours = sealed(&["one"]);
        let body = br#"{"key":"whsec_canary"}"#;
        let stored = ours.answer(OURS, StatusCode::CREATED, body, &Dice::seeded(1));
        assert!(!stored.body.contains("canary"));
        let response = ours.open_answer(OURS, &stored).unwrap();
        assert_eq!(response.status(), StatusCode::CREATED);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
        assert!(sealed(&["two", "one"]).open_answer(OURS, &stored).is_ok());
        assert!(sealed(&["two"]).open_answer(OURS, &stored).is_err());
        for (caller, key) in [("caller", "other"), ("callerk", "ey")] {
            assert!(ours.open_answer(Of { caller, key }, &stored).is_err());
        }
    }

    #[test]
    fn a_draft_opens_as_it_was_and_is_no_answer() {
        let ours = sealed(&["one"]);
        let draft = Draft {
            at: UnixMillis(1_700_000_000_123),
            seed: [7; 32],
            body: Bytes::from_static(b"{}"),
        };
        let text = ours.draft(OURS, &draft, &Dice::seeded(1));
        assert_eq!(ours.open_draft(OURS, &text).unwrap(), draft);
        let as_answer = StoredResponse {
            status: 200,
            body: text,
        };
        assert!(ours.open_answer(OURS, &as_answer).is_err());
    }
}
