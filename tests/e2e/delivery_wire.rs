//! What a receiver sees on the wire: the exact bytes, the headers, the signatures.

use std::collections::HashSet;

use bytes::Bytes;
use e2e::{Answer, Event, LONG, Received, SHORT, eventually};
use lapin::types::{AMQPValue, LongString};
use nuncio_runtime::Clock;
use nuncio_signing::{Signed, TOLERANCE, Verifier};
use serde_json::json;

use crate::delivery_stage::{LADDER, Stage, assert_retries, seconds};

/// The size to which the default configuration accepts payloads.
const PAYLOAD_BYTES_MAX: usize = 256 * 1024;

/// Does this key verify the request under both families of headers, at the time of the test?
fn is_verified(request: &Received, key: &str) -> bool {
    let verifier = Verifier::parse(key).expect("a key");
    ["webhook", "svix"].iter().all(|family| {
        let header = |name: &str| request.header(&format!("{family}-{name}"));
        let signed = Signed {
            message_id: header("id"),
            timestamp: header("timestamp"),
            signature: header("signature"),
            body: &request.body,
        };
        verifier
            .verify(&signed, Clock::system().now() / 1_000, TOLERANCE)
            .is_ok()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_arrives_byte_for_byte() {
    let stage = Stage::set(&[]).await;
    let endpoint = stage.endpoint("/a").await;
    let secret = stage.secret(&endpoint).await;
    let largest = format!("\"{}\"", "é".repeat(PAYLOAD_BYTES_MAX / 2 - 1));
    assert_eq!(largest.len(), PAYLOAD_BYTES_MAX);
    // Deeper than parsers that recurse can read; nothing on the way needs to.
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    let bodies = [
        r#"{"type":"sync.user","userId":"user_1"}"#,
        r#"{"type":"sync.organization","organizationId":"org_1"}"#,
        r#"{"b":1,"a":2,"a":3}"#,
        "  {\"a\" :\t1 }\r\n\n",
        "{}",
        "[ ]",
        "null",
        "\"\"",
        " 12345678901234567890.1234567890e-3 ",
        r#"{"é":"🦀","escaped":"\u00e9\u0000\/\ud83e\udd80"}"#,
        &deep,
        &largest,
    ];
    let events = bodies
        .iter()
        .map(|body| Event::new(&stage.app, "sync.user", (*body).to_owned()));
    stage.publisher.publish_all(events).await.unwrap();

    let requests = stage.receiver.wait_for("/a", bodies.len(), LONG).await;
    let arrived: HashSet<Bytes> = requests.iter().map(|request| request.body.clone()).collect();
    let published: HashSet<Bytes> = bodies
        .iter()
        .map(|body| Bytes::from((*body).to_owned()))
        .collect();
    assert!(
        arrived == published,
        "{} of {} bodies are the same",
        arrived.intersection(&published).count(),
        bodies.len()
    );
    for request in requests {
        assert_eq!(request.header("content-length"), request.body.len().to_string());
        assert!(is_verified(&request, &secret));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_has_the_headers_of_the_contract_and_the_endpoints_own() {
    let stage = Stage::set(&[]).await;
    let endpoint = stage.endpoint("/a?token=1").await;
    let own = json!({ "headers": { "x-tenant": "acme", "Authorization": "Bearer its-own" } });
    let path = format!("/api/v1/app/{}/endpoint/{endpoint}/headers", stage.app);
    stage
        .api
        .call(http::Method::PUT, &path, Some(&own))
        .await
        .unwrap()
        .success()
        .unwrap();
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let event = Event::new(&stage.app, "sync.user", "{}")
        .header("traceparent", AMQPValue::LongString(LongString::from(parent)))
        .header("x-unknown", AMQPValue::Boolean(true));
    // The sender may hear of the endpoint's headers a moment after the first delivery.
    let request = eventually("a delivery with the endpoint's own headers", LONG, || async {
        let before = stage.receiver.count("/a");
        stage.publisher.publish(&event).await.unwrap();
        let requests = stage.receiver.wait_for("/a", before + 1, SHORT).await;
        requests
            .into_iter()
            .find(|request| request.header("x-tenant") == "acme")
    });
    let request = request.await;

    assert_eq!(request.method, "POST");
    assert_eq!(request.header("content-type"), "application/json");
    assert_eq!(
        request.header("user-agent"),
        format!("Nuncio/{}", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(request.header("authorization"), "Bearer its-own");
    assert_eq!(request.header("host"), stage.receiver.address().to_string());
    assert!(
        request.headers.get("accept-encoding").is_none(),
        "no answer is to be compressed"
    );
    assert!(
        request.headers.get("x-unknown").is_none(),
        "unknown headers of the event stay inside"
    );
    assert!(
        request
            .header("traceparent")
            .starts_with("00-0af7651916cd43dd8448eb211c80319c-")
    );
    assert!(request.id().starts_with("msg_") && !request.id().contains('.'));
    for name in ["id", "timestamp", "signature"] {
        let values =
            [format!("webhook-{name}"), format!("svix-{name}")].map(|name| request.header(&name).to_owned());
        assert!(
            !values[0].is_empty() && values[0] == values[1],
            "{name}: {values:?}"
        );
    }
    assert!((Clock::system().now() / 1_000 - seconds(&request)).abs() <= 300);
    let secret = stage.secret(&endpoint).await;
    assert!(is_verified(&request, &secret) && request.is_signed_by(&secret));
    let signatures: Vec<_> = request.header("webhook-signature").split(' ').collect();
    assert!(
        signatures.len() == 1 && signatures[0].starts_with("v1,"),
        "{signatures:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_signed_anew_under_the_same_id() {
    let stage = Stage::set(&[("NUNCIO_RETRY_FIRST", "1100ms"), ("NUNCIO_RETRY_JITTER", "0")]).await;
    stage.receiver.answer("/a", [Answer::status(500), Answer::ok()]);
    let endpoint = stage.endpoint("/a").await;
    stage.publish_user(1).await;
    let requests = stage.receiver.wait_for("/a", 2, LONG).await;
    assert_retries(&requests, &LADDER);
    assert!(
        seconds(&requests[1]) > seconds(&requests[0]),
        "the second is signed more than a second later"
    );
    assert_ne!(
        requests[0].header("webhook-signature"),
        requests[1].header("webhook-signature")
    );
    let secret = stage.secret(&endpoint).await;
    assert!(requests.iter().all(|request| is_verified(request, &secret)));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_endpoint_signs_with_a_secret_of_its_own() {
    let stage = Stage::set(&[]).await;
    let given = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let own = json!({ "url": stage.receiver.url("/given"), "secret": given });
    let with_given = stage.api.create_endpoint_with(&stage.app, &own).await.unwrap();
    assert_eq!(stage.secret(&with_given).await, given);
    let generated = stage.endpoint("/generated").await;
    let other = stage.secret(&generated).await;
    stage.publish_user(1).await;
    let request = stage.receiver.wait_for("/given", 1, LONG).await.remove(0);
    assert!(is_verified(&request, given) && !is_verified(&request, &other));
    let request = stage.receiver.wait_for("/generated", 1, LONG).await.remove(0);
    assert!(is_verified(&request, &other) && !is_verified(&request, given));
}

#[tokio::test(flavor = "multi_thread")]
async fn signature_headers_come_in_the_configured_family_alone() {
    for (setting, there, absent) in [("webhook", "webhook", "svix"), ("svix", "svix", "webhook")] {
        let stage = Stage::set(&[("NUNCIO_SIGNATURE_HEADERS", setting)]).await;
        stage.endpoint("/a").await;
        stage.publish_user(1).await;
        let request = stage.receiver.wait_for("/a", 1, LONG).await.remove(0);
        for name in ["id", "timestamp", "signature"] {
            assert!(
                request.headers.contains_key(format!("{there}-{name}")),
                "{setting}: {:?}",
                request.headers
            );
            assert!(
                !request.headers.contains_key(format!("{absent}-{name}")),
                "{setting}: {:?}",
                request.headers
            );
        }
    }
}
