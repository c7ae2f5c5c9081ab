//! The operator's proxy: used for everything, named when it fails, and no way around the guard.

use std::io;
use std::net::Ipv4Addr;

use nuncio_domain::{Outcome, Reason};
use nuncio_egress::{EgressConfig, EgressError, HttpClient};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::server::{Names, Request, Server, client, post, read_request, response, url};

fn through(scheme: &str, proxy: &Server, names: &[&[&str]]) -> HttpClient {
    client(EgressConfig {
        // The proxy is at a private address, and needs no allowance.
        proxy: Some(format!("{scheme}://{}", proxy.address).parse().expect("valid")),
        lookup: Names::answering(names),
        ..EgressConfig::default()
    })
}

#[tokio::test]
async fn an_http_proxy_gets_the_whole_url() {
    let proxy = Server::answering(response("200 OK", "", "by proxy")).await;
    let attempted = post(&through("http", &proxy, &[]), &url("http://hooks.example/hook")).await;
    assert_eq!(attempted.outcome, Outcome::Accepted(200));
    let [request] = &proxy.seen.requests()[..] else {
        panic!("one request")
    };
    assert!(
        request
            .head
            .starts_with("POST http://hooks.example/hook HTTP/1.1\r\n"),
        "{}",
        request.head
    );
}

#[tokio::test]
async fn private_literals_and_the_proxy_itself_are_refused_before_the_proxy_sees_them() {
    let proxy = Server::answering(response("200 OK", "", "")).await;
    let client = through("http", &proxy, &[]);
    for target in [
        "http://127.0.0.1:8080/",
        "https://10.0.0.1/",
        "http://localhost/",
        "http://[::1]/",
    ] {
        let outcome = post(&client, &url(target)).await.outcome;
        assert!(
            matches!(outcome, Outcome::Unreachable(Reason::AddressRefused(Some(_)))),
            "{target}: {outcome:?}"
        );
    }
    let itself = url(&format!("http://{}/", proxy.address));
    assert!(matches!(
        post(&client, &itself).await.outcome,
        Outcome::Unreachable(Reason::AddressRefused(_))
    ));
    assert_eq!(proxy.seen.connections(), 0);
}

#[tokio::test]
async fn a_proxy_that_refuses_or_is_away_is_named() {
    let refused = Outcome::Unreachable(Reason::Proxy);
    let wants_password = Server::answering(response("407 Proxy Authentication Required", "", "")).await;
    let forbids = Server::answering(response("403 Forbidden", "", "")).await;
    assert_eq!(
        post(
            &through("http", &wants_password, &[]),
            &url("http://hooks.example/")
        )
        .await
        .outcome,
        refused
    );
    for proxy in [&wants_password, &forbids] {
        assert_eq!(
            post(&through("http", proxy, &[]), &url("https://hooks.example/"))
                .await
                .outcome,
            refused
        );
        assert!(
            proxy
                .seen
                .requests()
                .last()
                .expect("valid")
                .head
                .starts_with("CONNECT hooks.example:443 HTTP/1.1\r\n")
        );
    }
    let port = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("valid")
        .local_addr()
        .expect("valid")
        .port();
    for scheme in ["http", "socks5"] {
        let away = client(EgressConfig {
            proxy: Some(format!("{scheme}://127.0.0.1:{port}").parse().expect("valid")),
            lookup: Names::answering(&[&["93.184.215.14"]]),
            ..EgressConfig::default()
        });
        assert_eq!(
            post(&away, &url("http://hooks.example/")).await.outcome,
            refused,
            "{scheme}"
        );
    }
}

#[tokio::test]
async fn a_socks5_proxy_gets_only_addresses_that_were_judged() {
    let proxy = Server::start(|stream, seen| async move {
        let (asked, mut stream) = socks5(stream).await?;
        let Some(request) = read_request(&mut stream).await? else {
            return Ok(());
        };
        seen.note(Request {
            head: format!("{asked}\r\n{}", request.head),
            ..request
        });
        stream.write_all(response("200 OK", "", "").as_bytes()).await
    })
    .await;
    let public = through("socks5", &proxy, &[&["93.184.215.14"]]);
    assert_eq!(
        post(&public, &url("http://hooks.example/")).await.outcome,
        Outcome::Accepted(200)
    );
    assert!(proxy.seen.requests()[0].head.starts_with("93.184.215.14:80\r\n"));

    let private = through("socks5", &proxy, &[&["93.184.215.14", "10.0.0.1"]]);
    let outcome = post(&private, &url("http://hooks.example/")).await.outcome;
    assert_eq!(
        outcome,
        Outcome::Unreachable(Reason::AddressRefused(Some("10.0.0.1".parse().expect("valid"))))
    );
    assert_eq!(proxy.seen.requests().len(), 1);
}

#[tokio::test]
async fn a_proxy_of_another_kind_is_refused_at_the_start() {
    for proxy in ["ftp://127.0.0.1:21", "socks4://127.0.0.1:1080", "mailto:x@y"] {
        let config = EgressConfig {
            proxy: Some(proxy.parse().expect("valid")),
            ..EgressConfig::default()
        };
        assert!(
            matches!(HttpClient::new(config), Err(EgressError::Proxy)),
            "{proxy}"
        );
    }
}

/// The server's side of a SOCKS5 handshake without a password, for IPv4 targets.
async fn socks5(mut stream: TcpStream) -> io::Result<(String, TcpStream)> {
    let mut greeting = [0; 2];
    stream.read_exact(&mut greeting).await?;
    let mut methods = vec![0; usize::from(greeting[1])];
    stream.read_exact(&mut methods).await?;
    stream.write_all(&[5, 0]).await?;
    let mut request = [0; 10];
    stream.read_exact(&mut request).await?;
    assert_eq!(request[..4], [5, 1, 0, 1], "a connection to an IPv4 address");
    let ip = Ipv4Addr::new(request[4], request[5], request[6], request[7]);
    let port = u16::from_be_bytes([request[8], request[9]]);
    stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    Ok((format!("{ip}:{port}"), stream))
}
