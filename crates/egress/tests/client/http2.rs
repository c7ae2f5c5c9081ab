//! HTTP/2 servers that refuse and leave, down to the frames: what they did not look at is sent again, twice at most, and
//! nothing else is.

use std::io;
use std::sync::Arc;

use nuncio_domain::{Outcome, Reason};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::server::{Request, Seen, Server, post, url};
use crate::tls::{Authority, params};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const NO_ERROR: u32 = 0;
const PROTOCOL_ERROR: u32 = 1;
const REFUSED_STREAM: u32 = 7;
const PREFACE_BYTES: usize = 24;
/// `:status: 200`, by its number in HPACK's table.
const STATUS_200: &[u8] = &[0x88];
/// At most one stream at a time.
const ONE_STREAM: &[u8] = &[0, 3, 0, 0, 0, 1];

/// What a server does with a request.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// 200.
    Answer,
    /// GOAWAY that names the stream before this one.
    LeaveBefore,
    /// GOAWAY that names this stream, and then the end.
    LeaveAfter,
    /// GOAWAY with an error that names the stream before this one.
    Accuse,
    /// RST_STREAM, refused.
    Refuse,
    /// RST_STREAM, for another reason.
    Abort,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .expect("a short payload")
        .to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

fn goaway(last_stream: u32, code: u32) -> Vec<u8> {
    frame(
        GOAWAY,
        0,
        0,
        &[last_stream.to_be_bytes(), code.to_be_bytes()].concat(),
    )
}

/// The kind, flags and stream of the next frame.
async fn next(stream: &mut TlsStream<TcpStream>) -> io::Result<(u8, u8, u32)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; usize::try_from(length).expect("it fits")];
    stream.read_exact(&mut payload).await?;
    Ok((
        head[3],
        head[4],
        u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
    ))
}

/// Serves HTTP/2; the nth request of all is treated as the nth act says, and those after the last one like the last.
async fn acting(authority: &Authority, settings: &'static [u8], acts: &'static [Act]) -> Server {
    let acceptor = authority.acceptor(params(), &[b"h2"]);
    Server::start(move |stream, seen| {
        let acceptor = acceptor.clone();
        async move {
            let mut stream = acceptor.accept(stream).await?;
            let mut preface = [0; PREFACE_BYTES];
            stream.read_exact(&mut preface).await?;
            stream.write_all(&frame(SETTINGS, 0, 0, settings)).await?;
            stream.flush().await?;
            loop {
                let (kind, flags, id) = next(&mut stream).await?;
                if kind == SETTINGS && flags & ACK == 0 {
                    stream.write_all(&frame(SETTINGS, ACK, 0, &[])).await?;
                } else if matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0 {
                    let nth = note(&seen, id);
                    act(acts[nth.min(acts.len() - 1)], id, &mut stream).await?;
                }
                stream.flush().await?;
            }
        }
    })
    .await
}

/// Notes a request, and tells which one it is.
fn note(seen: &Arc<Seen>, id: u32) -> usize {
    seen.note(Request {
        head: id.to_string(),
        body: Vec::new(),
    });
    seen.requests().len() - 1
}

async fn act(act: Act, id: u32, stream: &mut TlsStream<TcpStream>) -> io::Result<()> {
    let reset = |code: u32| frame(RST_STREAM, 0, id, &code.to_be_bytes());
    let before = id.saturating_sub(2);
    let bytes = match act {
        Act::Answer => frame(HEADERS, END_HEADERS | END_STREAM, id, STATUS_200),
        Act::LeaveBefore => goaway(before, NO_ERROR),
        Act::Accuse => goaway(before, PROTOCOL_ERROR),
        Act::LeaveAfter => goaway(id, NO_ERROR),
        Act::Refuse => reset(REFUSED_STREAM),
        Act::Abort => reset(PROTOCOL_ERROR),
    };
    stream.write_all(&bytes).await?;
    stream.flush().await?;
    if matches!(act, Act::LeaveAfter) {
        stream.shutdown().await?;
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    Ok(())
}

async fn posts(settings: &'static [u8], acts: &'static [Act], posts: usize) -> (Vec<Outcome>, Server) {
    let authority = Authority::new("the trusted one");
    let server = acting(&authority, settings, acts).await;
    let client = authority.client();
    let url = url(&format!("https://hooks.example:{}/hook", server.port()));
    let all = (0..posts).map(|_| post(&client, &url));
    let outcomes = futures_util::future::join_all(all).await;
    let outcomes = outcomes.into_iter().map(|attempted| attempted.outcome);
    (outcomes.collect(), server)
}

const RESET: Outcome = Outcome::Unreachable(Reason::ConnectionReset);

#[tokio::test]
async fn what_a_server_says_it_did_not_look_at_is_sent_again_within_the_attempt() {
    for (act, connections) in [(Act::LeaveBefore, 2), (Act::Refuse, 1)] {
        let acts: &'static [Act] = Box::leak(Box::new([act, Act::Answer]));
        let (outcomes, server) = posts(&[], acts, 1).await;
        assert_eq!(outcomes, [Outcome::Accepted(200)], "{act:?}");
        assert_eq!(server.seen.requests().len(), 2, "{act:?}");
        assert_eq!(server.seen.connections(), connections, "{act:?}");
    }
}

#[tokio::test]
async fn who_refuses_again_and_again_is_not_asked_a_fourth_time() {
    for acts in [&[Act::Refuse], &[Act::LeaveBefore]] {
        let (outcomes, server) = posts(&[], acts, 1).await;
        assert_eq!(outcomes, [RESET], "{acts:?}");
        assert_eq!(server.seen.requests().len(), 3, "{acts:?}");
    }
}

#[tokio::test]
async fn what_a_server_may_have_looked_at_is_never_sent_again_in_silence() {
    for acts in [
        &[Act::LeaveAfter, Act::Answer],
        &[Act::Accuse, Act::Answer],
        &[Act::Abort, Act::Answer],
    ] {
        let (outcomes, server) = posts(&[], acts, 1).await;
        assert_eq!(outcomes, [RESET], "{acts:?}");
        assert_eq!(server.seen.requests().len(), 1, "{acts:?}");
    }
}

#[tokio::test]
async fn a_server_that_takes_one_stream_at_a_time_gets_one_request_after_the_other() {
    let (outcomes, server) = posts(ONE_STREAM, &[Act::Answer], 20).await;
    assert_eq!(outcomes, vec![Outcome::Accepted(200); 20]);
    assert_eq!(server.seen.requests().len(), 20);
}
