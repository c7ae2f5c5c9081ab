//! One request as it arrived.
//!
//! Owns the record and the questions tests ask of it.

use bytes::Bytes;
use http::HeaderMap;
use standardwebhooks::Webhook;
use tokio::time::Instant;

/// One request, recorded when its body was complete.
#[derive(Debug, Clone)]
pub struct Received {
    /// When the body was complete.
    pub at: Instant,
    /// `POST`, unless something is wrong.
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// As they came.
    pub headers: HeaderMap,
    /// The exact bytes.
    pub body: Bytes,
}

impl Received {
    /// A header as text; empty when there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("")
    }

    /// The `webhook-id`, or else the `svix-id`.
    #[must_use]
    pub fn id(&self) -> &str {
        match self.header("webhook-id") {
            "" => self.header("svix-id"),
            id => id,
        }
    }

    /// The body as text.
    ///
    /// # Panics
    /// When it is not UTF-8.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is UTF-8")
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    /// Does the official `standardwebhooks` library accept the signature under this secret (`whsec_…`)?
    ///
    /// # Panics
    /// When the secret is not one.
    #[must_use]
    pub fn is_signed_by(&self, secret: &str) -> bool {
        let webhook = Webhook::new(secret).expect("a secret is whsec_ and base64");
        webhook.verify(&self.body, &self.headers).is_ok()
    }
}
