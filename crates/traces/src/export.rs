//! The export: spans in batches, by OTLP over HTTP, to the collector.
//!
//! Owns the task that does it, its patience and its words. Guarantees that a collector which is away is asked again ever
//! more seldom and told of once, that one which refuses is not asked again for the same spans, and that what waits when
//! the process stops is exported if that takes no more than a moment.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, header};
use nuncio_runtime::lifecycle::chain;
use nuncio_runtime::{Clock, Dice};
use prost::Message;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::buffer::Buffer;
use crate::otlp::{
    ExportRequest, ExportResponse, KeyValue, Resource, ResourceSpans, Scope, ScopeSpans, Span, Value,
};
use crate::span::{Recording, Tracer};

/// How long spans wait for a batch to fill.
const EVERY: Duration = Duration::from_secs(1);
/// How long connecting to the collector may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// How long one export may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Between the first two tries to reach a collector that is away; doubled each time, up to the longest.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_LONGEST: Duration = Duration::from_secs(30);
/// How long a process that stops tries to be rid of what waits.
const FLUSH_WITHIN: Duration = Duration::from_secs(3);
/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// Where collectors take traces, below the configured address.
const PATH: &str = "v1/traces";
const CONTENT_TYPE: &str = "application/x-protobuf";

/// Where spans go, and whose they are.
#[derive(Debug, Clone)]
pub struct Collector {
    /// The address as `OTEL_EXPORTER_OTLP_ENDPOINT` has it, without `v1/traces`.
    pub endpoint: Url,
    /// What is said of this process, such as `service.name`.
    pub resource: Vec<(&'static str, String)>,
}

/// Why spans cannot be exported.
#[derive(Debug, thiserror::Error)]
#[error("failed to set up the client of the collector of traces")]
pub struct CollectorError(#[from] reqwest::Error);

impl Tracer {
    /// Records spans and exports them, until `stop` and a moment longer.
    ///
    /// # Errors
    /// When there can be no HTTP client.
    pub fn start(
        collector: Collector,
        clock: Clock,
        dice: Dice,
        tracker: &TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, CollectorError> {
        let recording = Arc::new(Recording {
            clock,
            dice,
            buffer: Buffer::default(),
        });
        let exporter = Exporter {
            http: client(&collector.endpoint)?,
            url: below(&collector.endpoint),
            resource: resource(collector.resource),
            recording: Arc::clone(&recording),
            in_hand: None,
            trouble: false,
        };
        tracker.spawn(exporter.run(stop));
        Ok(Self::on(recording))
    }
}

fn client(endpoint: &Url) -> Result<reqwest::Client, reqwest::Error> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_WITHIN)
        .timeout(ANSWER_WITHIN)
        .user_agent(concat!("Nuncio/", env!("CARGO_PKG_VERSION")));
    if endpoint.scheme() == "https" {
        client.build()
    } else {
        // Also on a machine that has no certificates at all.
        client.tls_certs_only([]).build()
    }
}

fn below(endpoint: &Url) -> Url {
    let mut url = endpoint.clone();
    url.set_path(&format!("{}/{PATH}", endpoint.path().trim_end_matches('/')));
    url
}

fn resource(attributes: Vec<(&'static str, String)>) -> Resource {
    let attributes = attributes.into_iter();
    Resource {
        attributes: attributes
            .map(|(key, text)| KeyValue::new(key, Value::Text(text)))
            .collect(),
    }
}

/// Spans as they are sent.
struct Batch {
    spans: usize,
    body: Bytes,
}

/// What became of a batch.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// The collector has it, but for so many spans.
    Taken { refused: usize },
    /// It will never have it.
    Refused(String),
    /// It could not be asked, or asks to be asked again.
    Away(String),
}

struct Exporter {
    http: reqwest::Client,
    url: Url,
    resource: Resource,
    recording: Arc<Recording>,
    /// What was tried and is to be tried again.
    in_hand: Option<Batch>,
    /// Whether something was wrong when the collector was last asked.
    trouble: bool,
}

impl Exporter {
    async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            () = self.follow() => {}
            () = stop.cancelled() => {}
        }
        let in_time = tokio::time::timeout(FLUSH_WITHIN, self.flush()).await.is_ok();
        let lost = self.in_hand.as_ref().map_or(0, |batch| batch.spans) + self.recording.buffer.len();
        if lost > 0 {
            dropped(lost);
            tracing::warn!(collector = %self.url, spans = lost, in_time, "spans were not exported before the end");
        }
    }

    /// Exports what comes, for ever.
    async fn follow(&mut self) {
        let recording = Arc::clone(&self.recording);
        let mut pause = PAUSE_FIRST;
        loop {
            if self.in_hand.is_none() {
                // Whatever has come by then is a batch.
                tokio::time::timeout(EVERY, recording.buffer.batch()).await.ok();
            }
            if self.export().await {
                pause = PAUSE_FIRST;
            } else {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_LONGEST);
            }
        }
    }

    /// Exports what waits, unless the collector is away.
    async fn flush(&mut self) {
        while (self.in_hand.is_some() || self.recording.buffer.len() > 0) && self.export().await {}
    }

    /// Exports one batch, if there is one; false when the collector is away, and the batch is then kept.
    async fn export(&mut self) -> bool {
        let Some(batch) = self.in_hand.take().or_else(|| self.next()) else {
            return true;
        };
        let (spans, body) = (batch.spans, batch.body.clone());
        // Should this be cut short, it is still in hand.
        self.in_hand = Some(batch);
        let answer = self.post(body).await;
        self.tell(&answer);
        let refused = match answer {
            Answer::Away(_) => return false,
            Answer::Taken { refused } => refused.min(spans),
            Answer::Refused(_) => spans,
        };
        self.in_hand = None;
        dropped(refused);
        metrics::counter!("nuncio_traces_spans_total").increment((spans - refused) as u64);
        true
    }

    fn next(&self) -> Option<Batch> {
        let spans = self.recording.buffer.take();
        let count = spans.len();
        (count > 0).then(|| Batch {
            spans: count,
            body: request(self.resource.clone(), spans).encode_to_vec().into(),
        })
    }

    async fn post(&self, body: Bytes) -> Answer {
        let request = self.http.post(self.url.clone());
        let request = request.header(header::CONTENT_TYPE, CONTENT_TYPE).body(body);
        match request.send().await {
            Err(error) => Answer::Away(chain(&error)),
            Ok(response) => match response.status() {
                status if status.is_success() => taken(response).await,
                status @ (StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT) => Answer::Away(status.to_string()),
                status => Answer::Refused(status.to_string()),
            },
        }
    }

    /// Says once that something is wrong, and once that it is over.
    fn tell(&mut self, answer: &Answer) {
        let trouble = match answer {
            Answer::Taken { refused: 0 } => None,
            Answer::Taken { .. } => Some("some spans were refused"),
            Answer::Refused(why) | Answer::Away(why) => Some(why.as_str()),
        };
        match trouble {
            Some(error) if !self.trouble => tracing::warn!(
                collector = %self.url,
                error,
                "spans cannot be exported: deliveries go on, the oldest spans are dropped"
            ),
            Some(error) => tracing::debug!(collector = %self.url, error, "spans still cannot be exported"),
            None if self.trouble => tracing::info!(collector = %self.url, "spans are exported again"),
            None => {}
        }
        self.trouble = trouble.is_some();
    }
}

fn request(resource: Resource, spans: Vec<Span>) -> ExportRequest {
    ExportRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![ScopeSpans {
                scope: Some(Scope {
                    name: "nuncio".to_owned(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                }),
                spans,
            }],
        }],
    }
}

/// How much of a batch was taken, by the answer's body; one that cannot be read says nothing against it.
async fn taken(mut response: reqwest::Response) -> Answer {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES_MAX {
            body.clear();
            break;
        }
    }
    let answer = ExportResponse::decode(body.as_slice()).unwrap_or_default();
    let refused = answer.partial_success.map_or(0, |partial| partial.rejected_spans);
    Answer::Taken {
        refused: usize::try_from(refused).unwrap_or(0),
    }
}

fn dropped(spans: usize) {
    metrics::counter!("nuncio_traces_spans_dropped_total").increment(spans as u64);
}
