//! What goes over the wire, and what each answer and each failure is called.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nuncio_domain::{Outcome, Phase, Reason};
use nuncio_egress::EgressConfig;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket};

use crate::server::{Names, Server, Silence, client, loopback, post, read_request, response, url};

fn unreachable(reason: Reason) -> Outcome {
    Outcome::Unreachable(reason)
}

#[tokio::test]
async fn a_request_carries_the_body_byte_for_byte_and_no_header_of_ours_too_many() {
    let server = Server::answering(response("200 OK", "x-trace: 7\r\n", "thanks")).await;
    let attempted = post(&client(loopback()), &server.url()).await;
    assert_eq!(attempted.outcome, Outcome::Accepted(200));
    let response = attempted.response.expect("a response");
    assert_eq!(
        (response.status, &response.body[..], response.truncated),
        (200, &b"thanks"[..], false)
    );
    assert_eq!(response.headers["x-trace"], "7");

    let [request] = &server.seen.requests()[..] else {
        panic!("one request")
    };
    assert!(
        request.head.starts_with("POST /hook?x=1 HTTP/1.1\r\n"),
        "{}",
        request.head
    );
    assert_eq!(request.body, br#"{"type":"sync.user","userId":"user_1"}"#);
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("webhook-id"), Some("msg_1"));
    assert_eq!(request.header("content-length"), Some("38"));
    assert_eq!(request.header("host"), Some(server.address.to_string().as_str()));
    assert_eq!(
        request.header("user-agent"),
        Some(concat!("Nuncio/", env!("CARGO_PKG_VERSION")))
    );
    for absent in [
        "accept-encoding",
        "referer",
        "transfer-encoding",
        "expect",
        "connection",
    ] {
        assert_eq!(request.header(absent), None, "{absent}");
    }
}

#[tokio::test]
async fn statuses_become_outcomes_and_only_some_may_ask_for_a_pause() {
    let pause = Some(Duration::from_secs(7));
    for (status, expected) in [
        ("200 OK", Outcome::Accepted(200)),
        ("201 Created", Outcome::Accepted(201)),
        ("204 No Content", Outcome::Accepted(204)),
        ("299 Fine", Outcome::Accepted(299)),
        (
            "304 Not Modified",
            Outcome::Refused {
                status: 304,
                retry_after: None,
            },
        ),
        (
            "400 Bad Request",
            Outcome::Refused {
                status: 400,
                retry_after: None,
            },
        ),
        (
            "404 Not Found",
            Outcome::Refused {
                status: 404,
                retry_after: None,
            },
        ),
        ("410 Gone", Outcome::Gone),
        (
            "429 Too Many Requests",
            Outcome::Refused {
                status: 429,
                retry_after: pause,
            },
        ),
        (
            "500 Oh No",
            Outcome::Refused {
                status: 500,
                retry_after: None,
            },
        ),
        (
            "502 Bad Gateway",
            Outcome::Refused {
                status: 502,
                retry_after: pause,
            },
        ),
        (
            "503 Unavailable",
            Outcome::Refused {
                status: 503,
                retry_after: pause,
            },
        ),
        (
            "504 Timeout",
            Outcome::Refused {
                status: 504,
                retry_after: pause,
            },
        ),
        (
            "599 Odd",
            Outcome::Refused {
                status: 599,
                retry_after: None,
            },
        ),
    ] {
        let head = format!("HTTP/1.1 {status}\r\nretry-after: 7\r\nconnection: close\r\n\r\n");
        let server = Server::start(move |mut stream, _| {
            let head = head.clone();
            async move {
                read_request(&mut stream).await?;
                stream.write_all(head.as_bytes()).await
            }
        })
        .await;
        assert_eq!(
            post(&client(loopback()), &server.url()).await.outcome,
            expected,
            "{status}"
        );
    }
}

#[tokio::test]
async fn connections_are_kept_and_used_again() {
    let server = Server::answering(response("200 OK", "", "ok")).await;
    let client = client(loopback());
    for _ in 0..10 {
        assert_eq!(post(&client, &server.url()).await.outcome, Outcome::Accepted(200));
    }
    assert_eq!(server.seen.connections(), 1);
    assert_eq!(server.seen.requests().len(), 10);
}

