//! What is disturbed: servers behind fault proxies, two routers, two senders, an API, a receiver.
//!
//! Owns the processes, and how each fault is made and undone. Guarantees that every process runs again when a fault is
//! undone.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use e2e::{Answer, Broker, Deployment, FaultProxy, Mode, Nuncio, Publisher, Receiver, Redis};
use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::{ledger::Ledger, schedule::Fault, schedule::Planned};

/// Endpoints of the app.
pub(crate) const LANES: usize = 3;
/// The one that fails when an endpoint fails.
const WEAK: usize = LANES - 1;
const ORDERLY: Duration = Duration::from_secs(60);

const WELL: usize = 0;
const FAILING: usize = 1;
const HANGING: usize = 2;

pub(crate) struct Stage {
    pub(crate) broker: Broker,
    redis: Redis,
    amqp_proxy: FaultProxy,
    redis_proxy: FaultProxy,
    pub(crate) deployment: Deployment,
    receiver: Receiver,
    mood: Arc<AtomicUsize>,
    routers: Vec<Nuncio>,
    senders: Vec<Nuncio>,
    api: Nuncio,
    pub(crate) app: String,
    endpoints: Vec<String>,
}

/// The body of the `n`th event.
pub(crate) fn body(n: usize) -> String {
    format!(r#"{{"n":{n}}}"#)
}

fn number(text: &str) -> Option<usize> {
    let body: Value = serde_json::from_str(text).ok()?;
    usize::try_from(body["n"].as_u64()?).ok()
}

impl Stage {
    pub(crate) async fn open(ledger: &Ledger) -> Result<Self> {
        let (broker, redis) = tokio::try_join!(Broker::start(), Redis::start())?;
        let (amqp_proxy, amqp) = FaultProxy::before(broker.url()).await?;
        let (redis_proxy, redis_url) = FaultProxy::before(redis.url()).await?;
        let deployment = Deployment::at(&amqp, &redis_url)
            .await?
            .with("NUNCIO_RETRY_FIRST", "1s")
            .with("NUNCIO_RETRY_FACTOR", "2")
            .with("NUNCIO_RETRY_CEILING", "30s")
            .with("NUNCIO_RETRY_ATTEMPTS", "12");
        let api = deployment.start("api").await?;
        let client = api.client().await?;
        let receiver = Receiver::start().await?;
        let mood = Arc::new(AtomicUsize::new(WELL));
        let app = client.create_app("Soak").await?;
        let mut endpoints = Vec::new();
        for lane in 0..LANES {
            let path = format!("/lane/{lane}");
            let (ledger, mood) = (ledger.clone(), Arc::clone(&mood));
            receiver.answer_with(&path, move |_, request| {
                let mood = if lane == WEAK {
                    mood.load(Ordering::SeqCst)
                } else {
                    WELL
                };
                if let Some(n) = number(request.text()) {
                    ledger.arrived((lane, n), request.id(), request.at, mood == WELL);
                }
                match mood {
                    FAILING => Answer::status(500),
                    HANGING => Answer::hang(),
                    _ => Answer::ok(),
                }
            });
            endpoints.push(client.create_endpoint(&app, &receiver.url(&path)).await?);
        }
        let (routers, senders) = (vec![], vec![]);
        let mut stage = Self {
            broker,
            redis,
            amqp_proxy,
            redis_proxy,
            deployment,
            receiver,
            mood,
            routers,
            senders,
            api,
            app,
            endpoints,
        };
        for _ in 0..2 {
            stage.routers.push(stage.deployment.start("router").await?);
            stage.senders.push(stage.deployment.start("sender").await?);
        }
        Ok(stage)
    }

    /// Makes a fault, holds it and undoes it; answers when recovery could begin: the moment at which what had failed was
    /// there again, or at which what is left had to take over.
    pub(crate) async fn strike(&mut self, planned: Planned) -> Result<Instant> {
        let Planned {
            fault, lasts, which, ..
        } = planned;
        match fault {
            Fault::RouterKilled | Fault::RouterStopped => {
                let moment = Instant::now();
                end(&mut self.routers[which], fault == Fault::RouterStopped).await?;
                sleep(lasts).await;
                self.routers[which] = self.deployment.start("router").await?;
                return Ok(moment);
            }
            Fault::SenderKilled | Fault::SenderStopped => {
                let moment = Instant::now();
                end(&mut self.senders[which], fault == Fault::SenderStopped).await?;
                sleep(lasts).await;
                self.senders[which] = self.deployment.start("sender").await?;
                return Ok(moment);
            }
            Fault::ApiKilled => {
                end(&mut self.api, false).await?;
                sleep(lasts).await;
                self.api = self.deployment.start("api").await?;
            }
            Fault::RouterFrozen => pause(&self.routers[which], lasts).await?,
            Fault::SenderFrozen => pause(&self.senders[which], lasts).await?,
            Fault::BrokerKilled | Fault::BrokerRestarted => {
                if fault == Fault::BrokerKilled {
                    self.broker.kill().await?;
                } else {
                    self.broker.stop().await?;
                }
                sleep(lasts).await;
                self.broker.restart().await?;
            }
            Fault::RedisKilled | Fault::RedisRestarted => {
                if fault == Fault::RedisKilled {
                    self.redis.kill().await?;
                } else {
                    self.redis.stop().await?;
                }
                sleep(lasts).await;
                self.redis.restart().await?;
            }
            Fault::BrokerFrozen => {
                self.broker.freeze()?;
                sleep(lasts).await;
                self.broker.thaw()?;
            }
            Fault::RedisFrozen => {
                self.redis.freeze()?;
                sleep(lasts).await;
                self.redis.thaw()?;
            }
            Fault::LaneDeleted => {
                self.delete_queue(&format!("endpoint.{}", self.endpoints[which]))
                    .await?
            }
            Fault::RungDeleted => {
                let queues = self.broker.ctl(&["-q", "list_queues", "name"]).await?;
                let rungs = format!("{}.", self.deployment.namespace());
                let rungs = queues.lines().filter_map(|name| name.strip_prefix(&rungs));
                let mut rungs: Vec<&str> = rungs.filter(|name| name.starts_with("retry.")).collect();
                rungs.sort_by_key(|name| (name.len(), *name));
                self.delete_queue(rungs.get(which).context("there are rungs")?)
                    .await?;
            }
            Fault::ExchangeDeleted => {
                let exchange = ["deliveries", "events"][which];
                let publisher = Publisher::connect(self.broker.url(), self.deployment.namespace()).await?;
                let exchange = format!("{}.{exchange}", self.deployment.namespace());
                let options = ExchangeDeleteOptions::default();
                publisher
                    .channel()
                    .exchange_delete(exchange.into(), options)
                    .await?;
            }
            Fault::RedisScriptsFlushed => {
                self.redis.command(&["SCRIPT", "FLUSH"]).await?;
            }
            Fault::RedisSlow => {
                hold(&self.redis_proxy, Mode::Delay(Duration::from_millis(500)), lasts).await;
            }
            Fault::RedisBlackhole => hold(&self.redis_proxy, Mode::Blackhole, lasts).await,
            Fault::AmqpBlackhole => hold(&self.amqp_proxy, Mode::Blackhole, lasts).await,
            Fault::RedisReset => self.redis_proxy.reset_all(),
            Fault::AmqpReset => self.amqp_proxy.reset_all(),
            Fault::AmqpHalfClosed => self.amqp_proxy.half_close_all(),
            Fault::EndpointFails | Fault::EndpointHangs => {
                let mood = if fault == Fault::EndpointFails {
                    FAILING
                } else {
                    HANGING
                };
                self.mood.store(mood, Ordering::SeqCst);
                sleep(lasts).await;
                self.mood.store(WELL, Ordering::SeqCst);
            }
            Fault::ReceiverDown => {
                self.receiver.stop();
                sleep(lasts).await;
                self.receiver.resume().await?;
            }
        }
        Ok(Instant::now())
    }

    async fn delete_queue(&self, name: &str) -> Result<()> {
        let queue = format!("{}.{name}", self.deployment.namespace());
        let publisher = Publisher::connect(self.broker.url(), self.deployment.namespace()).await?;
        let options = QueueDeleteOptions::default();
        publisher.channel().queue_delete(queue.into(), options).await?;
        Ok(())
    }

    /// Resident memory now, by role: the biggest process of each.
    pub(crate) fn resident(&self) -> Result<[(&'static str, u64); 3]> {
        let biggest = |processes: &[Nuncio]| -> Result<u64> {
            let sizes: Vec<u64> = processes
                .iter()
                .map(Nuncio::resident_bytes)
                .collect::<Result<_>>()?;
            sizes.into_iter().max().context("there are processes")
        };
        Ok([
            ("router", biggest(&self.routers)?),
            ("sender", biggest(&self.senders)?),
            ("api", self.api.resident_bytes()?),
        ])
    }
}

async fn end(process: &mut Nuncio, in_order: bool) -> Result<()> {
    if in_order {
        process.terminate(ORDERLY).await?;
    } else {
        process.kill()?;
    }
    Ok(())
}

async fn pause(process: &Nuncio, lasts: Duration) -> Result<()> {
    process.freeze()?;
    sleep(lasts).await;
    process.thaw()
}

async fn hold(proxy: &FaultProxy, mode: Mode, lasts: Duration) {
    proxy.set(mode);
    sleep(lasts).await;
    proxy.set(Mode::Pass);
}
