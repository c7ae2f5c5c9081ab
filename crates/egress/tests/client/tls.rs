//! TLS: trusted and not, HTTP/2 by ALPN, and the name of each failure.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nuncio_domain::{Outcome, Phase, Reason};
use nuncio_egress::{EgressConfig, EgressError, HttpClient};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;

use crate::server::{
    Names, Request, Server, client, loopback, post, read_request, response, until_closed, url,
};

/// A certificate authority of the test's own, with its certificate in a file.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("valid");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer =
            CertifiedIssuer::self_signed(params, KeyPair::generate().expect("valid")).expect("valid");
        let directory = TempDir::new().expect("valid");
        std::fs::write(directory.path().join("ca.pem"), issuer.pem()).expect("valid");
        Self { issuer, directory }
    }

    pub(crate) fn roots(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    pub(crate) fn acceptor(&self, params: CertificateParams, alpn: &[&[u8]]) -> TlsAcceptor {
        let key = KeyPair::generate().expect("valid");
        let certificate = params.signed_by(&key, &self.issuer).expect("valid");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("valid")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .expect("valid");
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }

    pub(crate) fn client(&self) -> HttpClient {
        client(EgressConfig {
            extra_roots: Some(self.roots()),
            lookup: Names::answering(&[&["127.0.0.1"]]),
            ..loopback()
        })
    }
}

pub(crate) fn params() -> CertificateParams {
    CertificateParams::new(vec!["hooks.example".to_owned(), "127.0.0.1".to_owned()]).expect("valid")
}

async fn https(acceptor: TlsAcceptor) -> Server {
    Server::start(move |stream, seen| {
        let acceptor = acceptor.clone();
        async move {
            let mut stream = acceptor.accept(stream).await?;
            while let Some(request) = read_request(&mut stream).await? {
                seen.note(request);
                stream
                    .write_all(response("200 OK", "", "over tls").as_bytes())
                    .await?;
            }
            Ok(())
        }
    })
    .await
}

async fn tls_failure(client: &HttpClient, host: &str, server: &Server) -> String {
    match post(client, &url(&format!("https://{host}:{}/", server.port())))
        .await
        .outcome
    {
        Outcome::Unreachable(Reason::Tls(detail)) => detail,
        other => panic!("not a TLS failure: {other:?}"),
    }
}

#[tokio::test]
async fn a_trusted_certificate_is_taken_by_name_and_by_address() {
    let authority = Authority::new("the trusted one");
    let server = https(authority.acceptor(params(), &[b"http/1.1"])).await;
    let client = authority.client();
    assert!(client.trusted_roots() > 0);
    for host in ["hooks.example", "127.0.0.1"] {
        let attempted = post(&client, &url(&format!("https://{host}:{}/", server.port()))).await;
        assert_eq!(attempted.outcome, Outcome::Accepted(200), "{host}");
        assert_eq!(attempted.response.expect("a response").body, "over tls");
    }
}

#[tokio::test]
async fn each_tls_failure_says_what_is_wrong() {
    let authority = Authority::new("the trusted one");
    let client = authority.client();

    let mut expired = params();
    expired.not_before = date_time_ymd(2020, 1, 1);
    expired.not_after = date_time_ymd(2021, 1, 1);
    let server = https(authority.acceptor(expired, &[])).await;
    assert!(
        tls_failure(&client, "hooks.example", &server)
            .await
            .contains("expired")
    );

    let mut early = params();
    early.not_before = date_time_ymd(2090, 1, 1);
    early.not_after = date_time_ymd(2091, 1, 1);
    let server = https(authority.acceptor(early, &[])).await;
    assert!(
        tls_failure(&client, "hooks.example", &server)
            .await
            .contains("not valid yet")
    );

    let server = https(authority.acceptor(params(), &[])).await;
    assert!(
        tls_failure(&client, "elsewhere.example", &server)
            .await
            .contains("another host name")
    );
    assert!(
        tls_failure(&Authority::new("a stranger").client(), "hooks.example", &server)
            .await
            .contains("issuer is unknown")
    );

    let plain = Server::start(|mut stream, _| async move {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await?;
        until_closed(&mut stream).await;
        Ok(())
    })
    .await;
    assert!(
        tls_failure(&client, "hooks.example", &plain)
            .await
            .contains("does not speak TLS")
    );
}

