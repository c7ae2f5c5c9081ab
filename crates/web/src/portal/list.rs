//! The list of endpoints.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use nuncio_domain::Endpoint;
use nuncio_store::PageRequest;

use super::notice;
use super::visitor::{Can, Head, Visitor};
use crate::page::chart::{Span, Sparkline, buckets, total};
use crate::page::form::Fields;
use crate::page::part::{count, rate};
use crate::page::shell::Shell;
use crate::page::{Answer, Web, show};
use crate::usecase::UseCases;
use crate::usecase::overview::Glance;
use crate::usecase::refusal::Outcome;

/// Endpoints on one page.
const PAGE: usize = 25;
/// Endpoints that are searched.
const SEARCHED_MAX: usize = 10_000;

#[derive(Template)]
#[template(path = "portal/list.html")]
struct ListPage {
    shell: Shell,
    can: Can,
    query: String,
    lines: Vec<Line>,
    found: usize,
    all: usize,
    previous: Option<usize>,
    next: Option<usize>,
}

struct Line {
    head: Head,
    rate: Option<String>,
    bad: bool,
    spark: Sparkline,
    waiting: String,
    types: Vec<String>,
}

pub(super) async fn list(State(web): State<Arc<Web>>, visitor: Visitor, fields: Fields) -> Answer {
    let use_cases = &web.api.use_cases;
    let all = endpoints(use_cases, &visitor.app).await?;
    let query = fields.text("q").to_owned();
    let found: Vec<_> = all.iter().filter(|endpoint| matches(endpoint, &query)).collect();
    let page: usize = fields.text("page").parse().unwrap_or(1).max(1);
    let shown: Vec<Endpoint> = found
        .iter()
        .skip((page - 1).saturating_mul(PAGE))
        .take(PAGE)
        .map(|&endpoint| endpoint.clone())
        .collect();
    let now = use_cases.now();
    let glances = use_cases
        .glances(&visitor.app, &shown, Span::Day.since(now), now)
        .await?;
    show(&ListPage {
        shell: visitor
            .shell("Endpoints", "/portal/endpoints")
            .told(notice(fields.text("done"))),
        can: visitor.can,
        lines: shown
            .iter()
            .zip(&glances)
            .map(|(endpoint, glance)| line(endpoint, glance, now))
            .collect(),
        previous: (page > 1).then(|| page - 1),
        next: (page.saturating_mul(PAGE) < found.len()).then_some(page + 1),
        found: found.len(),
        all: all.len(),
        query,
    })
}

/// All endpoints of an app, the oldest first.
pub(super) async fn endpoints(use_cases: &UseCases, app: &nuncio_domain::App) -> Outcome<Vec<Endpoint>> {
    let page = PageRequest::oldest(SEARCHED_MAX);
    Ok(use_cases.list_endpoints(app, &page).await?.items)
}

fn matches(endpoint: &Endpoint, query: &str) -> bool {
    let query = query.to_lowercase();
    let uid = endpoint.uid.as_ref().map_or("", |uid| uid.as_str());
    [
        endpoint.url.as_str(),
        endpoint.description.as_str(),
        endpoint.id.as_str(),
        uid,
    ]
    .iter()
    .any(|text| text.to_lowercase().contains(&query))
}

fn line(endpoint: &Endpoint, glance: &Glance, now: nuncio_domain::UnixMillis) -> Line {
    let buckets = buckets(&glance.hours, Span::Day, now);
    let total = total(&buckets);
    Line {
        head: Head::watched(endpoint, glance.failing_since, now),
        rate: rate(total.succeeded, total.failed),
        bad: total.failed * 10 > total.succeeded + total.failed,
        spark: Sparkline::of(&buckets),
        waiting: glance.depth.map_or("–".to_owned(), count),
        types: types(endpoint),
    }
}

/// The names of the event types that an endpoint wants; none for all.
pub(super) fn types(endpoint: &Endpoint) -> Vec<String> {
    let types = endpoint.event_types.iter().flatten();
    types.map(|name| name.to_string()).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use nuncio_domain::{AppId, EndpointId, EndpointState, UnixMillis};

    use super::*;
    use crate::page::shell::Place;

    /// An endpoint full of markup.
    pub(in crate::portal) fn hostile() -> Endpoint {
        Endpoint {
            id: EndpointId::parse("ep_1").unwrap(),
            app_id: AppId::parse("app_1").unwrap(),
            uid: None,
            url: "https://example.com/<svg onload=alert(1)>".to_owned(),
            description: "\"><svg onload=alert(2)>".to_owned(),
            state: EndpointState::Active,
            version: 1,
            event_types: Some(["sync.user".parse().unwrap()].into()),
            channels: None,
            throttle_rate: None,
            headers: BTreeMap::from([("x-a".to_owned(), "<svg onload=alert(3)>".to_owned())]),
            metadata: BTreeMap::new(),
            created_at: UnixMillis(0),
            updated_at: UnixMillis(0),
        }
    }

    #[test]
    fn an_endpoint_that_only_fails_for_more_than_a_moment_says_so() {
        let glance = |since: Option<i64>| Glance {
            hours: BTreeMap::new(),
            depth: None,
            failing_since: since.map(UnixMillis),
        };
        let now = UnixMillis(100_000);
        let text = |endpoint: &Endpoint, since| line(endpoint, &glance(since), now).head.badge.text;
        let active = hostile();
        assert_eq!(text(&active, None), "Active");
        assert_eq!(text(&active, Some(40_001)), "Active");
        assert_eq!(text(&active, Some(40_000)), "Failing");
        let since = UnixMillis(0);
        let paused = Endpoint {
            state: EndpointState::Paused { since },
            ..active
        };
        assert_eq!(text(&paused, Some(0)), "Paused");
    }

    #[test]
    fn what_customers_wrote_is_text() {
        let glance = Glance {
            hours: BTreeMap::new(),
            depth: Some(3),
            failing_since: None,
        };
        let page = ListPage {
            shell: Shell::bare(Place::Portal, "<svg onload=alert(0)>"),
            can: Can {
                manage: true,
                see_secret: true,
                rotate: true,
                resend: true,
            },
            query: "\"><svg onload=alert(4)>".to_owned(),
            lines: vec![line(&hostile(), &glance, UnixMillis(0))],
            found: 1,
            all: 1,
            previous: None,
            next: Some(2),
        };
        let text = page.render().unwrap();
        assert!(!text.contains("<svg onload"), "{text}");
        assert!(
            text.contains("alert(1)") && text.contains("alert(2)"),
            "it is shown, though"
        );
        assert!(
            !text.contains(" style=") && !text.contains("<script>"),
            "nothing inline"
        );
    }

    #[test]
    fn endpoints_are_found_by_url_description_and_id() {
        let endpoint = hostile();
        for query in ["", "EXAMPLE.com", "svg", "ep_1"] {
            assert!(matches(&endpoint, query), "{query}");
        }
        assert!(!matches(&endpoint, "other"));
    }
}
