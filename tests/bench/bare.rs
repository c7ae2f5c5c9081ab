//! The bare loop: consume from RabbitMQ, POST over keep-alive, ack, and nothing else.
//!
//! The yardstick: whatever delivers from a queue by HTTP pays at least this. No routing, no signature, no record, no
//! retry.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client as Hyper, connect::HttpConnector},
    rt::TokioExecutor,
};
use lapin::{
    Channel, Connection, ConnectionProperties, Consumer,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use crate::child;

/// Channels that the lanes share.
const CHANNELS: usize = 4;

#[derive(Serialize, Deserialize)]
pub(crate) enum Request {
    /// Connects; consumes nothing yet.
    Prepare(Plan),
    /// Delivers until `total` are acknowledged.
    Run,
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) url: String,
    pub(crate) queues: Vec<String>,
    /// Per lane: that many requests are in flight.
    pub(crate) prefetch: u16,
    /// Of each lane.
    pub(crate) targets: Vec<String>,
    pub(crate) client: ClientKind,
    pub(crate) total: u64,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) enum ClientKind {
    Reqwest,
    Hyper,
}

pub(crate) async fn run(control: SocketAddr) -> Result<()> {
    e2e::install_tls_provider();
    let prepared: Arc<Mutex<Option<Loop>>> = Arc::default();
    child::serve(control, |request: Request| {
        let prepared = Arc::clone(&prepared);
        async move {
            match request {
                Request::Prepare(plan) => {
                    let ready = Loop::open(plan).await?;
                    *prepared.lock().unwrap_or_else(PoisonError::into_inner) = Some(ready);
                    Ok(())
                }
                Request::Run => {
                    let ready = prepared.lock().unwrap_or_else(PoisonError::into_inner).take();
                    ready.context("nothing was prepared")?.run().await
                }
            }
        }
    })
    .await
}

struct Loop {
    plan: Plan,
    connection: Connection,
    channels: Vec<Channel>,
    client: Client,
}

#[derive(Clone)]
enum Client {
    Reqwest(reqwest::Client),
    Hyper(Box<Hyper<HttpConnector, Full<Bytes>>>),
}

struct Progress {
    left: AtomicU64,
    done: Notify,
    failure: Mutex<Option<anyhow::Error>>,
}

impl Loop {
    async fn open(plan: Plan) -> Result<Self> {
        let options = ConnectionProperties::default().with_connection_name("bench-bare".into());
        let connection = Connection::connect(&plan.url, options).await?;
        let mut channels = Vec::new();
        for _ in 0..CHANNELS.min(plan.queues.len()) {
            let channel = connection.create_channel().await?;
            channel
                .basic_qos(plan.prefetch, BasicQosOptions::default())
                .await?;
            channels.push(channel);
        }
        let client = match plan.client {
            ClientKind::Reqwest => Client::Reqwest(reqwest::Client::builder().no_proxy().build()?),
            ClientKind::Hyper => {
                let mut connector = HttpConnector::new();
                connector.set_nodelay(true);
                Client::Hyper(Box::new(Hyper::builder(TokioExecutor::new()).build(connector)))
            }
        };
        Ok(Self {
            plan,
            connection,
            channels,
            client,
        })
    }

    async fn run(self) -> Result<()> {
        let progress = Arc::new(Progress {
            left: AtomicU64::new(self.plan.total),
            done: Notify::new(),
            failure: Mutex::new(None),
        });
        let lanes = TaskTracker::new();
        let lanes_of = self.plan.queues.iter().zip(self.plan.targets.iter().cloned());
        for ((queue, target), channel) in lanes_of.zip(self.channels.iter().cycle()) {
            let options = BasicConsumeOptions::default();
            let consumer = channel
                .basic_consume(queue.as_str().into(), "".into(), options, FieldTable::default())
                .await?;
            lanes.spawn(lane(consumer, self.client.clone(), target, Arc::clone(&progress)));
        }
        progress.done.notified().await;
        self.connection.close(200, "done".into()).await?;
        let failure = progress
            .failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        failure.map_or(Ok(()), Err)
    }
}

async fn lane(mut consumer: Consumer, client: Client, target: String, progress: Arc<Progress>) {
    let deliveries = TaskTracker::new();
    while let Some(Ok(delivery)) = consumer.next().await {
        let (client, target, progress) = (client.clone(), target.clone(), Arc::clone(&progress));
        deliveries.spawn(async move {
            if let Err(error) = deliver(delivery, client, &target).await {
                *progress.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                progress.done.notify_one();
            }
            if progress.left.fetch_sub(1, Ordering::Relaxed) == 1 {
                progress.done.notify_one();
            }
        });
    }
}

async fn deliver(delivery: Delivery, client: Client, target: &str) -> Result<()> {
    let body = Bytes::from(delivery.data);
    let status = match client {
        Client::Reqwest(client) => {
            let request = client
                .post(target)
                .header("content-type", "application/json")
                .body(body);
            let response = request.send().await?;
            let status = response.status();
            response.bytes().await?;
            status
        }
        Client::Hyper(client) => {
            let request = http::Request::post(target)
                .header("content-type", "application/json")
                .body(Full::new(body))?;
            let response = client.request(request).await?;
            let status = response.status();
            response.into_body().collect().await?;
            status
        }
    };
    ensure!(status.is_success(), "the receiver answered {status}");
    delivery.acker.ack(BasicAckOptions::default()).await?;
    Ok(())
}
