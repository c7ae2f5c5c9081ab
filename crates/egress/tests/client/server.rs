//! Servers on loopback, down to the bytes, and a client to meet them.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use nuncio_domain::UnixMillis;
use nuncio_egress::{Attempted, EgressConfig, EndpointUrl, HttpClient, Lookup, LookupFuture, Post, UrlRules};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// A request as its bytes came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// What a server has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    connections: AtomicUsize,
    requests: Mutex<Vec<Request>>,
}

impl Seen {
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no panic while locked").clone()
    }

    pub(crate) fn note(&self, request: Request) {
        self.requests.lock().expect("no panic while locked").push(request);
    }
}

/// A server that stops when it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Seen>,
    _stop: DropGuard,
}

impl Server {
    /// Hands each connection to `serve`.
    pub(crate) async fn start<S, F>(serve: S) -> Self
    where
        S: Fn(TcpStream, Arc<Seen>) -> F + Send + 'static,
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let seen = Arc::new(Seen::default());
        let stop = CancellationToken::new();
        let tracker = TaskTracker::new();
        let (noted, stopped, tasks) = (Arc::clone(&seen), stop.clone(), tracker.clone());
        tracker.spawn(async move {
            while let Some(Ok((stream, _))) = stopped.run_until_cancelled(listener.accept()).await {
                noted.connections.fetch_add(1, Ordering::SeqCst);
                let serving = serve(stream, Arc::clone(&noted));
                let stopped = stopped.clone();
                tasks.spawn(async move { stopped.run_until_cancelled(serving).await });
            }
        });
        Self {
            address,
            seen,
            _stop: stop.drop_guard(),
        }
    }

    /// Answers every request with these bytes, keeping connections alive.
    pub(crate) async fn answering(response: impl Into<Bytes>) -> Self {
        let response = response.into();
        Self::start(move |mut stream, seen| {
            let response = response.clone();
            async move {
                while let Some(request) = read_request(&mut stream).await? {
                    seen.note(request);
                    stream.write_all(&response).await?;
                }
                Ok(())
            }
        })
        .await
    }

    /// Answers the first request of a connection with these bytes, then closes it.
    pub(crate) async fn answering_once(response: &'static str) -> Self {
        Self::start(move |mut stream, seen| async move {
            if let Some(request) = read_request(&mut stream).await? {
                seen.note(request);
                stream.write_all(response.as_bytes()).await?;
            }
            Ok(())
        })
        .await
    }

    pub(crate) fn url(&self) -> EndpointUrl {
        url(&format!("http://{}/hook?x=1", self.address))
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }
}

/// Reads one request with a `content-length` body; nothing at a clean end.
pub(crate) async fn read_request<R: AsyncRead + Unpin>(stream: &mut R) -> io::Result<Option<Request>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).await? == 0 {
            return if head.is_empty() {
                Ok(None)
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            };
        }
        head.extend_from_slice(&byte);
    }
    let mut request = Request {
        head: String::from_utf8(head).expect("an ASCII head"),
        body: Vec::new(),
    };
    let length = request
        .header("content-length")
        .map_or(0, |value| value.parse().expect("a length"));
    request.body.resize(length, 0);
    stream.read_exact(&mut request.body).await?;
    Ok(Some(request))
}

/// Waits until the other side has closed, reading what it still sends.
pub(crate) async fn until_closed(stream: &mut TcpStream) {
    let mut buffer = [0; 1024];
    while matches!(stream.read(&mut buffer).await, Ok(read) if read > 0) {}
}

/// A response with a body.
pub(crate) fn response(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A URL by rules that let everything pass which is a URL, to see that the client does not rely on them.
pub(crate) fn url(text: &str) -> EndpointUrl {
    let everything = vec![
        "0.0.0.0/0".parse().expect("valid"),
        "::/0".parse().expect("valid"),
    ];
    EndpointUrl::parse(
        text,
        &UrlRules {
            allow: everything,
            ..UrlRules::default()
        },
    )
    .expect(text)
}

/// A configuration that may dial loopback.
pub(crate) fn loopback() -> EgressConfig {
    EgressConfig {
        allow: vec!["127.0.0.0/8".parse().expect("valid")],
        ..EgressConfig::default()
    }
}

pub(crate) fn client(config: EgressConfig) -> HttpClient {
    HttpClient::new(config).expect("a client")
}

pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
pub(crate) const NOW: UnixMillis = UnixMillis(1_795_435_200_000);

pub(crate) async fn post(client: &HttpClient, url: &EndpointUrl) -> Attempted {
    post_within(client, url, PATIENCE).await
}

pub(crate) async fn post_within(client: &HttpClient, url: &EndpointUrl, timeout: Duration) -> Attempted {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", "application/json".parse().expect("valid"));
    headers.insert("webhook-id", "msg_1".parse().expect("valid"));
    let body = Bytes::from_static(b"{\"type\":\"sync.user\",\"userId\":\"user_1\"}");
    client
        .post(Post {
            url,
            headers,
            body,
            timeout,
            now: NOW,
        })
        .await
}

/// Names with scripted answers: one after the other, the last one for ever.
pub(crate) struct Names {
    answers: Mutex<Vec<io::Result<Vec<IpAddr>>>>,
    pub(crate) asked: AtomicUsize,
}

impl Names {
    pub(crate) fn answering(answers: &[&[&str]]) -> Arc<Self> {
        let parse = |answer: &&[&str]| Ok(answer.iter().map(|ip| ip.parse().expect("valid")).collect());
        Arc::new(Self {
            answers: Mutex::new(answers.iter().map(parse).collect()),
            asked: AtomicUsize::new(0),
        })
    }

    pub(crate) fn failing() -> Arc<Self> {
        let failure = Err(io::Error::other("NXDOMAIN"));
        Arc::new(Self {
            answers: Mutex::new(vec![failure]),
            asked: AtomicUsize::new(0),
        })
    }
}

impl Lookup for Names {
    fn lookup(&self, _: &str) -> LookupFuture {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.answers.lock().expect("no panic while locked");
        let answer = match answers.as_slice() {
            [Ok(last)] => Ok(last.clone()),
            [Err(last)] => Err(io::Error::other(last.to_string())),
            _ => answers.remove(0),
        };
        Box::pin(std::future::ready(answer))
    }
}

/// A resolver that never answers.
pub(crate) struct Silence;

impl Lookup for Silence {
    fn lookup(&self, _: &str) -> LookupFuture {
        Box::pin(std::future::pending())
    }
}
