//! Clients of the API that are slow on purpose, or want two readers of one request to differ on where it ends.

#![expect(clippy::unwrap_used, reason = "what only tests call fails as they do")]

use std::time::Duration;

use e2e::{Deployment, LONG, Nuncio, SHORT, eventually};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

async fn started() -> Nuncio {
    Deployment::shared().await.unwrap().start("api").await.unwrap()
}

async fn connect(nuncio: &Nuncio) -> TcpStream {
    let url = nuncio.api_url();
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    TcpStream::connect(address).await.unwrap()
}

/// Everything that comes in answer to `bytes` until the connection ends.
async fn answers(nuncio: &Nuncio, bytes: &[u8]) -> String {
    let mut stream = connect(nuncio).await;
    stream.write_all(bytes).await.unwrap();
    let mut seen = Vec::new();
    let ended = timeout(LONG, stream.read_to_end(&mut seen)).await;
    assert!(
        ended.is_ok(),
        "the connection stays open after {}",
        String::from_utf8_lossy(bytes)
    );
    String::from_utf8_lossy(&seen).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_end_can_be_read_in_two_ways_is_the_last_of_its_connection() {
    let nuncio = started().await;
    let smuggled = "GET /api/v1/health HTTP/1.1\r\nhost: a\r\n\r\n";
    let head = "POST /api/v1/app HTTP/1.1\r\nhost: a\r\n";
    let ambiguous = [
        format!("{head}content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("{head}transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("{head}content-length: 4\r\ncontent-length: 9\r\n\r\n{{}}  {smuggled}"),
        format!("{head}content-length: +4\r\n\r\n{{}}  {smuggled}"),
        format!("{head}transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("{head}transfer-encoding: chunked\r\n\r\nxyz\r\n{smuggled}"),
        format!(
            "POST /api/v1/app HTTP/1.1\r\nhost: a\r\nx: y\r\n z: folded\r\ncontent-length: 0\r\n\r\n{smuggled}"
        ),
        format!("GET /api/v1/app\0 HTTP/1.1\r\nhost: a\r\n\r\n{smuggled}"),
        format!("GET  /api/v1/app HTTP/1.1\r\nhost : a\r\n\r\n{smuggled}"),
    ];
    for request in ambiguous {
        let answers = answers(&nuncio, request.as_bytes()).await;
        assert_eq!(
            answers.matches("HTTP/1.1 ").count(),
            1,
            "{request:?}: {answers:?}"
        );
        let status = &answers[9..12];
        assert!(status.starts_with('4'), "{request:?}: {answers:?}");
    }
    // The same, said clearly, are two requests.
    let mut stream = connect(&nuncio).await;
    let clear = format!("{head}content-length: 2\r\n\r\n{{}}{smuggled}");
    stream.write_all(clear.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    let both = async {
        while String::from_utf8_lossy(&seen).matches("HTTP/1.1 ").count() < 2 {
            assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0);
        }
    };
    timeout(SHORT, both).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_climbs_is_not_walked() {
    let deployment = Deployment::shared().await.unwrap();
    let nuncio = deployment.start("api").await.unwrap();
    let token = deployment.token(&[]).await.unwrap();
    let get = async |path: &str| {
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
        );
        answers(&nuncio, request.as_bytes()).await
    };
    let plain = get("/api/v1/app").await;
    assert!(plain.starts_with("HTTP/1.1 200 "), "{plain}");
    // Some of these would lead somewhere.
    for path in [
        "/api/v1/app/../x",
        "/api/v1/app/../app",
        "/api/v1/../v1/app",
        "/portal/../api/v1/app",
        "/api/v1/app/%2e%2e/app",
    ] {
        let answer = get(path).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_never_ends_a_request_is_hung_up_on_and_others_are_answered() {
    const SLOW: usize = 200;
    let nuncio = started().await;
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        let mut stream = connect(&nuncio).await;
        stream
            .write_all(b"POST /api/v1/app HTTP/1.1\r\nhost: a\r\nx: ")
            .await
            .unwrap();
        slow.push(stream);
    }
    let dripping = async {
        // As long as a byte a second gets through, the connection is held.
        while !slow.is_empty() {
            let mut held = Vec::new();
            for mut stream in slow.drain(..) {
                let closed = matches!(
                    timeout(Duration::from_millis(1), stream.read_u8()).await,
                    Ok(Err(_))
                );
                if !closed && stream.write_all(b"x").await.is_ok() {
                    held.push(stream);
                }
            }
            slow = held;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let hung_up = timeout(Duration::from_secs(120), dripping);
    let answered = eventually("others are answered", SHORT, || async {
        let answer = answers(
            &nuncio,
            b"GET /api/v1/health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        )
        .await;
        answer.starts_with("HTTP/1.1 2").then_some(())
    });
    let (hung_up, ()) = tokio::join!(hung_up, answered);
    assert!(hung_up.is_ok(), "slow clients hold their connections for good");
}
