//! What a hostile server does with a connection.
//!
//! Owns the bytes, each manner's own. Guarantees that every manner ends when the other side is gone.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{Seen, Wire};

const SECOND: Duration = Duration::from_secs(1);
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
/// Between two pairs of interim responses.
const PACE: Duration = Duration::from_millis(5);
const INTERIM: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n";
const GZIP_HEADER: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03";
/// What a Deflate block with fixed codes begins with: not the last block, fixed codes, a literal zero byte.
const ZERO: &str = "01000110000";
/// "The last byte 258 times more", in the same codes: 13 bits.
const AGAIN: &str = "1100010100000";

/// One way to be a bad server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manner {
    /// 200 with keep-alive: not hostile at all.
    Fine,
    /// 200, and then the connection is closed, as announced.
    FineOnce,
    /// Takes the request and never answers.
    Silent,
    /// Takes the connection and never reads.
    Deaf,
    /// Never takes the request's end for an answer: a byte of the head each second.
    DrippingHead,
    /// 200 at once, then a byte of the body each second.
    DrippingBody,
    /// `100 Continue`, `103 Early Hints`, and again, hundreds a second without end.
    InterimFlood,
    /// 200 and gigabytes.
    HugeBody,
    /// 500 and what unpacks to 158 times as much, without end.
    GzipBomb,
    /// One header line that never ends.
    EndlessHeader,
    /// Headers without end.
    ManyHeaders,
    /// A redirect with this status to this place.
    Redirect(u16, String),
    /// Not HTTP.
    Garbage,
    /// 200, a thousand bytes announced, ten sent, then the end.
    CutShort,
    /// Ends the connection in place of an answer.
    HangsUp,
    /// Resets the connection as soon as it is made.
    ResetsAtOnce,
    /// Resets the connection in place of an answer.
    Resets,
    /// 200 and the end of the connection, which was not announced: the next request may run into it.
    ClosesQuietly,
    /// 200 to the first request of a connection; takes a second one, and then hangs up.
    HangsUpOnReuse,
    /// Says these bytes to whatever comes first, then nothing more.
    Says(Vec<u8>),
}

impl Manner {
    /// Does this manner need the socket itself?
    pub(super) fn resets(&self) -> bool {
        matches!(self, Self::ResetsAtOnce | Self::Resets)
    }

    /// Ends the connection by a reset.
    pub(super) async fn reset(&self, mut stream: TcpStream, seen: &Seen, at: SocketAddr) -> io::Result<()> {
        if *self == Self::Resets {
            seen.read_request(&mut stream, at).await?;
        }
        stream.set_zero_linger()?;
        drop(stream);
        Ok(())
    }

    /// Treats one connection in this manner, until it ends.
    pub(super) async fn serve(&self, stream: &mut dyn Wire, seen: &Seen, at: SocketAddr) -> io::Result<()> {
        match self {
            Self::Deaf => return std::future::pending().await,
            Self::Says(bytes) => {
                stream.read_u8().await?;
                stream.write_all(bytes).await?;
                stream.flush().await?;
                return until_closed(stream).await;
            }
            _ => {}
        }
        let mut nth = 0;
        while seen.read_request(stream, at).await? {
            nth += 1;
            if !self.answer(stream, seen, nth).await? {
                return Ok(());
            }
            stream.flush().await?;
        }
        Ok(())
    }

    /// Answers the nth request of a connection; whether the connection goes on.
    async fn answer(&self, stream: &mut dyn Wire, seen: &Seen, nth: usize) -> io::Result<bool> {
        match self {
            Self::FineOnce => {
                let once = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                stream.write_all(once).await?;
                return Ok(false);
            }
            Self::Fine | Self::ClosesQuietly => stream.write_all(OK).await?,
            Self::HangsUpOnReuse if nth == 1 => stream.write_all(OK).await?,
            Self::Silent | Self::Deaf => until_closed(stream).await?,
            Self::DrippingHead => drip(stream, b"HTTP/1.1 200 OK\r\nx: ", seen).await?,
            Self::DrippingBody => {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
                    .await?;
                drip(stream, b"", seen).await?;
            }
            Self::InterimFlood => loop {
                stream.write_all(INTERIM).await?;
                stream.flush().await?;
                tokio::time::sleep(PACE).await;
            },
            Self::HugeBody => {
                let head = b"HTTP/1.1 200 OK\r\ncontent-length: 10737418240\r\n\r\n";
                flood(stream, head, &[b'x'; 64 * 1024], seen).await?;
            }
            Self::GzipBomb => {
                let head =
                    b"HTTP/1.1 500 No\r\ncontent-encoding: gzip\r\ncontent-length: 10737418240\r\n\r\n";
                let first = [head, GZIP_HEADER, &packed(&[ZERO, AGAIN].concat())].concat();
                flood(stream, &first, &packed(&AGAIN.repeat(8)).repeat(4_096), seen).await?;
            }
            Self::EndlessHeader => {
                flood(stream, b"HTTP/1.1 200 OK\r\nx-bomb: ", &[b'x'; 64 * 1024], seen).await?;
            }
            Self::ManyHeaders => {
                flood(
                    stream,
                    b"HTTP/1.1 200 OK\r\n",
                    &b"x-bomb: yes\r\n".repeat(4_096),
                    seen,
                )
                .await?;
            }
            Self::Redirect(status, location) => {
                let head = format!(
                    "HTTP/1.1 {status} Over There\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n"
                );
                stream.write_all(head.as_bytes()).await?;
                return Ok(true);
            }
            Self::Garbage => {
                stream
                    .write_all(b"SSH-2.0-OpenSSH_9.9\r\n\0\xff\xfe nonsense\r\n\r\n")
                    .await?
            }
            Self::CutShort => {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n0123456789")
                    .await?;
            }
            Self::HangsUp | Self::HangsUpOnReuse | Self::Resets | Self::ResetsAtOnce | Self::Says(_) => {}
        }
        stream.flush().await?;
        Ok(matches!(self, Self::Fine) || *self == Self::HangsUpOnReuse && nth == 1)
    }
}

/// Writes `first`, and then a byte each second.
async fn drip(stream: &mut dyn Wire, first: &[u8], seen: &Seen) -> io::Result<()> {
    stream.write_all(first).await?;
    loop {
        stream.write_all(b"x").await?;
        stream.flush().await?;
        seen.wrote(1);
        tokio::time::sleep(SECOND).await;
    }
}

/// Writes `first`, and then `rest` for as long as it is taken.
async fn flood(stream: &mut dyn Wire, first: &[u8], rest: &[u8], seen: &Seen) -> io::Result<()> {
    stream.write_all(first).await?;
    loop {
        stream.write_all(rest).await?;
        seen.wrote(rest.len());
    }
}

/// Reads until the other side ends the connection.
async fn until_closed(stream: &mut dyn Wire) -> io::Result<()> {
    let mut sink = [0; 4_096];
    while stream.read(&mut sink).await? > 0 {}
    Ok(())
}

/// Bits as Deflate puts them into bytes, the first one lowest.
fn packed(bits: &str) -> Vec<u8> {
    let byte = |eight: &[u8]| eight.iter().rev().fold(0, |byte, bit| byte << 1 | (bit - b'0'));
    bits.as_bytes().chunks(8).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bombs_bits_fill_whole_bytes() {
        assert_eq!(packed(&[ZERO, AGAIN].concat()), [0x62, 0x18, 0x05]);
        assert_eq!(AGAIN.repeat(8).len() % 8, 0);
    }
}
