//! The load of a benchmark.
//!
//! Owns the pace: an event is sent when it is due, however long those before it take (open loop), but for the bound on
//! what waits for its confirm.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use nuncio_domain::{Event, EventTypeName};
use nuncio_producer::Producer;
use nuncio_runtime::Config;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::setup::Api;
use super::timeline::{Sent, Timeline};
use super::{Rate, Via};
use crate::host;

/// Events waiting for their confirm at most, by AMQP and by REST.
const AMQP_WINDOW: usize = 2_048;
const REST_WINDOW: usize = 64;

const EVENT_TYPE: &str = "bench.tick";

/// An open way in.
#[derive(Clone)]
pub(super) struct Load {
    link: Link,
    event_type: EventTypeName,
}

#[derive(Clone)]
enum Link {
    Amqp(Producer),
    Rest {
        http: reqwest::Client,
        base: String,
        token: String,
    },
}

impl Load {
    pub(super) async fn open(via: Via, config: &Config, api: &Api) -> anyhow::Result<Self> {
        let link = match via {
            Via::Amqp => Link::Amqp(connect(config).await?),
            Via::Rest => Link::Rest {
                http: api.http.clone(),
                base: api.base.clone(),
                token: api.token.clone(),
            },
        };
        let event_type = EventTypeName::parse(EVENT_TYPE)?;
        Ok(Self { link, event_type })
    }

    /// Sends one event and returns when it is confirmed.
    pub(super) async fn send(&self, app: &str, payload: Vec<u8>) -> anyhow::Result<()> {
        match &self.link {
            Link::Amqp(producer) => {
                let event = Event {
                    app: app.to_owned(),
                    event_type: self.event_type.clone(),
                    payload,
                    event_id: None,
                    channels: Vec::new(),
                };
                producer.publish(event).await?;
            }
            Link::Rest { http, base, token } => {
                let payload = String::from_utf8(payload)?;
                let response = http
                    .post(format!("{base}/api/v1/app/{app}/msg"))
                    .bearer_auth(token)
                    .header("content-type", "application/json")
                    .body(format!(r#"{{"eventType":"{EVENT_TYPE}","payload":{payload}}}"#))
                    .send()
                    .await?;
                let status = response.status();
                let body = response.bytes().await?;
                ensure!(status.is_success(), "{status} {}", String::from_utf8_lossy(&body));
            }
        }
        Ok(())
    }

    /// Publishes to `apps` in turn; returns how many events were confirmed.
    pub(super) async fn run(
        &self,
        rate: Rate,
        duration: Duration,
        payload_bytes: usize,
        apps: &[String],
        timeline: &Arc<Timeline>,
        interrupted: &CancellationToken,
    ) -> anyhow::Result<u64> {
        let window = Arc::new(Semaphore::new(match self.link {
            Link::Amqp(_) => AMQP_WINDOW,
            Link::Rest { .. } => REST_WINDOW,
        }));
        let failure = Arc::new(Mutex::new(None));
        let confirms = TaskTracker::new();
        let start = Instant::now();
        let mut number = 0;
        for app in apps.iter().cycle() {
            if let Rate::PerSecond(rate) = rate {
                sleep_until(start + Duration::from_secs_f64(number as f64 / rate)).await;
            }
            let permit = Arc::clone(&window).acquire_owned().await?;
            if start.elapsed() >= duration || interrupted.is_cancelled() || failure.lock().await.is_some() {
                break;
            }
            let (load, app) = (self.clone(), app.clone());
            let (timeline, failure) = (Arc::clone(timeline), Arc::clone(&failure));
            confirms.spawn(async move {
                let payload = timeline.payload(number, payload_bytes);
                let at = timeline.now();
                match load.send(&app, payload).await {
                    Ok(()) => timeline.sent(Sent {
                        number,
                        at,
                        confirmed: timeline.now(),
                    }),
                    Err(error) => *failure.lock().await = Some(error),
                }
                drop(permit);
            });
            number += 1;
        }
        confirms.close();
        confirms.wait().await;
        match failure.lock().await.take() {
            Some(error) => Err(error).context("an event was not confirmed"),
            None => Ok(number),
        }
    }

    pub(super) async fn close(self) {
        if let Link::Amqp(producer) = self.link {
            producer.close().await;
        }
    }
}

async fn connect(config: &Config) -> anyhow::Result<Producer> {
    let mut urls = config.amqp_urls.iter();
    let first = urls.next().context("no address of RabbitMQ")?;
    let builder = Producer::builder(first.expose())
        .namespace(&config.namespace)
        .connection_name(format!("bench@{}", host::name()))
        .payload_bytes_max(config.max_payload);
    let builder = urls.fold(builder, |builder, url| builder.or_url(url.expose()));
    Ok(builder.connect().await?)
}
