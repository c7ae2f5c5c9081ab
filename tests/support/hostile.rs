//! Servers that no customer would admit to: down to the bytes, and each in one way of its own.
//!
//! Owns a raw TCP listener with a manner, and counts what it saw. Guarantees that a request is recorded when its last
//! byte has come, before anything is done to it, so that what was sent twice is seen twice. Refuses to speak HTTP well:
//! that is [`crate::Receiver`]'s part.

mod manner;

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context, Result};
pub use manner::Manner;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

/// Anything that bytes go through.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// One request as it came.
#[derive(Debug, Clone)]
pub struct RawRequest {
    /// The request line and headers.
    pub head: String,
    /// Which of this server's addresses it was sent to.
    pub at: SocketAddr,
}

impl RawRequest {
    /// A header's value, or nothing.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// What a server saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    connections: Mutex<Vec<SocketAddr>>,
    requests: Mutex<Vec<RawRequest>>,
    written: AtomicUsize,
}

impl Seen {
    /// Counts bytes that were written.
    pub(crate) fn wrote(&self, bytes: usize) {
        self.written.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Reads one request to its end and records it; false when the connection ended first.
    pub(crate) async fn read_request(&self, stream: &mut dyn Wire, at: SocketAddr) -> io::Result<bool> {
        let mut bytes = Vec::new();
        let mut end = None;
        loop {
            if end.is_none() {
                end = head_end(&bytes);
            }
            if let Some(head_bytes) = end {
                let head = String::from_utf8_lossy(&bytes[..head_bytes]).into_owned();
                let request = RawRequest { head, at };
                let body = request
                    .header("content-length")
                    .and_then(|text| text.parse().ok());
                if bytes.len() >= head_bytes + body.unwrap_or(0) {
                    locked(&self.requests).push(request);
                    return Ok(true);
                }
            }
            if stream.read_buf(&mut bytes).await? == 0 {
                return Ok(false);
            }
        }
    }
}

/// Where the head of the first request in `bytes` ends.
fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .map(|at| at + 4)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A listener that treats every connection in its manner. Stops, and drops its connections, when dropped.
#[derive(Debug)]
pub struct Hostile {
    address: SocketAddr,
    seen: Arc<Seen>,
    _stop: DropGuard,
}

impl Hostile {
    /// Listens on loopback.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(manner: Manner) -> Result<Self> {
        Self::listen((Ipv4Addr::LOCALHOST, 0).into(), manner, None).await
    }

    /// Listens on loopback, behind TLS.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start_tls(manner: Manner, tls: TlsAcceptor) -> Result<Self> {
        Self::listen((Ipv4Addr::LOCALHOST, 0).into(), manner, Some(tls)).await
    }

    /// Listens on an address of the caller's choice.
    ///
    /// # Errors
    /// When it cannot be bound.
    pub async fn listen(address: SocketAddr, manner: Manner, tls: Option<TlsAcceptor>) -> Result<Self> {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("failed to listen on {address}"))?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Seen::default());
        let stop = CancellationToken::new();
        let hosting = Hosting {
            manner,
            tls,
            seen: Arc::clone(&seen),
            stop: stop.clone(),
        };
        TaskTracker::new().spawn(hosting.accept(listener));
        Ok(Self {
            address,
            seen,
            _stop: stop.drop_guard(),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The `http` URL of one path here.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// How many connections were made so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        locked(&self.seen.connections).len()
    }

    /// Which of its addresses were connected to, in order.
    #[must_use]
    pub fn connected_to(&self) -> Vec<SocketAddr> {
        locked(&self.seen.connections).clone()
    }

    /// The requests whose last byte has come.
    #[must_use]
    pub fn requests(&self) -> Vec<RawRequest> {
        locked(&self.seen.requests).clone()
    }

    /// How often each `webhook-id` came.
    #[must_use]
    pub fn times_by_id(&self) -> BTreeMap<String, usize> {
        let mut times = BTreeMap::new();
        for request in self.requests() {
            let id = request.header("webhook-id").unwrap_or_default().to_owned();
            *times.entry(id).or_default() += 1;
        }
        times
    }

    /// Bytes it has got rid of so far, where its manner is to flood.
    #[must_use]
    pub fn written(&self) -> usize {
        self.seen.written.load(Ordering::Relaxed)
    }
}

/// What serving a connection takes.
#[derive(Clone)]
struct Hosting {
    manner: Manner,
    tls: Option<TlsAcceptor>,
    seen: Arc<Seen>,
    stop: CancellationToken,
}

impl Hosting {
    async fn accept(self, listener: TcpListener) {
        let connections = TaskTracker::new();
        while let Some(accepted) = self.stop.run_until_cancelled(listener.accept()).await {
            // A connection that is gone before it was taken is one of the things that happen.
            let Ok((stream, _)) = accepted else { continue };
            let hosting = self.clone();
            connections.spawn(async move {
                let stop = hosting.stop.clone();
                // Whoever is treated like this hangs up sooner or later: that is no failure of the server's.
                drop(stop.run_until_cancelled(hosting.serve(stream)).await);
            });
        }
    }

    async fn serve(self, mut stream: TcpStream) -> io::Result<()> {
        let at = stream.local_addr()?;
        locked(&self.seen.connections).push(at);
        match &self.tls {
            None if self.manner.resets() => self.manner.reset(stream, &self.seen, at).await,
            None => self.manner.serve(&mut stream, &self.seen, at).await,
            Some(tls) => {
                let mut stream = tls.accept(stream).await?;
                self.manner.serve(&mut stream, &self.seen, at).await
            }
        }
    }
}
