//! Servers that send too much, too slowly or nothing: each attempt stays within its time and its memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nuncio_domain::limits::{RESPONSE_BODY_BYTES_MAX, RESPONSE_HEADER_BYTES_MAX};
use nuncio_domain::{Outcome, Phase, Reason};
use tokio::io::AsyncWriteExt;

use crate::server::{Server, client, loopback, post, post_within, read_request, response, until_closed};

const SHORT: Duration = Duration::from_millis(400);
const TIMED_OUT: Outcome = Outcome::TimedOut(Phase::Response);

/// A server that reads a request, then writes `head` once and `rest` for as long as it is listened to.
async fn flooding(head: &'static str, rest: &'static [u8]) -> (Server, Arc<AtomicUsize>) {
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    let server = Server::start(move |mut stream, _| {
        let count = Arc::clone(&count);
        async move {
            read_request(&mut stream).await?;
            stream.write_all(head.as_bytes()).await?;
            loop {
                stream.write_all(rest).await?;
                count.fetch_add(rest.len(), Ordering::SeqCst);
            }
        }
    })
    .await;
    (server, written)
}

#[tokio::test]
async fn of_a_ten_megabyte_body_only_the_first_bytes_are_read_and_the_connection_is_closed() {
    let megabytes = "a".repeat(10 * 1024 * 1024);
    let body = response("200 OK", "", &megabytes);
    let server = Server::answering(body).await;
    let client = client(loopback());
    let attempted = post(&client, &server.url()).await;
    assert_eq!(attempted.outcome, Outcome::Accepted(200));
    let response = attempted.response.expect("a response");
    assert_eq!(response.body.len(), RESPONSE_BODY_BYTES_MAX);
    assert!(response.truncated);
    post(&client, &server.url()).await;
    assert_eq!(
        server.seen.connections(),
        2,
        "the first connection must not be used again"
    );
}

