//! How the pipeline stands: what waits where, who is alive, which endpoints do most and worst.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::extract::State;
use nuncio_domain::{EndpointId, UnixMillis};

use super::operator::Operator;
use crate::page::failure::Failure;
use crate::page::part::{Badge, count, failing_for, rate, span};
use crate::page::shell::Shell;
use crate::page::{Answer, Web, show};
use crate::usecase::overview::{COMPARED_MAX, Load};

/// How far back endpoints are compared.
const LOOK_BACK: Duration = Duration::from_secs(24 * 3_600);
/// Endpoints in each of the two lists.
const LISTED: usize = 8;

#[derive(Template)]
#[template(path = "console/health.html")]
struct HealthPage {
    shell: Shell,
    live: Live,
}

#[derive(Template)]
#[template(path = "console/health_live.html")]
struct Live {
    ingest: String,
    routers: u32,
    senders: Vec<String>,
    set_aside: String,
    any_set_aside: bool,
    unroutable: String,
    rungs: Vec<Rung>,
    most: u64,
    busiest: Vec<Line>,
    worst: Vec<Line>,
    compared: usize,
}

impl askama::filters::HtmlSafe for Live {}

/// One rung of the ladder.
struct Rung {
    delay: String,
    waiting: u64,
    shown: String,
}

struct Line {
    project: String,
    project_id: String,
    url: String,
    badge: Badge,
    attempts: String,
    rate: String,
}

/// Since when endpoints have only failed, as of now.
struct Failing {
    since: HashMap<EndpointId, UnixMillis>,
    now: UnixMillis,
}

impl Failing {
    fn badge(&self, load: &Load) -> Badge {
        let since = self.since.get(&load.endpoint.id).copied();
        match failing_for(&load.endpoint, since, self.now) {
            Some(_) => Badge::failing(),
            None => Badge::of_endpoint(&load.endpoint),
        }
    }
}

fn line(load: &Load, failing: &Failing) -> Line {
    let counts = &load.counts;
    Line {
        project: load.app.name.clone(),
        project_id: load.app.id.to_string(),
        url: load.endpoint.url.clone(),
        badge: failing.badge(load),
        attempts: count(counts.succeeded + counts.failed),
        rate: rate(counts.succeeded, counts.failed).unwrap_or_default(),
    }
}

/// The endpoints with the most attempts, and those with the most failures.
fn ranked(loads: &[Load]) -> (Vec<&Load>, Vec<&Load>) {
    let rank = |weight: fn(&Load) -> u64| {
        let mut ranked: Vec<_> = loads.iter().filter(|load| weight(load) > 0).collect();
        ranked.sort_by_key(|load| std::cmp::Reverse(weight(load)));
        ranked.truncate(LISTED);
        ranked
    };
    (
        rank(|load| load.counts.succeeded + load.counts.failed),
        rank(|load| load.counts.failed),
    )
}

async fn load_live(web: &Web) -> Result<Live, Failure> {
    let use_cases = &web.api.use_cases;
    let now = use_cases.now();
    let (pipeline, loads) = tokio::join!(
        use_cases.pipeline(&web.settings.rungs),
        use_cases.loads(now.minus(LOOK_BACK), now)
    );
    let (pipeline, loads) = (pipeline?, loads?);
    let (busiest, worst) = ranked(&loads);
    let listed = busiest.iter().chain(&worst);
    let apps: HashSet<_> = listed.map(|load| load.app.id.clone()).collect();
    let failing = Failing {
        since: use_cases.failing_of(apps).await?,
        now,
    };
    let lines = |loads: Vec<&Load>| loads.into_iter().map(|load| line(load, &failing)).collect();
    Ok(Live {
        ingest: pipeline
            .ingest
            .as_ref()
            .map_or("–".to_owned(), |depth| count(depth.messages.into())),
        routers: pipeline.ingest.as_ref().map_or(0, |depth| depth.consumers),
        senders: pipeline.senders,
        set_aside: count(pipeline.set_aside),
        any_set_aside: pipeline.set_aside > 0,
        unroutable: count(pipeline.unroutable),
        most: pipeline
            .ladder
            .iter()
            .map(|(_, waiting)| *waiting)
            .max()
            .unwrap_or(0)
            .max(1),
        rungs: pipeline
            .ladder
            .into_iter()
            .map(|(delay, waiting)| Rung {
                delay: span(delay),
                waiting,
                shown: count(waiting),
            })
            .collect(),
        busiest: lines(busiest),
        worst: lines(worst),
        compared: COMPARED_MAX,
    })
}

pub(super) async fn health(State(web): State<Arc<Web>>, operator: Operator) -> Answer {
    let live = load_live(&web).await?;
    show(&HealthPage {
        shell: operator.shell("Health", "/console/health"),
        live,
    })
}

/// The moving part alone.
pub(super) async fn live(State(web): State<Arc<Web>>, _: Operator) -> Answer {
    show(&load_live(&web).await?)
}
