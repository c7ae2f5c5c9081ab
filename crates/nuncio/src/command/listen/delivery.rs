//! One delivery as it was received.
//!
//! Owns what is read out of a request and the two forms it is printed in. Refuses to know what is answered.

use axum::http::HeaderMap;
use axum::http::request::Parts;
use nuncio_signing::{Signed, TOLERANCE, Verifier};
use serde::Serialize;

/// What is printed of a delivery; in JSON under these names.
#[derive(Debug, Serialize)]
pub(super) struct Delivery {
    path: String,
    id: Option<String>,
    timestamp: Option<i64>,
    /// Whether a secret verifies it; none where no secret was given.
    pub(super) verified: Option<bool>,
    /// What it is answered with.
    pub(super) status: u16,
    body: String,
    #[serde(skip)]
    reason: Option<String>,
}

impl Delivery {
    pub(super) fn read(head: &Parts, body: &[u8], secrets: &[Verifier], now_seconds: i64) -> Self {
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let (verified, reason) = verify(&head.headers, body, secrets, now_seconds);
        Self {
            path: path.to_owned(),
            id: header(&head.headers, "id").map(str::to_owned),
            timestamp: header(&head.headers, "timestamp").and_then(|text| text.parse().ok()),
            verified,
            status: 0,
            body: String::from_utf8_lossy(body).into_owned(),
            reason,
        }
    }

    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers are always JSON")
    }

    pub(super) fn readable(&self) -> String {
        let verified = match self.verified {
            Some(true) => "verified".to_owned(),
            Some(false) => format!("NOT VERIFIED: {}", self.reason.as_deref().unwrap_or_default()),
            None => "not checked".to_owned(),
        };
        let id = self.id.as_deref().unwrap_or("no id");
        format!(
            "{} {} {} ({verified})\n  {}",
            self.status, self.path, id, self.body
        )
    }
}

/// The header `webhook-<name>`, or else `svix-<name>`.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    ["webhook", "svix"]
        .iter()
        .find_map(|prefix| headers.get(format!("{prefix}-{name}")))
        .and_then(|value| value.to_str().ok())
}

fn verify(
    headers: &HeaderMap,
    body: &[u8],
    secrets: &[Verifier],
    now_seconds: i64,
) -> (Option<bool>, Option<String>) {
    if secrets.is_empty() {
        return (None, None);
    }
    let wanted = (
        header(headers, "id"),
        header(headers, "timestamp"),
        header(headers, "signature"),
    );
    let (Some(message_id), Some(timestamp), Some(signature)) = wanted else {
        return (Some(false), Some("a signature header is missing".to_owned()));
    };
    let signed = Signed {
        message_id,
        timestamp,
        signature,
        body,
    };
    let mut reason = None;
    for secret in secrets {
        match secret.verify(&signed, now_seconds, TOLERANCE) {
            Ok(()) => return (Some(true), None),
            Err(error) => reason = Some(error.to_string()),
        }
    }
    (Some(false), reason)
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use nuncio_signing::{Secret, SigningKeys};

    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const OTHER: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    const SENT: i64 = 1_700_000_000;

    fn request(prefix: &str, body: &[u8]) -> Parts {
        let mut signature = String::new();
        let secret = Secret::parse(SECRET).unwrap();
        SigningKeys::new([&secret]).write_header("msg_1", SENT, body, &mut signature);
        Request::post("/hook?x=1")
            .header(format!("{prefix}-id"), "msg_1")
            .header(format!("{prefix}-timestamp"), SENT.to_string())
            .header(format!("{prefix}-signature"), signature)
            .body(())
            .unwrap()
            .into_parts()
            .0
    }

    fn verifiers(secrets: &[&str]) -> Vec<Verifier> {
        secrets.iter().map(|s| Verifier::parse(s).unwrap()).collect()
    }

    #[test]
    fn either_set_of_headers_is_verified_with_any_of_the_secrets() {
        let body = br#"{"type":"sync.user","userId":"user_1"}"#;
        for prefix in ["webhook", "svix"] {
            let head = request(prefix, body);
            let both = verifiers(&[OTHER, SECRET]);
            assert_eq!(Delivery::read(&head, body, &both, SENT + 1).verified, Some(true));
            assert_eq!(
                Delivery::read(&head, body, &verifiers(&[OTHER]), SENT).verified,
                Some(false)
            );
            assert_eq!(Delivery::read(&head, b"{}", &both, SENT).verified, Some(false));
            assert_eq!(
                Delivery::read(&head, body, &both, SENT + 301).verified,
                Some(false)
            );
            assert_eq!(Delivery::read(&head, body, &[], SENT).verified, None);
        }
    }

    #[test]
    fn a_line_of_json_has_the_documented_fields_and_the_exact_body() {
        let body = "{\"type\" : \"sync.user\",\n\"userId\":\"user_ü\"}";
        let head = request("webhook", body.as_bytes());
        let mut delivery = Delivery::read(&head, body.as_bytes(), &verifiers(&[SECRET]), SENT);
        delivery.status = 200;
        let line = delivery.json();
        assert!(!line.contains('\n'));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        let expected = serde_json::json!({
            "path": "/hook?x=1", "id": "msg_1", "timestamp": SENT, "verified": true, "status": 200, "body": body,
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn a_delivery_without_signature_headers_is_not_verified() {
        let head = Request::post("/").body(()).unwrap().into_parts().0;
        let mut delivery = Delivery::read(&head, b"", &verifiers(&[SECRET]), SENT);
        delivery.status = 401;
        assert_eq!(delivery.verified, Some(false));
        assert!(
            delivery.readable().contains("signature header is missing"),
            "{}",
            delivery.readable()
        );
    }
}
