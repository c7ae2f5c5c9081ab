//! The connections of the listener: how many there may be, and what one may take its time for.
//!
//! Guarantees that who opens connections and is slow to say what is wanted holds none for long, that there are never more
//! than [`CONNECTIONS_MAX`], and that where two readers could differ on where a request ends, no second request is read.
//! Refuses to know what is asked.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use http::header::{CONNECTION, TRANSFER_ENCODING};
use http::{HeaderValue, Version};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use nuncio_runtime::Lifecycle;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::{ServiceExt, service_fn};

/// Connections at the same time; the next ones wait to be accepted.
pub(super) const CONNECTIONS_MAX: usize = 4_096;
/// How long the head of a request may take, from the moment at which the connection is free for it.
const HEAD_TIME: Duration = Duration::from_secs(20);
/// Streams of one HTTP/2 connection at the same time.
const STREAMS_MAX: u32 = 128;
/// How often an HTTP/2 connection is asked whether anybody is there, and how long the answer may take.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIME: Duration = Duration::from_secs(10);
/// The pause after a connection could not be accepted, as when there are no file handles left.
const ACCEPT_AGAIN: Duration = Duration::from_millis(500);

/// Serves whoever connects, until the process stops; then answers what is under way.
pub(super) async fn serve(listener: TcpListener, router: Router, life: &Lifecycle) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            () = life.soft.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let (stream, peer, place) = accepted;
        life.tracker
            .spawn(connection(stream, peer, place, router.clone(), life.clone()));
    }
    drop(listener);
    // Every place that is back is a connection that has ended.
    let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
    tokio::select! {
        ended = places.acquire_many(all) => drop(ended),
        () = life.hard.cancelled() => {}
    }
}

/// The next connection, when there is a place for it.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    let place = Arc::clone(places)
        .acquire_owned()
        .await
        .expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer, place),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    place: OwnedSemaphorePermit,
    router: Router,
    life: Lifecycle,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection goes on with delays");
    }
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIME);
    let service = service_fn(move |request: Request<Incoming>| answer(router.clone(), request, peer));
    let service = TowerToHyperService::new(service);
    let mut serving = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut stopping = false;
    loop {
        tokio::select! {
            served = serving.as_mut() => {
                if let Err(error) = served {
                    tracing::debug!(error, %peer, "a connection ended early");
                }
                break;
            }
            () = life.soft.cancelled(), if !stopping => {
                stopping = true;
                serving.as_mut().graceful_shutdown();
            }
            () = life.hard.cancelled() => break,
        }
    }
    drop(place);
}

async fn answer(
    router: Router,
    mut request: Request<Incoming>,
    peer: SocketAddr,
) -> Result<Response, Infallible> {
    request.extensions_mut().insert(ConnectInfo(peer));
    // A request with both lengths was read by this one; who passed it on may have read it by the other one, and takes what
    // follows for its body.
    let ambiguous =
        request.version() == Version::HTTP_11 && request.headers().contains_key(TRANSFER_ENCODING);
    let mut response = router.oneshot(request.map(Body::new)).await?;
    if ambiguous {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}
