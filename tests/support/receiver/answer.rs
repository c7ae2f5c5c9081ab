//! How a receiver answers one request.
//!
//! Owns the manners, good and bad, that a customer's server can have. Pure description until it is given.

use std::{fmt, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{Response, body::Frame};

pub(super) type AnswerBody = UnsyncBoxBody<Bytes, Closed>;

/// The connection is closed instead of answered.
#[derive(Debug)]
pub(super) struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection is closed on purpose")
    }
}

impl std::error::Error for Closed {}

/// One answer; start from [`Answer::ok`] or [`Answer::status`] and add to it.
#[derive(Debug, Clone)]
pub struct Answer {
    status: StatusCode,
    delay: Duration,
    headers: HeaderMap,
    manner: Manner,
}

#[derive(Debug, Clone)]
enum Manner {
    Body(Bytes),
    Endless { chunk: Bytes, every: Duration },
    Hang,
    Close,
}

impl Answer {
    /// 200 with an empty body.
    #[must_use]
    pub fn ok() -> Self {
        Self::status(200)
    }

    /// This status with an empty body.
    ///
    /// # Panics
    /// When there is no such status.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self {
            status: StatusCode::from_u16(status).expect("a status between 100 and 999"),
            delay: Duration::ZERO,
            headers: HeaderMap::new(),
            manner: Manner::Body(Bytes::new()),
        }
    }

    /// Never answers; the connection stays open.
    #[must_use]
    pub fn hang() -> Self {
        Self {
            manner: Manner::Hang,
            ..Self::ok()
        }
    }

    /// Closes the connection without an answer.
    #[must_use]
    pub fn close() -> Self {
        Self {
            manner: Manner::Close,
            ..Self::ok()
        }
    }

    /// Waits before answering.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Adds a header, e.g. `("retry-after", "2")`.
    ///
    /// # Panics
    /// When the name or the value is not one.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        let value = HeaderValue::from_str(value).expect("a header value");
        self.headers.append(HeaderName::from_static(name), value);
        self
    }

    /// Answers with this body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.manner = Manner::Body(body.into());
        self
    }

    /// Sends the head, and then a chunk of `bytes` bytes every so often, for ever: a slow loris with one byte a
    /// second, a bomb with a megabyte and no pause.
    #[must_use]
    pub fn endless(mut self, bytes: usize, every: Duration) -> Self {
        self.manner = Manner::Endless {
            chunk: Bytes::from(vec![b'x'; bytes]),
            every,
        };
        self
    }

    pub(super) async fn give(self) -> Result<Response<AnswerBody>, Closed> {
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        let body = match self.manner {
            Manner::Body(bytes) => Full::new(bytes).map_err(|never| match never {}).boxed_unsync(),
            Manner::Endless { chunk, every } => endless_body(chunk, every),
            Manner::Hang => std::future::pending().await,
            Manner::Close => return Err(Closed),
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        Ok(response)
    }
}

fn endless_body(chunk: Bytes, every: Duration) -> AnswerBody {
    let chunks = stream::unfold(chunk, move |chunk| async move {
        tokio::time::sleep(every).await;
        Some((Ok(Frame::data(chunk.clone())), chunk))
    });
    StreamBody::new(chunks).boxed_unsync()
}
