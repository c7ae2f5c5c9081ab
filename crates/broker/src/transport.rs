//! The transport beneath a connection: TCP or TLS, with what comes out of it made shallow.
//!
//! Owns the runtime that lapin is given, which differs from its own for tokio in the type of a stream alone.

use std::future::Future;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use async_rs::{Runtime, Tokio};
use futures_io::{AsyncRead, AsyncWrite};
use futures_util::Stream;
use lapin::AsyncTcpStream;

use crate::shallow::Shallow;

/// A stream of tokio's.
pub(crate) type Wire = AsyncTcpStream<<Tokio as Reactor>::TcpStream>;

/// A stream from which nothing comes that is nested too deeply.
pub(crate) struct Transport {
    wire: Wire,
    shallow: Shallow,
}

impl From<Wire> for Transport {
    fn from(wire: Wire) -> Self {
        Self {
            wire,
            shallow: Shallow::default(),
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = ready!(Pin::new(&mut self.wire).poll_read(cx, buf))?;
        self.shallow.pass(&mut buf[..read]);
        Poll::Ready(Ok(read))
    }

    fn poll_read_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let read = ready!(Pin::new(&mut self.wire).poll_read_vectored(cx, bufs))?;
        let mut left = read;
        for buf in bufs {
            let here = left.min(buf.len());
            self.shallow.pass(&mut buf[..here]);
            left -= here;
        }
        Poll::Ready(Ok(read))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write_vectored(cx, bufs)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_close(cx)
    }
}

/// tokio's reactor, but for the streams.
#[derive(Debug, Clone)]
pub(crate) struct Guarded(Tokio);

impl Reactor for Guarded {
    type TcpStream = Transport;
    type Sleep = <Tokio as Reactor>::Sleep;

    /// lapin makes no stream of a handle; whoever does is told that this is not how a connection is guarded.
    fn register<H: Read + Write + Send + 'static>(
        &self,
        _: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        Err::<Transport, _>(io::ErrorKind::Unsupported.into())
    }

    fn sleep(&self, dur: Duration) -> Self::Sleep {
        self.0.sleep(dur)
    }

    fn interval(&self, dur: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(dur)
    }

    fn tcp_connect_addr(
        &self,
        addr: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        let connecting = self.0.tcp_connect_addr(addr);
        async move { Ok(Wire::Plain(connecting.await?).into()) }
    }
}

/// What lapin runs on: tokio, with guarded streams.
pub(crate) type Kit = RuntimeParts<Tokio, Guarded>;

/// The runtime for a connection that is made on this tokio runtime.
pub(crate) fn runtime() -> Runtime<Kit> {
    Runtime::new(RuntimeParts::new(Tokio::current(), Guarded(Tokio::current())))
}
