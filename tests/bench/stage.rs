//! A running pipeline for one scenario, on servers that all scenarios share.
//!
//! Owns the processes of the three roles, each its own, with default settings. Guarantees that a scenario starts with
//! empty queues and an empty store, whatever the one before it left behind.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use e2e::{ApiClient, Broker, Deployment, Nuncio, Publisher, Redis};
use futures_util::{StreamExt, TryStreamExt, stream};
use lapin::{options::QueueDeclareOptions, options::QueuePurgeOptions, types::FieldTable};

use crate::{load::Via, receive::Addresses};

/// Requests to the API in flight during set-up.
const SET_UP_CONCURRENCY: usize = 16;

/// What the benchmark runs on.
pub(crate) struct Servers {
    pub(crate) broker: Broker,
    pub(crate) redis: Redis,
    deployment: Deployment,
}

/// The roles, ready for work.
pub(crate) struct Stage {
    pub(crate) api: Nuncio,
    pub(crate) router: Nuncio,
    pub(crate) sender: Nuncio,
    pub(crate) client: ApiClient,
    pub(crate) deployment: Deployment,
    pub(crate) token: String,
    pub(crate) apps: Vec<App>,
}

/// An app with endpoints, whose lanes at the receiver are numbered through all apps.
#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) id: String,
}

impl Servers {
    pub(crate) async fn start() -> Result<Self> {
        let (broker, redis) = tokio::try_join!(Broker::start(), Redis::start())?;
        // Defaults are what is measured: undo the short ladder that tests have.
        let deployment = Deployment::on(&broker, &redis)
            .await?
            .with("NUNCIO_RETRY_FIRST", "5s")
            .with("NUNCIO_RETRY_FACTOR", "4")
            .with("NUNCIO_RETRY_CEILING", "24h")
            .with("NUNCIO_RETRY_ATTEMPTS", "11");
        Ok(Self {
            broker,
            redis,
            deployment,
        })
    }

    /// The default settings but for one.
    pub(crate) fn with(&self, key: &str, value: &str) -> Deployment {
        self.deployment.clone().with(key, value)
    }

    /// Starts the roles with default settings and creates `apps` × `endpoints`, each at a lane of its own at `receiver`.
    pub(crate) async fn open(&self, receiver: &Addresses, apps: usize, endpoints: usize) -> Result<Stage> {
        self.open_on(self.deployment.clone(), receiver, apps, endpoints)
            .await
    }

    /// The same with other settings.
    pub(crate) async fn open_on(
        &self,
        deployment: Deployment,
        receiver: &Addresses,
        apps: usize,
        endpoints: usize,
    ) -> Result<Stage> {
        self.redis.command(&["FLUSHALL"]).await?;
        let (api, router, sender) = tokio::try_join!(
            deployment.start("api"),
            deployment.start("router"),
            deployment.start("sender")
        )?;
        self.empty_ingest().await?;
        let token = deployment.token(&[]).await?;
        let client = ApiClient::new(api.api_url(), token.as_str())?;
        let mut stage = Stage {
            api,
            router,
            sender,
            client,
            deployment,
            token,
            apps: Vec::new(),
        };
        stage.apps = stage.create(receiver, 0, apps, endpoints).await?;
        stage.settle().await?;
        Ok(stage)
    }

    async fn empty_ingest(&self) -> Result<()> {
        let publisher = self.deployment.publisher().await?;
        let queue = format!("{}.ingest", self.deployment.namespace());
        publisher
            .channel()
            .queue_purge(queue.into(), QueuePurgeOptions::default())
            .await
            .context("the router did not declare the ingest queue")?;
        Ok(())
    }

    /// Declares quorum queues for the bare loop, empty.
    pub(crate) async fn bare_queues(&self, count: usize) -> Result<Vec<String>> {
        let publisher = Publisher::connect(self.broker.url(), "bench").await?;
        let mut arguments = FieldTable::default();
        arguments.insert(
            "x-queue-type".into(),
            lapin::types::AMQPValue::LongString("quorum".into()),
        );
        let mut names = Vec::new();
        for nth in 0..count {
            let name = format!("bench.bare.{nth}");
            let options = QueueDeclareOptions {
                durable: true,
                ..Default::default()
            };
            let channel = publisher.channel();
            channel
                .queue_declare(name.as_str().into(), options, arguments.clone())
                .await?;
            channel
                .queue_purge(name.as_str().into(), QueuePurgeOptions::default())
                .await?;
            names.push(name);
        }
        Ok(names)
    }
}

impl Stage {
    /// Apps number `first..first + apps`.
    pub(crate) async fn create(
        &self,
        receiver: &Addresses,
        first: usize,
        apps: usize,
        endpoints: usize,
    ) -> Result<Vec<App>> {
        stream::iter(first..first + apps)
            .map(async |nth| {
                let id = self.client.create_app(&format!("bench {nth}")).await?;
                for endpoint in 0..endpoints {
                    let lane = nth * endpoints + endpoint;
                    self.client.create_endpoint(&id, &receiver.lane(lane)).await?;
                }
                anyhow::Ok(App { id })
            })
            .buffered(SET_UP_CONCURRENCY)
            .try_collect()
            .await
    }

    /// Waits until a delivery got through to the last app's endpoints: router and sender know them all then.
    async fn settle(&self) -> Result<()> {
        let Some(app) = self.apps.last() else {
            return Ok(());
        };
        let payload = serde_json::json!({ "n": crate::measure::WARM_UP });
        let message = self
            .client
            .create_message(&app.id, "bench.tick", &payload)
            .await?;
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        while self
            .client
            .attempts_by_message(&app.id, &message)
            .await?
            .is_empty()
        {
            anyhow::ensure!(
                tokio::time::Instant::now() < deadline,
                "the first delivery did not arrive within 30 s"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // The other lanes of this app, if there are any, are a moment behind at most.
        tokio::time::sleep(Duration::from_millis(500)).await;
        Ok(())
    }

    /// The processes whose CPU and memory are told apart.
    pub(crate) fn pids(&self, servers: &Servers) -> Result<BTreeMap<&'static str, u32>> {
        Ok(BTreeMap::from([
            ("broker", servers.broker.pid()?),
            ("redis", servers.redis.pid()?),
            ("router", self.router.pid()),
            ("sender", self.sender.pid()),
            ("api", self.api.pid()),
        ]))
    }

    pub(crate) fn amqp(&self) -> Via {
        Via::Amqp {
            url: self.deployment.setting("NUNCIO_AMQP_URL").to_owned(),
            exchange: format!("{}.events", self.deployment.namespace()),
        }
    }

    pub(crate) fn rest(&self) -> Via {
        Via::Rest {
            base: self.api.api_url(),
            token: self.token.clone(),
        }
    }

    /// What events by AMQP are published under, app by app.
    pub(crate) fn routing_keys(&self) -> Vec<String> {
        self.apps
            .iter()
            .map(|app| format!("{}.bench.tick", app.id))
            .collect()
    }

    pub(crate) fn app_ids(&self) -> Vec<String> {
        self.apps.iter().map(|app| app.id.clone()).collect()
    }

    /// Deletes the apps, and with them their lanes; then ends the roles.
    pub(crate) async fn close(self) -> Result<()> {
        stream::iter(&self.apps)
            .map(|app| async { self.client.delete(&format!("/api/v1/app/{}", app.id)).await })
            .buffer_unordered(SET_UP_CONCURRENCY)
            .try_collect::<()>()
            .await
    }
}
