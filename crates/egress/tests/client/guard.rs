//! What must never be reached, and that it is not.

use std::net::IpAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nuncio_domain::{Outcome, Reason};
use nuncio_egress::{EgressConfig, OwnAddresses};
use tokio::io::AsyncReadExt;

use crate::server::{Names, Request, Server, client, loopback, post, response, url};

fn refused(ip: &str) -> Outcome {
    Outcome::Unreachable(Reason::AddressRefused(Some(ip.parse::<IpAddr>().expect("valid"))))
}

#[tokio::test]
async fn loopback_in_any_notation_is_refused_without_a_connection() {
    let server = Server::answering(response("200 OK", "", "")).await;
    let client = client(EgressConfig::default());
    let port = server.port();
    for host in [
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "0177.0.0.1",
        "2130706433",
        "①②⑦.⓪.⓪.①",
        "[::ffff:127.0.0.1]",
    ] {
        let attempted = post(&client, &url(&format!("http://{host}:{port}/"))).await;
        assert_eq!(attempted.outcome, refused("127.0.0.1"), "{host}");
        assert_eq!(attempted.response, None);
    }
    for (host, ip) in [
        ("0", "0.0.0.0"),
        ("[::1]", "::1"),
        ("[::127.0.0.1]", "::7f00:1"),
        ("10.0.0.1", "10.0.0.1"),
    ] {
        let attempted = post(&client, &url(&format!("http://{host}:{port}/"))).await;
        assert_eq!(attempted.outcome, refused(ip), "{host}");
    }
    assert_eq!(server.seen.connections(), 0);
}

#[tokio::test]
async fn a_name_that_leads_inside_is_refused_without_a_connection() {
    let server = Server::answering(response("200 OK", "", "")).await;
    for (answer, ip) in [
        (&["127.0.0.1"][..], "127.0.0.1"),
        (&["::1"], "::1"),
        (&["93.184.215.14", "127.0.0.1"], "127.0.0.1"),
        (&["2606:4700::1111", "::ffff:10.0.0.1"], "10.0.0.1"),
        (&["169.254.169.254"], "169.254.169.254"),
    ] {
        let client = client(EgressConfig {
            lookup: Names::answering(&[answer]),
            ..EgressConfig::default()
        });
        let attempted = post(&client, &url(&format!("http://hooks.example:{}/", server.port()))).await;
        assert_eq!(attempted.outcome, refused(ip), "{answer:?}");
    }
    assert_eq!(server.seen.connections(), 0);
}

#[tokio::test]
async fn the_systems_own_localhost_is_refused_too() {
    let server = Server::answering(response("200 OK", "", "")).await;
    let attempted = post(
        &client(EgressConfig::default()),
        &url(&format!("http://localhost:{}/", server.port())),
    )
    .await;
    assert_eq!(attempted.outcome, refused("127.0.0.1"));
    assert_eq!(server.seen.connections(), 0);
}

#[tokio::test]
async fn localhost_is_dialled_where_one_of_its_two_addresses_is_allowed() {
    let server = Server::answering(response("200 OK", "", "")).await;
    let lookup = Names::answering(&[&["::1", "127.0.0.1"]]);
    let client = client(EgressConfig { lookup, ..loopback() });
    let attempted = post(&client, &url(&format!("http://localhost:{}/", server.port()))).await;
    assert_eq!(attempted.outcome, Outcome::Accepted(200));
}

#[tokio::test]
async fn a_name_that_changes_between_two_connections_is_judged_again() {
    let server = Server::answering(response("200 OK", "connection: close\r\n", "")).await;
    // One address of loopback stands for a public one here, as no test leaves the machine.
    let lookup = Names::answering(&[
        &["127.0.0.1"],
        &["127.0.0.2"],
        &["127.0.0.1", "127.0.0.2"],
        &["127.0.0.1"],
    ]);
    let client = client(EgressConfig {
        allow: vec!["127.0.0.1/32".parse().expect("valid")],
        lookup: Arc::clone(&lookup) as _,
        ..EgressConfig::default()
    });
    let url = url(&format!("http://rebinding.example:{}/", server.port()));
    let expected = [
        Outcome::Accepted(200),
        refused("127.0.0.2"),
        refused("127.0.0.2"),
        Outcome::Accepted(200),
    ];
    for (nth, expected) in expected.into_iter().enumerate() {
        assert_eq!(post(&client, &url).await.outcome, expected, "connection {nth}");
    }
    // One look-up for each connection: what was judged is what was dialled.
    assert_eq!(lookup.asked.load(Ordering::SeqCst), 4);
    assert_eq!(server.seen.connections(), 2);
}

#[tokio::test]
async fn own_services_get_no_byte_under_any_name() {
    let server = Server::start(|mut stream, seen| async move {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await?;
        if !bytes.is_empty() {
            seen.note(Request {
                head: String::from_utf8_lossy(&bytes).into_owned(),
                body: bytes,
            });
        }
        Ok(())
    })
    .await;
    let mut own = OwnAddresses::none();
    own.add_socket(server.address);
    let client = client(EgressConfig {
        own,
        lookup: Names::answering(&[&["127.0.0.1"]]),
        ..loopback()
    });
    for host in ["127.0.0.1", "localhost", "innocent.example"] {
        let attempted = post(&client, &url(&format!("http://{host}:{}/", server.port()))).await;
        assert_eq!(
            attempted.outcome,
            Outcome::Unreachable(Reason::AddressRefused(None)),
            "{host}"
        );
    }
    assert!(server.seen.requests().is_empty());
}

#[tokio::test]
async fn redirects_are_an_outcome_and_never_followed() {
    let inside = Server::answering(response("200 OK", "", "")).await;
    for status in [
        "301 Moved",
        "302 Found",
        "303 See Other",
        "307 Temporary",
        "308 Permanent",
    ] {
        let location = format!("location: http://{}/\r\n", inside.address);
        let server = Server::answering(response(status, &location, "")).await;
        let attempted = post(&client(loopback()), &server.url()).await;
        let code = status[..3].parse().expect("valid");
        assert_eq!(
            attempted.outcome,
            Outcome::Refused {
                status: code,
                retry_after: None
            }
        );
        assert_eq!(server.seen.requests().len(), 1);
    }
    assert_eq!(inside.seen.connections(), 0);
}

#[tokio::test]
async fn the_environments_proxies_are_ignored() {
    const TARGET: &str = "NUNCIO_EGRESS_TEST_TARGET";
    if let Ok(target) = std::env::var(TARGET) {
        // The second run of this test, with proxies in its environment.
        let attempted = post(&client(loopback()), &url(&target)).await;
        assert_eq!(attempted.outcome, Outcome::Accepted(200));
        return;
    }
    let server = Server::answering(response("200 OK", "", "")).await;
    let evil = Server::answering(response("403 Forbidden", "", "")).await;
    let proxy = format!("http://{}", evil.address);
    let mut again = Command::new(std::env::current_exe().expect("valid"));
    again.args([
        "--exact",
        "guard::the_environments_proxies_are_ignored",
        "--nocapture",
    ]);
    again.env(TARGET, server.url().as_str());
    for name in [
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
    ] {
        again.env(name, &proxy);
    }
    again.env_remove("NO_PROXY").env_remove("no_proxy");
    let output = tokio::task::spawn_blocking(move || again.output())
        .await
        .expect("valid")
        .expect("valid");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    assert_eq!(server.seen.requests().len(), 1);
    assert_eq!(evil.seen.connections(), 0);
}