#[tokio::test]
async fn idle_connections_are_let_go_when_their_number_reaches_the_most() {
    let open = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&open);
    let server = Server::start(move |mut stream, seen| {
        let open = Arc::clone(&counted);
        async move {
            open.fetch_add(1, Ordering::SeqCst);
            while let Ok(Some(request)) = read_request(&mut stream).await {
                seen.note(request);
                stream.write_all(response("200 OK", "", "").as_bytes()).await?;
            }
            open.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        }
    })
    .await;
    let lookup = Names::answering(&[&["127.0.0.1"]]);
    let client = client(EgressConfig {
        connections_max: 3,
        lookup,
        ..loopback()
    });
    // Each name is another host to the pool, with an idle connection of its own.
    for nth in 0..20 {
        let url = url(&format!("http://hooks{nth}.example:{}/", server.port()));
        assert_eq!(post(&client, &url).await.outcome, Outcome::Accepted(200), "{nth}");
    }
    assert_eq!(server.seen.connections(), 20);
    for _ in 0..200 {
        if open.load(Ordering::SeqCst) <= 3 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{} connections are open", open.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_connection_that_the_server_closed_while_idle_costs_no_attempt() {
    let server = Server::start(|mut stream, seen| async move {
        let Some(request) = read_request(&mut stream).await? else {
            return Ok(());
        };
        seen.note(request);
        // No `connection: close`: the client believes that it may use the connection again.
        stream.write_all(response("200 OK", "", "").as_bytes()).await
    })
    .await;
    let client = client(loopback());
    for _ in 0..5 {
        assert_eq!(post(&client, &server.url()).await.outcome, Outcome::Accepted(200));
        // Lets the close arrive; a request that crosses it on the way would rightly fail.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(server.seen.connections(), 5);
}

#[tokio::test]
async fn a_request_that_may_have_arrived_is_not_sent_twice() {
    let server = Server::start(|mut stream, seen| async move {
        if let Some(request) = read_request(&mut stream).await? {
            seen.note(request);
        }
        Ok(())
    })
    .await;
    let attempted = post(&client(loopback()), &server.url()).await;
    assert_eq!(attempted.outcome, unreachable(Reason::ConnectionReset));
    assert_eq!(server.seen.requests().len(), 1);
}

#[tokio::test]
async fn nobody_listening_is_connection_refused() {
    let port = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let attempted = post(&client(loopback()), &url(&format!("http://127.0.0.1:{port}/"))).await;
    assert_eq!(attempted.outcome, unreachable(Reason::ConnectionRefused));
}

#[tokio::test]
async fn names_without_an_address_are_a_dns_failure() {
    for lookup in [Names::failing(), Names::answering(&[&[]])] {
        let client = client(EgressConfig { lookup, ..loopback() });
        let attempted = post(&client, &url("http://nowhere.example/")).await;
        assert_eq!(attempted.outcome, unreachable(Reason::Dns));
    }
}

#[tokio::test]
async fn a_resolver_that_never_answers_ends_with_the_connect_timeout() {
    let connect_timeout = Duration::from_millis(100);
    let lookup = Arc::new(Silence);
    let client = client(EgressConfig {
        lookup,
        connect_timeout,
        ..loopback()
    });
    let attempted = post(&client, &url("http://silent.example/")).await;
    assert_eq!(attempted.outcome, Outcome::TimedOut(Phase::Connect));
    assert!(attempted.duration >= connect_timeout && attempted.duration < Duration::from_secs(5));
}

#[tokio::test]
async fn a_listener_that_accepts_nobody_ends_with_the_connect_timeout() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // Fills the backlog, so that further handshakes are not answered.
    let mut held = Vec::new();
    for _ in 0..4 {
        let connecting = tokio::net::TcpStream::connect(address);
        match tokio::time::timeout(Duration::from_millis(200), connecting).await {
            Ok(stream) => held.push(stream.unwrap()),
            Err(_) => break,
        }
    }
    let client = client(EgressConfig {
        connect_timeout: Duration::from_millis(200),
        ..loopback()
    });
    let attempted = post(&client, &url(&format!("http://{address}/"))).await;
    assert_eq!(attempted.outcome, Outcome::TimedOut(Phase::Connect));
}

#[tokio::test]
async fn what_is_not_http_is_a_protocol_failure() {
    for junk in [
        "SSH-2.0-OpenSSH_9\r\n",
        "HTTP/9.9 200 OK\r\n\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        "\r\n\r\n\0\0\0 \r\n\r\n",
    ] {
        let server = Server::answering(junk).await;
        let attempted = post(&client(loopback()), &server.url()).await;
        assert_eq!(attempted.outcome, unreachable(Reason::Protocol), "{junk:?}");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_a_failure_that_still_shows_what_came() {
    let server = Server::answering_once("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npartial").await;
    let attempted = post(&client(loopback()), &server.url()).await;
    assert_eq!(attempted.outcome, unreachable(Reason::ConnectionReset));
    let response = attempted.response.expect("the head came");
    assert_eq!(
        (response.status, &response.body[..], response.truncated),
        (200, &b"partial"[..], true)
    );
}

#[tokio::test]
async fn a_reset_connection_is_named() {
    let server = Server::start(|mut stream, _| async move {
        read_request(&mut stream).await?;
        stream.set_zero_linger()?;
        Ok(())
    })
    .await;
    let attempted = post(&client(loopback()), &server.url()).await;
    assert_eq!(attempted.outcome, unreachable(Reason::ConnectionReset));
}
