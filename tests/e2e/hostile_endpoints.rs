//! Endpoints that hang, flood, lie and hang up: each attempt ends in time and says what was met, nothing is sent twice
//! in silence, and a crowd of them costs little memory and no neighbour.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use e2e::{Deployment, Event, Hostile, LONG, Manner, Receiver, eventually};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::Value;

use crate::delivery_stage::{QUIET, Stage, stays, user};

const FAILED: u64 = 2;
/// More than a server can have got rid of into the buffers of both sides, and far less than it wants to.
const UNREAD: usize = 512 * 1024 * 1024;

/// What an attempt is told to have met.
enum Met {
    /// This status.
    Status(u64),
    /// No whole response, for a reason with these words.
    Nothing(&'static str),
}

async fn attempts(stage: &Stage, endpoint: &str) -> Vec<Value> {
    let attempts = stage.api.attempts_by_endpoint(&stage.app, endpoint).await;
    attempts.expect("a list of attempts")
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_server_does_the_attempt_ends_and_says_what_it_met() {
    use Manner::*;
    use Met::{Nothing, Status};
    let stage = Stage::set(&[("NUNCIO_REQUEST_TIMEOUT", "2s"), ("NUNCIO_RETRY_ATTEMPTS", "2")]).await;
    let inside = Hostile::start(Fine).await.unwrap();
    let redis = stage
        .deployment
        .setting("NUNCIO_REDIS_URL")
        .replace("redis:", "http:");
    let (timed_out, ended, no_http) = ("timed out", "ended before", "not valid HTTP");
    let cases = [
        (Silent, Nothing(timed_out)),
        (Deaf, Nothing(timed_out)),
        (DrippingHead, Nothing(timed_out)),
        (DrippingBody, Nothing(timed_out)),
        (InterimFlood, Nothing(timed_out)),
        (HugeBody, Status(200)),
        (GzipBomb, Status(500)),
        (EndlessHeader, Nothing(no_http)),
        (ManyHeaders, Nothing(no_http)),
        (Redirect(302, "/again".to_owned()), Status(302)),
        (Redirect(307, inside.url("/inside")), Status(307)),
        (Redirect(308, redis), Status(308)),
        (Garbage, Nothing(no_http)),
        (CutShort, Nothing(ended)),
        (HangsUp, Nothing(ended)),
        (Resets, Nothing(ended)),
        (ResetsAtOnce, Nothing(ended)),
        (ClosesQuietly, Status(200)),
    ];
    let mut servers = Vec::new();
    for (manner, met) in cases {
        let server = Hostile::start(manner.clone()).await.unwrap();
        let url = server.url("/hook");
        let endpoint = stage.api.create_endpoint(&stage.app, &url).await.unwrap();
        servers.push((manner, met, endpoint, server));
    }
    stage.publish_user(1).await;
    for (manner, met, endpoint, server) in &servers {
        let expected = if matches!(met, Status(200)) { 1 } else { 2 };
        let made = eventually(&format!("{expected} attempts at {manner:?}"), LONG, || async {
            let made = attempts(&stage, endpoint).await;
            (made.len() == expected).then_some(made)
        })
        .await;
        for attempt in made {
            match met {
                Status(status) => assert_eq!(attempt["responseStatusCode"], *status, "{manner:?}: {attempt}"),
                Nothing(words) => {
                    assert_eq!(attempt["responseStatusCode"], 0, "{manner:?}: {attempt}");
                    let reason = attempt["response"].as_str().unwrap();
                    assert!(reason.contains(words), "{manner:?}: {attempt}");
                }
            }
            assert_eq!(
                attempt["status"] == FAILED,
                !matches!(met, Status(200)),
                "{attempt}"
            );
        }
        assert!(
            server.written() < UNREAD,
            "{manner:?} got rid of {} bytes",
            server.written()
        );
        if !matches!(manner, Deaf | ResetsAtOnce) {
            let seen = server.requests();
            assert_eq!(seen.len(), expected, "each attempt at {manner:?} is one request");
            assert!(
                seen.iter()
                    .all(|request| request.header("accept-encoding").is_none())
            );
        }
    }
    stays("nothing follows", QUIET, || {
        servers
            .iter()
            .all(|(_, _, _, server)| server.requests().len() <= 2)
            && inside.connections() == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_closed_under_a_request_never_repeats_it_in_silence() {
    const EVENTS: usize = 30;
    let stage = Stage::set(&[
        ("NUNCIO_ENDPOINT_CONCURRENCY", "1"),
        ("NUNCIO_RETRY_ATTEMPTS", "8"),
    ])
    .await;
    for manner in [Manner::HangsUpOnReuse, Manner::ClosesQuietly] {
        let server = Hostile::start(manner.clone()).await.unwrap();
        let endpoint = stage
            .api
            .create_endpoint(&stage.app, &server.url("/hook"))
            .await
            .unwrap();
        let events = (0..EVENTS).map(|n| Event::new(&stage.app, "sync.user", user(n)));
        stage.publisher.publish_all(events).await.unwrap();
        let made = eventually(&format!("all are delivered to {manner:?}"), LONG, || async {
            let made = attempts(&stage, &endpoint).await;
            let delivered = made.iter().filter(|attempt| attempt["status"] == 0).count();
            (delivered == EVENTS).then_some(made)
        })
        .await;
        let mut attempts_by_id = BTreeMap::<String, usize>::new();
        for attempt in &made {
            *attempts_by_id
                .entry(attempt["msgId"].as_str().unwrap().to_owned())
                .or_default() += 1;
        }
        let seen = server.times_by_id();
        assert_eq!(seen.len(), EVENTS);
        for (id, times) in &seen {
            assert!(
                *times <= attempts_by_id[id],
                "{manner:?} got {id} {times} times in {} attempts",
                attempts_by_id[id]
            );
        }
        if manner == Manner::HangsUpOnReuse {
            assert!(made.len() > EVENTS, "some requests met the closed connection");
            assert_eq!(seen, attempts_by_id, "each attempt was one request");
        }
        let path = format!("/api/v1/app/{}/endpoint/{endpoint}", stage.app);
        stage.api.delete(&path).await.unwrap();
    }
}

/// How many hostile endpoints there are in the crowd; `NUNCIO_TEST_HOSTILE_ENDPOINTS=1000` is the long form.
fn crowd_size() -> usize {
    let named = std::env::var("NUNCIO_TEST_HOSTILE_ENDPOINTS").ok();
    named.map_or(200, |text| text.parse().expect("a number of endpoints"))
}

/// Events for each endpoint of the crowd, and for each healthy one.
const CROWD_EVENTS: usize = 3;
const HEALTHY_EVENTS: usize = 200;
const MEMORY_MOST: u64 = 100 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_hostile_endpoints_costs_little_memory_and_stops_nobody() {
    use Manner::*;
    let crowd = crowd_size();
    let deployment = Deployment::shared()
        .await
        .unwrap()
        .with("NUNCIO_ENDPOINTS_PER_APP_MAX", &crowd.to_string())
        .with("NUNCIO_SHUTDOWN_DEADLINE", "1s");
    let (web, _router, sender) = tokio::try_join!(
        deployment.start("api"),
        deployment.start("router"),
        deployment.start("sender")
    )
    .unwrap();
    let api = web.client().await.unwrap();
    let publisher = deployment.publisher().await.unwrap();
    let healthy = Receiver::start().await.unwrap();
    let (quiet_app, loud_app) = (
        api.create_app("Quiet").await.unwrap(),
        api.create_app("Loud").await.unwrap(),
    );
    api.create_endpoint(&quiet_app, &healthy.url("/a")).await.unwrap();
    let publish = async |app: &str, events: usize| {
        let events = (0..events).map(|n| Event::new(app, "sync.user", user(n)));
        publisher.publish_all(events).await.unwrap();
    };
    publish(&quiet_app, HEALTHY_EVENTS).await;
    healthy.wait_for("/a", HEALTHY_EVENTS, LONG).await;
    let before = sender.resident_bytes().unwrap();

    let manners = [
        Silent,
        Deaf,
        DrippingHead,
        DrippingBody,
        HugeBody,
        GzipBomb,
        EndlessHeader,
        ManyHeaders,
        Resets,
    ];
    let mut servers = Vec::new();
    for manner in manners {
        servers.push(Hostile::start(manner).await.unwrap());
    }
    stream::iter(0..crowd)
        .map(|n| {
            let url = servers[n % servers.len()].url(&format!("/{n}"));
            let (api, loud_app) = (&api, &loud_app);
            async move { api.create_endpoint(loud_app, &url).await }
        })
        .buffer_unordered(8)
        .try_collect::<Vec<_>>()
        .await
        .unwrap();
    publish(&loud_app, CROWD_EVENTS).await;
    // Four of the manners hold what they got until the attempt's time is up: one request each, as nothing is known yet.
    let holding = crowd / servers.len();
    for server in &servers[..4] {
        eventually("every hostile endpoint has its requests", LONG, || async {
            (server.connections() >= holding).then_some(())
        })
        .await;
    }
    let most = AtomicU64::new(sender.resident_bytes().unwrap());
    publish(&quiet_app, HEALTHY_EVENTS).await;
    eventually("the healthy endpoint has its deliveries", LONG, || async {
        most.fetch_max(sender.resident_bytes().unwrap(), Ordering::Relaxed);
        (healthy.count("/a") == 2 * HEALTHY_EVENTS).then_some(())
    })
    .await;
    let most = most.into_inner().max(sender.resident_bytes().unwrap());
    let cost = most.saturating_sub(before);
    eprintln!("{crowd} hostile endpoints cost {} MiB", cost / (1024 * 1024));
    assert!(cost < MEMORY_MOST, "{crowd} hostile endpoints cost {cost} bytes");
    eventually("the sender is ready, or is again", LONG, || async {
        sender.is_ready().await.then_some(())
    })
    .await;
}