#[tokio::test]
async fn an_endless_body_is_left_after_the_first_bytes() {
    let (server, written) = flooding(
        "HTTP/1.1 500 No\r\ntransfer-encoding: chunked\r\n\r\n",
        b"8\r\nabcdefgh\r\n",
    )
    .await;
    let attempted = post(&client(loopback()), &server.url()).await;
    assert_eq!(
        attempted.outcome,
        Outcome::Refused {
            status: 500,
            retry_after: None
        }
    );
    assert_eq!(
        attempted.response.expect("a response").body.len(),
        RESPONSE_BODY_BYTES_MAX
    );
    // What the sockets' buffers hold may have been written besides.
    assert!(written.load(Ordering::SeqCst) < 32 * 1024 * 1024);
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_is_whole() {
    let whole = "a".repeat(RESPONSE_BODY_BYTES_MAX);
    let server = Server::answering(response("200 OK", "", &whole)).await;
    let client = client(loopback());
    for _ in 0..2 {
        let response = post(&client, &server.url()).await.response.expect("a response");
        assert_eq!(
            (response.body.len(), response.truncated),
            (RESPONSE_BODY_BYTES_MAX, false)
        );
    }
    assert_eq!(server.seen.connections(), 1);
}

#[tokio::test]
async fn a_compressed_body_is_not_unpacked() {
    let bomb = "\u{1f}\u{8b}".repeat(10);
    let server = Server::answering(response("200 OK", "content-encoding: gzip\r\n", &bomb)).await;
    let attempted = post(&client(loopback()), &server.url()).await;
    assert_eq!(attempted.response.expect("a response").body, bomb.as_bytes());
    assert_eq!(server.seen.requests()[0].header("accept-encoding"), None);
}

#[tokio::test]
async fn a_dripping_body_ends_with_the_attempts_time() {
    let server = Server::start(|mut stream, _| async move {
        read_request(&mut stream).await?;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
            .await?;
        loop {
            stream.write_all(b"x").await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let attempted = post_within(&client(loopback()), &server.url(), SHORT).await;
    assert_eq!(attempted.outcome, TIMED_OUT);
    assert!(
        attempted.duration >= SHORT && attempted.duration < SHORT * 5,
        "{:?}",
        attempted.duration
    );
    let response = attempted.response.expect("the head came");
    assert!(response.status == 200 && response.truncated && !response.body.is_empty());
}

#[tokio::test]
async fn dripping_headers_and_silence_end_with_the_attempts_time() {
    for drip in [true, false] {
        let server = Server::start(move |mut stream, _| async move {
            read_request(&mut stream).await?;
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            if drip {
                loop {
                    stream.write_all(b"x: y\r\n").await?;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            until_closed(&mut stream).await;
            Ok(())
        })
        .await;
        let attempted = post_within(&client(loopback()), &server.url(), SHORT).await;
        assert_eq!(attempted.outcome, TIMED_OUT);
        assert_eq!(attempted.response, None);
        assert!(attempted.duration < SHORT * 5);
    }
}

#[tokio::test]
async fn a_flood_of_interim_responses_ends_with_the_attempts_time() {
    let (server, written) = flooding(
        "",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n",
    )
    .await;
    let attempted = post_within(&client(loopback()), &server.url(), SHORT).await;
    assert_eq!(attempted.outcome, TIMED_OUT);
    assert!(attempted.duration < SHORT * 5);
    assert!(written.load(Ordering::SeqCst) > 0);
    // The connection is gone, so the flood has stopped, or stops as soon as the kernel's buffers are full.
    let mut before = usize::MAX;
    for _ in 0..100 {
        let now = written.load(Ordering::SeqCst);
        if now == before {
            return;
        }
        before = now;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the flood goes on");
}

#[tokio::test]
async fn a_few_interim_responses_are_read_over() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n";
    let server = Server::answering(interim.to_owned() + &response("200 OK", "", "")).await;
    assert_eq!(
        post(&client(loopback()), &server.url()).await.outcome,
        Outcome::Accepted(200)
    );
}

#[tokio::test]
async fn too_many_or_too_long_headers_are_a_protocol_failure() {
    let endless_line = format!("x-bomb: {}\r\n", "a".repeat(2 * 1024 * 1024));
    let many = "x: y\r\n".repeat(1_000);
    let heavy = format!("x: {}\r\n", "a".repeat(1_000)).repeat(80);
    for headers in [endless_line, many, heavy] {
        let server = Server::answering(response("200 OK", &headers, "")).await;
        let attempted = post(&client(loopback()), &server.url()).await;
        assert_eq!(
            attempted.outcome,
            Outcome::Unreachable(Reason::Protocol),
            "{} bytes",
            headers.len()
        );
        assert_eq!(attempted.response, None);
    }
}

/// Header lines of so many bytes in all, counted with their ends.
fn header_lines(bytes: usize) -> String {
    const LINE: usize = 1_000;
    let line = |bytes: usize| format!("x: {}\r\n", "a".repeat(bytes - "x: \r\n".len()));
    line(LINE).repeat(bytes / LINE - 1) + &line(LINE + bytes % LINE)
}

#[tokio::test]
async fn headers_of_exactly_the_limit_are_taken_and_of_a_byte_more_are_not() {
    let length = "content-length: 0\r\n".len();
    for (bytes, outcome) in [
        (RESPONSE_HEADER_BYTES_MAX, Outcome::Accepted(200)),
        (
            RESPONSE_HEADER_BYTES_MAX + 1,
            Outcome::Unreachable(Reason::Protocol),
        ),
    ] {
        let lines = header_lines(bytes - length);
        assert_eq!(lines.len() + length, bytes);
        let server = Server::answering(response("200 OK", &lines, "")).await;
        let attempted = post(&client(loopback()), &server.url()).await;
        assert_eq!(attempted.outcome, outcome, "{bytes} bytes");
    }
}

#[tokio::test]
async fn dropping_an_attempt_closes_its_connection() {
    let server = Server::start(|mut stream, seen| async move {
        if let Some(request) = read_request(&mut stream).await? {
            until_closed(&mut stream).await;
            seen.note(request);
        }
        Ok(())
    })
    .await;
    let client = client(loopback());
    let url = server.url();
    tokio::time::timeout(SHORT, post(&client, &url))
        .await
        .expect_err("the server never answers");
    for _ in 0..100 {
        if !server.seen.requests().is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the connection stays open");
}
