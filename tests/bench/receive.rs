//! The receiver: answers every POST and writes down when it arrived.
//!
//! Owns one listener and the records of what came. Speaks just enough HTTP/1.1 to cost little beside what is measured.
//! Lanes below a mark hang before they answer, as broken customers do.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail};
use bytes::{Buf, BytesMut};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tokio_util::task::TaskTracker;

use crate::{
    child, clock,
    records::{self, Record, STREAM_SIZE},
};

const HEAD_BYTES_MAX: usize = 64 * 1024;
const STREAMS_MAX: usize = 8;
/// How many hosts the receiver stands for.
const HOSTS: usize = 100;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
/// How often a watcher is told of new arrivals.
const WATCH: Duration = Duration::from_millis(1);

impl Addresses {
    /// Where the endpoint of that lane points: lanes are spread over all hosts.
    pub(crate) fn lane(&self, lane: usize) -> String {
        format!("http://{}/{lane}", self.http[lane % self.http.len()])
    }

    /// All lanes at one host, as customers of one integration platform are.
    pub(crate) fn one_host(&self) -> Self {
        Self {
            http: self.http[..1].to_vec(),
            watch: self.watch,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) enum Request {
    /// Where it listens.
    Addresses,
    /// How many requests were recorded since the last `Take`.
    Count,
    /// Writes the records to a file and forgets them; answers how many requests could not be read.
    Take { file: PathBuf },
    /// Lanes below this number wait so long before they answer.
    Hang { below: u64, millis: u64 },
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Addresses {
    /// For deliveries: as many hosts, like the customers of a real installation.
    pub(crate) http: Vec<SocketAddr>,
    /// For those who pace themselves by what arrived.
    pub(crate) watch: SocketAddr,
}

#[derive(Default)]
struct State {
    arrived: Mutex<Vec<Record>>,
    count: AtomicU64,
    by_stream: [AtomicU64; STREAMS_MAX],
    unreadable: AtomicU64,
    hang_below: AtomicU64,
    hang_millis: AtomicU64,
}

pub(crate) async fn run(control: SocketAddr) -> Result<()> {
    let state = Arc::new(State::default());
    let watch = TcpListener::bind("127.0.0.1:0").await?;
    let tasks = TaskTracker::new();
    let mut http = Vec::with_capacity(HOSTS);
    for _ in 0..HOSTS {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        http.push(listener.local_addr()?);
        tasks.spawn(accept(listener, Arc::clone(&state)));
    }
    let addresses = Addresses {
        http,
        watch: watch.local_addr()?,
    };
    tasks.spawn(accept_watchers(watch, Arc::clone(&state)));
    child::serve(control, |request: Request| {
        let (state, addresses) = (Arc::clone(&state), addresses.clone());
        async move {
            Ok(match request {
                Request::Addresses => serde_json::to_value(addresses)?,
                Request::Count => state.count.load(Ordering::Relaxed).into(),
                Request::Take { file } => {
                    records::write(&file, &state.take())?;
                    state.unreadable.swap(0, Ordering::Relaxed).into()
                }
                Request::Hang { below, millis } => {
                    state.hang_millis.store(millis, Ordering::Relaxed);
                    state.hang_below.store(below, Ordering::Relaxed);
                    serde_json::Value::Null
                }
            })
        }
    })
    .await
}

impl State {
    fn take(&self) -> Vec<Record> {
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        self.count.store(0, Ordering::Relaxed);
        for count in &self.by_stream {
            count.store(0, Ordering::Relaxed);
        }
        std::mem::take(&mut arrived)
    }

    fn record(&self, lane: u64, body: &[u8], at: u64) {
        let Some(number) = records::number(body) else {
            self.unreadable.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        arrived.push([number, lane, at]);
        self.count.fetch_add(1, Ordering::Relaxed);
        let stream = usize::try_from(number / STREAM_SIZE).unwrap_or(usize::MAX);
        if let Some(count) = self.by_stream.get(stream) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn hang(&self, lane: u64) -> Option<Duration> {
        (lane < self.hang_below.load(Ordering::Relaxed))
            .then(|| Duration::from_millis(self.hang_millis.load(Ordering::Relaxed)))
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let connections = TaskTracker::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let state = Arc::clone(&state);
                connections.spawn(async move {
                    if let Err(error) = serve(stream, &state).await
                        && error.downcast_ref::<std::io::Error>().is_none()
                    {
                        state.unreadable.fetch_add(1, Ordering::Relaxed);
                        eprintln!("receiver: {error:#}");
                    }
                });
            }
            // Out of file handles, most likely: some will come back.
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn serve(mut stream: TcpStream, state: &State) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = BytesMut::with_capacity(4 * 1024);
    loop {
        let head = loop {
            if let Some(head) = Head::read(&buffer)? {
                break head;
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        while buffer.len() < head.bytes + head.body_bytes {
            buffer.reserve(head.bytes + head.body_bytes - buffer.len());
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
        let at = clock::now_ns();
        state.record(head.lane, &buffer[head.bytes..head.bytes + head.body_bytes], at);
        buffer.advance(head.bytes + head.body_bytes);
        if let Some(hang) = state.hang(head.lane) {
            sleep(hang).await;
        }
        stream.write_all(ANSWER).await?;
    }
}

/// What matters of a request's head.
struct Head {
    /// With the empty line.
    bytes: usize,
    body_bytes: usize,
    lane: u64,
}

impl Head {
    /// `None` while it is not complete.
    fn read(buffer: &[u8]) -> Result<Option<Self>> {
        let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
            if buffer.len() > HEAD_BYTES_MAX {
                bail!("a head is too long");
            }
            return Ok(None);
        };
        let mut lines = buffer[..end].split(|byte| *byte == b'\n');
        let line = std::str::from_utf8(lines.next().unwrap_or_default())?;
        // POST /<lane> HTTP/1.1
        let lane = line
            .strip_prefix("POST /")
            .and_then(|rest| rest.split(' ').next()?.parse().ok())
            .with_context(|| format!("not a delivery: {line}"))?;
        let mut body_bytes = None;
        for line in lines {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else {
                continue;
            };
            if line[..colon].eq_ignore_ascii_case(b"content-length") {
                body_bytes = std::str::from_utf8(&line[colon + 1..])?.trim().parse().ok();
            }
        }
        Ok(Some(Self {
            bytes: end + 4,
            body_bytes: body_bytes.context("a delivery has no content-length")?,
            lane,
        }))
    }
}

async fn accept_watchers(listener: TcpListener, state: Arc<State>) {
    let watchers = TaskTracker::new();
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        watchers.spawn(async move {
            // It ends when the watcher hangs up.
            watched(stream, &state).await.unwrap_or_default();
        });
    }
}

/// The watcher names a stream in one byte, and is then told how many of it arrived whenever that changed.
async fn watched(mut stream: TcpStream, state: &State) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let index = usize::from(stream.read_u8().await?);
    let Some(count) = state.by_stream.get(index) else {
        return Ok(());
    };
    let mut told = None;
    loop {
        let now = count.load(Ordering::Relaxed);
        if told.replace(now) != Some(now) {
            stream.write_u64(now).await?;
        }
        sleep(WATCH).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_once_it_is_whole() {
        let request = b"POST /17 HTTP/1.1\r\nhost: x\r\nContent-Length: 5\r\n\r\nhello";
        for cut in 0..request.len() - 6 {
            assert!(Head::read(&request[..cut]).unwrap().is_none());
        }
        let head = Head::read(request).unwrap().unwrap();
        assert_eq!(
            (head.bytes, head.body_bytes, head.lane),
            (request.len() - 5, 5, 17)
        );
        assert!(Head::read(b"GET / HTTP/1.1\r\n\r\n").is_err());
    }
}
