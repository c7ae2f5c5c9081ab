//! TLS that cannot be trusted: no request is sent, and the attempt names the reason.

use e2e::{Hostile, LONG, Manner, certificates::Authority, eventually};
use serde_json::json;

use crate::delivery_stage::Stage;

/// The alert `protocol_version`, as a server that knows TLS 1.1 at most sends it.
const TOO_OLD: &[u8] = &[21, 3, 1, 0, 2, 2, 70];

/// The first words of a server that wants TLS 1.1.
fn old_hello() -> Vec<u8> {
    let mut hello = vec![3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0xc0, 0x13, 0]);
    let length = u8::try_from(hello.len()).expect("short");
    [&[22, 3, 2, 0, length + 4, 2, 0, 0, length], hello.as_slice()].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_cannot_be_trusted_gets_no_request_and_is_named() {
    let (trusted, stranger) = (
        Authority::new("Trusted").unwrap(),
        Authority::new("Stranger").unwrap(),
    );
    let roots = trusted.roots();
    let stage = Stage::set(&[
        ("NUNCIO_EXTRA_ROOT_CA", roots.to_str().unwrap()),
        ("NUNCIO_RETRY_ATTEMPTS", "1"),
        ("NUNCIO_CONNECT_TIMEOUT", "2s"),
    ])
    .await;
    let host = "127.0.0.1";
    let tls = |authority: &Authority, name, from, until| Some(authority.acceptor(name, from, until).unwrap());
    let cases = [
        ("expired", Manner::Fine, tls(&trusted, host, 2020, 2021)),
        ("not valid yet", Manner::Fine, tls(&trusted, host, 2090, 2091)),
        (
            "another host name",
            Manner::Fine,
            tls(&trusted, "hooks.example", 2020, 2090),
        ),
        (
            "issuer is unknown",
            Manner::Fine,
            tls(&stranger, host, 2020, 2090),
        ),
        ("alert ProtocolVersion", Manner::Says(TOO_OLD.to_vec()), None),
        ("no TLS version", Manner::Says(old_hello()), None),
        (
            "does not speak TLS",
            Manner::Says(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
            None,
        ),
        ("timed out while connecting", Manner::Deaf, None),
    ];
    let mut servers = Vec::new();
    for (words, manner, tls) in cases {
        let server = match tls {
            Some(tls) => Hostile::start_tls(manner, tls).await.unwrap(),
            None => Hostile::start(manner).await.unwrap(),
        };
        let url = server.url("/hook").replace("http:", "https:");
        let endpoint = stage.api.create_endpoint(&stage.app, &url).await.unwrap();
        servers.push((words, endpoint, server));
    }
    let good = Hostile::start_tls(Manner::Fine, trusted.acceptor(host, 2020, 2090).unwrap())
        .await
        .unwrap();
    let url = good.url("/hook").replace("http:", "https:");
    stage.api.create_endpoint(&stage.app, &url).await.unwrap();
    stage.publish_user(1).await;
    for (words, endpoint, server) in &servers {
        let attempt = eventually(&format!("an attempt met: {words}"), LONG, || async {
            let attempts = stage
                .api
                .attempts_by_endpoint(&stage.app, endpoint)
                .await
                .unwrap();
            attempts.into_iter().next()
        })
        .await;
        assert_eq!(
            (&attempt["status"], &attempt["responseStatusCode"]),
            (&json!(2), &json!(0))
        );
        let reason = attempt["response"].as_str().unwrap();
        assert!(reason.contains(words), "{words}: {attempt}");
        assert!(
            server.requests().is_empty(),
            "{words}: no byte of a request was sent"
        );
    }
    eventually("the trusted one has its delivery", LONG, || async {
        (good.requests().len() == 1).then_some(())
    })
    .await;
}