#[tokio::test]
async fn a_handshake_that_hangs_ends_with_the_connect_timeout() {
    let server = Server::start(|mut stream, _| async move {
        until_closed(&mut stream).await;
        Ok(())
    })
    .await;
    let client = client(EgressConfig {
        connect_timeout: Duration::from_millis(200),
        ..loopback()
    });
    let attempted = post(&client, &url(&format!("https://127.0.0.1:{}/", server.port()))).await;
    assert_eq!(attempted.outcome, Outcome::TimedOut(Phase::Connect));
}

#[tokio::test]
async fn http2_is_spoken_where_the_server_offers_it() {
    let authority = Authority::new("the trusted one");
    let server = https2(authority.acceptor(params(), &[b"h2", b"http/1.1"]), Respond::Ok).await;
    let client = authority.client();
    let url = url(&format!("https://hooks.example:{}/hook", server.port()));
    let (first, second) = tokio::join!(post(&client, &url), post(&client, &url));
    for attempted in [first, second, post(&client, &url).await] {
        assert_eq!(attempted.outcome, Outcome::Accepted(202));
        assert_eq!(attempted.response.expect("a response").body, "over h2");
    }
    let requests = server.seen.requests();
    assert_eq!(requests.len(), 3);
    assert_eq!(requests[0].body, br#"{"type":"sync.user","userId":"user_1"}"#);
    assert_eq!(requests[0].head, "POST /hook");
}

#[tokio::test]
async fn an_http2_stream_that_is_reset_is_named_and_not_repeated() {
    let authority = Authority::new("the trusted one");
    let server = https2(authority.acceptor(params(), &[b"h2"]), Respond::Reset).await;
    let url = url(&format!("https://hooks.example:{}/hook", server.port()));
    let attempted = post(&authority.client(), &url).await;
    assert_eq!(attempted.outcome, Outcome::Unreachable(Reason::ConnectionReset));
    assert_eq!(server.seen.requests().len(), 1);
}

#[derive(Clone, Copy)]
enum Respond {
    Ok,
    Reset,
}

async fn https2(acceptor: TlsAcceptor, respond: Respond) -> Server {
    Server::start(move |stream, seen| {
        let acceptor = acceptor.clone();
        async move {
            let stream = acceptor.accept(stream).await?;
            let mut connection = h2::server::handshake(stream)
                .await
                .map_err(std::io::Error::other)?;
            let streams = tokio_util::task::TaskTracker::new();
            while let Some(accepted) = connection.accept().await {
                let (request, mut reply) = accepted.map_err(std::io::Error::other)?;
                let seen = Arc::clone(&seen);
                streams.spawn(async move {
                    let head = format!("{} {}", request.method(), request.uri().path());
                    let mut incoming = request.into_body();
                    let mut body = Vec::new();
                    while let Some(Ok(chunk)) = incoming.data().await {
                        incoming
                            .flow_control()
                            .release_capacity(chunk.len())
                            .expect("what was received");
                        body.extend_from_slice(&chunk);
                    }
                    seen.note(Request { head, body });
                    match respond {
                        Respond::Reset => reply.send_reset(h2::Reason::INTERNAL_ERROR),
                        Respond::Ok => {
                            let head = http::Response::builder()
                                .status(202)
                                .body(())
                                .expect("a response");
                            let mut outgoing = reply.send_response(head, false).expect("an open stream");
                            outgoing
                                .send_data(Bytes::from_static(b"over h2"), true)
                                .expect("an open stream");
                        }
                    }
                });
            }
            Ok(())
        }
    })
    .await
}

#[test]
fn files_without_certificates_are_refused_at_the_start() {
    let directory = TempDir::new().expect("valid");
    let roots = directory.path().join("empty.pem");
    let config = EgressConfig {
        extra_roots: Some(roots.clone()),
        ..EgressConfig::default()
    };
    assert!(matches!(
        HttpClient::new(config.clone()),
        Err(EgressError::LoadRoots { .. })
    ));
    std::fs::write(&roots, "nothing here").expect("valid");
    assert!(matches!(
        HttpClient::new(config),
        Err(EgressError::NoRoots { .. })
    ));
}
