//! A deployment of several processes under load: what the tests of sharing, of crashes and of shutdown begin with.
//!
//! Owns one app with some endpoints ("lanes"), each for events of its own type, and the ledger of what arrives there.

use std::time::Duration;

use e2e::{Deployment, Nuncio, Publisher, Receiver};
use serde_json::json;

use crate::scale_ledger::{Ledger, deliveries, event, lane_path, lane_type};

/// An app whose endpoints answer 200, and everything to publish to it.
pub(crate) struct Load {
    pub(crate) deployment: Deployment,
    pub(crate) ledger: Ledger,
    pub(crate) publisher: Publisher,
    pub(crate) app: String,
    pub(crate) api: Nuncio,
    lanes: usize,
    // Runs as long as the load.
    _receiver: Receiver,
}

impl Load {
    /// Starts the API alone, and creates an app with so many endpoints, which answer after `delay`.
    pub(crate) async fn prepare(deployment: Deployment, lanes: usize, delay: Duration) -> Self {
        let api = deployment.start("api").await.expect("the API");
        let client = api.client().await.expect("a client");
        let publisher = deployment.publisher().await.expect("a publisher");
        let receiver = Receiver::start().await.expect("a receiver");
        let (ledger, app) = (
            Ledger::default(),
            client.create_app("Load").await.expect("an app"),
        );
        for lane in 0..lanes {
            let path = lane_path(lane);
            ledger.watch(&receiver, &path, delay);
            let endpoint = json!({ "url": receiver.url(&path), "eventTypes": [lane_type(lane)] });
            client
                .create_endpoint_with(&app, &endpoint)
                .await
                .expect("an endpoint");
        }
        Self {
            deployment,
            ledger,
            publisher,
            app,
            api,
            lanes,
            _receiver: receiver,
        }
    }

    /// Starts so many processes of a role, one after the other.
    pub(crate) async fn start(&self, role: &str, count: usize) -> Vec<Nuncio> {
        let mut started = Vec::new();
        for _ in 0..count {
            started.push(self.deployment.start(role).await.expect("a process"));
        }
        started
    }

    /// Publishes events `from..to`, all confirmed on return.
    pub(crate) async fn publish(&self, from: usize, to: usize) {
        let events = (from..to).map(|n| event(&self.app, n, self.lanes));
        assert_eq!(
            self.publisher.publish_all(events).await.expect("confirms"),
            to - from
        );
    }

    /// The deliveries of events `0..count`.
    pub(crate) fn expected(&self, count: usize) -> impl Iterator<Item = (String, String)> {
        deliveries(count, self.lanes)
    }
}

/// The value of a counter without labels, or the sum over all its labels; zero before it was first counted.
pub(crate) async fn counted(nuncio: &Nuncio, counter: &str) -> f64 {
    let metrics = nuncio.metrics().await.expect("metrics");
    metrics
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '))
        .filter(|(name, _)| name.split('{').next() == Some(counter))
        .filter_map(|(_, value)| value.parse::<f64>().ok())
        .fold(0.0, |sum, value| sum + value)
}
