//! A TCP proxy that misbehaves on demand.
//!
//! Owns the connections through it. Guarantees that a change of [`Mode`] holds at once for connections that are open,
//! too. Refuses to know what flows through.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{broadcast, watch},
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::ports::free_port;

const CHUNK_BYTES: usize = 16 * 1024;

/// How bytes are treated, in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Passed on as they come.
    Pass,
    /// Read no more and passed on no more; connections stay open. New ones are accepted and held.
    Blackhole,
    /// Passed on at this many bytes a second and direction.
    Throttle {
        /// At least one.
        bytes_per_second: u64,
    },
    /// Passed on after this time.
    Delay(Duration),
    /// New connections are closed at once; open ones pass.
    Refuse,
}

/// What happens to every connection that is open now.
#[derive(Debug, Clone, Copy)]
enum Blow {
    Reset,
    HalfClose,
}

struct Shared {
    upstream: SocketAddr,
    mode: watch::Receiver<Mode>,
    blows: broadcast::Sender<Blow>,
    cut_after: AtomicU64,
    open: AtomicUsize,
}

/// A proxy on loopback to one address; its connections end when it is dropped.
pub struct FaultProxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    shared: Arc<Shared>,
    stop: CancellationToken,
}

impl FaultProxy {
    /// Listens on a free port and passes everything on to `upstream`.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn to(upstream: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, free_port())).await?;
        let address = listener.local_addr()?;
        let (mode, watched) = watch::channel(Mode::Pass);
        let (blows, _) = broadcast::channel(16);
        let shared = Arc::new(Shared {
            upstream,
            mode: watched,
            blows,
            cut_after: AtomicU64::new(u64::MAX),
            open: AtomicUsize::new(0),
        });
        let stop = CancellationToken::new();
        TaskTracker::new().spawn(accept(listener, Arc::clone(&shared), stop.clone()));
        Ok(Self {
            address,
            mode,
            shared,
            stop,
        })
    }

    /// A proxy to the host and port of `url`, and `url` led through it.
    ///
    /// # Errors
    /// When the URL has no numeric host and port, or no port can be bound.
    pub async fn before(url: &str) -> Result<(Self, String)> {
        let parsed = url::Url::parse(url)?;
        let port = parsed
            .port()
            .ok_or_else(|| anyhow::anyhow!("no port in the URL"))?;
        let authority = format!("127.0.0.1:{port}");
        anyhow::ensure!(url.contains(&authority), "only 127.0.0.1 can be proxied");
        let proxy = Self::to(authority.parse()?).await?;
        let through = url.replace(&authority, &proxy.address.to_string());
        Ok((proxy, through))
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// Changes how bytes are treated from now on.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Resets every open connection (RST on both sides).
    pub fn reset_all(&self) {
        self.strike(Blow::Reset);
    }

    /// Ends the direction towards the client (FIN) on every open connection; the other stays.
    pub fn half_close_all(&self) {
        self.strike(Blow::HalfClose);
    }

    /// Resets connections once so many more bytes flowed from clients to the server, in all; once.
    pub fn cut_after(&self, bytes: u64) {
        self.shared.cut_after.store(bytes, Ordering::Relaxed);
    }

    fn strike(&self, blow: Blow) {
        // Nobody listens when no connection is open.
        drop(self.shared.blows.send(blow));
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((client, _)) if *shared.mode.borrow() == Mode::Refuse => drop(client),
            Ok((client, _)) => {
                connections.spawn(carry(client, Arc::clone(&shared), stop.clone()));
            }
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}

/// One connection from its first byte to its end.
async fn carry(client: TcpStream, shared: Arc<Shared>, stop: CancellationToken) {
    let mut blows = shared.blows.subscribe();
    let Ok(server) = TcpStream::connect(shared.upstream).await else {
        return;
    };
    shared.open.fetch_add(1, Ordering::Relaxed);
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (half_close, mut half_closed) = watch::channel(false);
    let reset = {
        let up = pump(&mut from_client, &mut to_server, &shared, true);
        let down = async {
            tokio::select! {
                ended = pump(&mut from_server, &mut to_client, &shared, false) => ended,
                Ok(_) = half_closed.wait_for(|closed| *closed) => Ok(()),
            }?;
            to_client.shutdown().await
        };
        let both = async { tokio::try_join!(up, down) };
        tokio::pin!(both);
        loop {
            tokio::select! {
                () = stop.cancelled() => break true,
                // An error on one side is passed on as a reset to the other.
                ended = &mut both => break ended.is_err(),
                blow = blows.recv() => match blow {
                    Ok(Blow::HalfClose) => {
                        half_close.send_replace(true);
                    }
                    Ok(Blow::Reset) | Err(_) => break true,
                },
            }
        }
    };
    shared.open.fetch_sub(1, Ordering::Relaxed);
    if reset {
        reset_pair(from_client, to_client);
        reset_pair(from_server, to_server);
    }
}

/// Closing with a linger of zero sends RST instead of FIN. An error means that the connection is gone already.
fn reset_pair(read: OwnedReadHalf, write: OwnedWriteHalf) {
    if let Ok(stream) = read.reunite(write) {
        drop(stream.set_zero_linger());
    }
}

async fn pump(
    read: &mut OwnedReadHalf,
    write: &mut OwnedWriteHalf,
    shared: &Shared,
    upwards: bool,
) -> std::io::Result<()> {
    let mut mode = shared.mode.clone();
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let open = mode.wait_for(|mode| *mode != Mode::Blackhole).await;
        let current = open.map(|mode| *mode).map_err(std::io::Error::other)?;
        let limit = match current {
            Mode::Throttle { bytes_per_second } => {
                usize::try_from(bytes_per_second / 10).unwrap_or(CHUNK_BYTES)
            }
            _ => CHUNK_BYTES,
        };
        let limit = limit.clamp(1, CHUNK_BYTES);
        let read_bytes = tokio::select! {
            read_bytes = read.read(&mut buffer[..limit]) => read_bytes?,
            // What comes from now on is treated as the new mode says.
            changed = mode.changed() => {
                changed.map_err(std::io::Error::other)?;
                continue;
            }
        };
        if read_bytes == 0 {
            return write.shutdown().await;
        }
        match current {
            Mode::Throttle { .. } => sleep(Duration::from_millis(100)).await,
            Mode::Delay(delay) => sleep(delay).await,
            Mode::Pass | Mode::Blackhole | Mode::Refuse => {}
        }
        let chunk = &buffer[..read_bytes];
        if upwards && let Some(whole) = cut(shared, chunk) {
            write.write_all(whole).await?;
            shared.cut_after.store(u64::MAX, Ordering::Relaxed);
            return Err(std::io::Error::other("cut"));
        }
        write.write_all(chunk).await?;
    }
}

/// The part of the chunk before the cut, if the cut falls within it.
fn cut<'chunk>(shared: &Shared, chunk: &'chunk [u8]) -> Option<&'chunk [u8]> {
    let length = chunk.len() as u64;
    let left = shared
        .cut_after
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| match left {
            u64::MAX => None,
            left => Some(left.saturating_sub(length)),
        })
        .ok()?;
    (left <= length).then(|| &chunk[..usize::try_from(left).unwrap_or(chunk.len())])
}
