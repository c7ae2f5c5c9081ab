//! `nuncio listen`: a receiver on this machine.
//!
//! Owns the answers it gives and the lines it prints. Guarantees that the body is printed exactly as it came and that a
//! delivery is printed before it is answered.
//! Refuses to know any configuration: it is a customer's server, not a part of Nuncio.

mod delivery;

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use clap::Args;
use nuncio_runtime::{Clock, Dice, Lifecycle};
use nuncio_signing::Verifier;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::delivery::Delivery;
use crate::command::{block_on, duration};
use crate::output;

/// Most bytes of a body that are read.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long requests in flight may take when it is told to stop.
const STOP_DEADLINE: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(crate) struct ListenArgs {
    /// Address to listen on; port 0 takes any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8072")]
    listen: SocketAddr,
    /// Secret of an endpoint (whsec_…, whsk_… or whpk_…); repeat it to accept several
    #[arg(long, value_name = "SECRET", value_parser = secret, hide_env_values = true)]
    secret: Vec<Verifier>,
    /// Status to answer with; with --fail-rate, the status of what fails
    #[arg(long, value_name = "STATUS", value_parser = status)]
    status: Option<StatusCode>,
    /// How long to wait before answering, such as 2s
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "0s")]
    delay: Duration,
    /// Share of deliveries to fail at random, from 0 to 1; they are answered with 500 or --status
    #[arg(long, value_name = "SHARE", value_parser = share)]
    fail_rate: Option<f64>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

fn secret(text: &str) -> Result<Verifier, String> {
    Verifier::parse(text).map_err(|error| error.to_string())
}

fn status(text: &str) -> Result<StatusCode, String> {
    text.parse()
        .ok()
        .filter(|status: &StatusCode| (200..600).contains(&status.as_u16()))
        .ok_or_else(|| "expected a status from 200 to 599".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "expected a number from 0 to 1".to_owned())
}

/// What every request is answered from.
struct Listener {
    args: ListenArgs,
    clock: Clock,
    dice: Dice,
    /// Cancelled when nobody reads standard output any more.
    hung_up: CancellationToken,
}

pub(crate) fn run(args: ListenArgs) -> anyhow::Result<ExitCode> {
    block_on(serve(args))
}

async fn serve(args: ListenArgs) -> anyhow::Result<ExitCode> {
    let address = args.listen;
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("failed to listen on {address}"))?;
    let bound = listener.local_addr()?;
    output::note(&format!("listening on http://{bound}"));
    if let Some(hint) = hint(bound) {
        output::note(&hint);
    }
    let life = Lifecycle::new();
    let listening = Arc::new(Listener {
        args,
        clock: Clock::system(),
        dice: Dice::system(),
        hung_up: life.soft.clone(),
    });
    let app = Router::new().fallback(receive).with_state(listening);
    let stop = life.soft.clone();
    life.start("listen", async move {
        axum::serve(listener, app)
            .with_graceful_shutdown(stop.cancelled_owned())
            .await
    });
    // Deliveries in flight are answered or dropped within the deadline; either is a clean end for a receiver.
    life.run_until_stopped(STOP_DEADLINE).await?;
    Ok(ExitCode::SUCCESS)
}

/// What a server needs to be told before it delivers to `address`, which it refuses by default: what runs here is seldom
/// reached from elsewhere.
fn hint(address: SocketAddr) -> Option<String> {
    let network = match address.ip().to_canonical() {
        IpAddr::V4(ip) if ip.is_loopback() => "127.0.0.0/8",
        IpAddr::V6(ip) if ip.is_loopback() => "::1/128",
        _ => return None,
    };
    Some(format!(
        "a Nuncio delivers here if it was started with NUNCIO_EGRESS_ALLOW={network} and without NUNCIO_HTTPS_ONLY=true"
    ))
}

async fn receive(State(listener): State<Arc<Listener>>, request: Request<Body>) -> Response {
    if request.method() != Method::POST {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let args = &listener.args;
    let now_seconds = listener.clock.now().div_euclid(1_000);
    let mut delivery = Delivery::read(&head, &body, &args.secret, now_seconds);
    delivery.status = listener.answer(delivery.verified).as_u16();
    let text = if args.json {
        delivery.json()
    } else {
        delivery.readable()
    };
    tokio::time::sleep(args.delay).await;
    if let Err(error) = output::line(&text) {
        if !output::is_closed_pipe(&error) {
            output::complain(&format!("{error:#}"));
        }
        listener.hung_up.cancel();
    }
    StatusCode::from_u16(delivery.status)
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
        .into_response()
}

impl Listener {
    fn answer(&self, verified: Option<bool>) -> StatusCode {
        if verified == Some(false) {
            return StatusCode::UNAUTHORIZED;
        }
        match (self.args.fail_rate, self.args.status) {
            (None, status) => status.unwrap_or(StatusCode::OK),
            (Some(share), status) if self.dice.unit() < share => {
                status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }
            (Some(_), _) => StatusCode::OK,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(fail_rate: Option<f64>, status: Option<u16>) -> Listener {
        Listener {
            args: ListenArgs {
                listen: SocketAddr::from(([127, 0, 0, 1], 0)),
                secret: Vec::new(),
                status: status.map(|status| StatusCode::from_u16(status).unwrap()),
                delay: Duration::ZERO,
                fail_rate,
                json: true,
            },
            clock: Clock::system(),
            dice: Dice::seeded(5),
            hung_up: CancellationToken::new(),
        }
    }

    fn answers(listener: &Listener) -> Vec<u16> {
        (0..1_000).map(|_| listener.answer(None).as_u16()).collect()
    }

    #[test]
    fn only_an_address_that_is_refused_by_default_is_explained() {
        for (address, network) in [
            ("127.0.0.1:8072", Some("127.0.0.0/8")),
            ("127.1.2.3:80", Some("127.0.0.0/8")),
            ("[::1]:8072", Some("::1/128")),
            ("[::ffff:127.0.0.1]:8072", Some("127.0.0.0/8")),
            ("0.0.0.0:8072", None),
            ("93.184.216.34:8072", None),
        ] {
            let found = hint(address.parse().unwrap());
            assert_eq!(found.is_some(), network.is_some(), "{address}: {found:?}");
            if let (Some(found), Some(network)) = (found, network) {
                assert!(
                    found.contains(&format!("NUNCIO_EGRESS_ALLOW={network} ")),
                    "{found}"
                );
            }
        }
    }

    #[test]
    fn the_status_asked_for_is_the_answer() {
        assert_eq!(listener(None, None).answer(None), StatusCode::OK);
        assert_eq!(listener(None, Some(503)).answer(Some(true)).as_u16(), 503);
    }

    #[test]
    fn what_does_not_verify_is_refused() {
        assert_eq!(listener(None, None).answer(Some(false)), StatusCode::UNAUTHORIZED);
    }

    #[test]
    fn about_the_share_asked_for_fails_with_the_status_asked_for() {
        let found = answers(&listener(Some(0.3), Some(429)));
        let failed = found.iter().filter(|status| **status == 429).count();
        assert!((200..400).contains(&failed), "{failed} of 1000");
        assert_eq!(
            found.iter().filter(|status| **status == 200).count(),
            1_000 - failed
        );
        assert!(
            answers(&listener(Some(1.0), None))
                .iter()
                .all(|status| *status == 500)
        );
        assert!(
            answers(&listener(Some(0.0), None))
                .iter()
                .all(|status| *status == 200)
        );
    }
}
