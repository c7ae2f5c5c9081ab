//! The page of one endpoint: what happens there, live, and what can be sent again.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::extract::State;
use nuncio_domain::{AttemptStatus, Endpoint, EventTypeName, UnixMillis};
use nuncio_store::{AttemptFilter, EventType, Order, PageRequest};

use super::live::AttemptLine;
use super::notice;
use super::visitor::{Can, Head, Visitor};
use crate::api::path::{At, EndpointAt};
use crate::api::query::Limit;
use crate::api::time::parse_time;
use crate::page::chart::{Charts, Span, buckets, quantile, total};
use crate::page::failure::Failure;
use crate::page::form::{Change, Fields};
use crate::page::part::{count, rate, span, words};
use crate::page::shell::Shell;
use crate::page::{Answer, Web, go, show};
use crate::token::Capability;
use crate::usecase::refusal::Refusal;
use crate::usecase::replay::{Replay, Span as ReplaySpan};

/// Attempts on one page.
const PAGE: usize = 25;
/// Event types that are offered.
const OFFERED_MAX: usize = 250;

#[derive(Template)]
#[template(path = "portal/endpoint.html")]
struct EndpointPage {
    shell: Shell,
    can: Can,
    head: Head,
    live: Live,
    offered: Vec<Offered>,
    filter: Filter,
    /// The same page's address for its moving part.
    address: String,
    moving: bool,
}

/// The part that is loaded again and again.
#[derive(Template)]
#[template(path = "portal/endpoint_live.html")]
struct Live {
    csrf: String,
    can: Can,
    head: Head,
    figures: Figures,
    charts: Charts,
    day: bool,
    trial: Option<Trial>,
    attempts: Vec<AttemptLine>,
    filtered: bool,
    older: Option<String>,
    newest: bool,
}

impl askama::filters::HtmlSafe for Live {}

/// An event type of which an example can be sent.
struct Offered {
    name: String,
    deprecated: bool,
}

/// The event types of the catalogue: first those that the endpoint wants, those that are deprecated last.
fn offered(endpoint: &Endpoint, mut known: Vec<EventType>) -> Vec<Offered> {
    known.sort_by_key(|kind| {
        let types = endpoint.event_types.as_ref();
        let wanted = types.is_none_or(|types| types.contains(&kind.name));
        (kind.deprecated, !wanted)
    });
    let offered = known.into_iter().map(|kind| Offered {
        name: kind.name.to_string(),
        deprecated: kind.deprecated,
    });
    offered.collect()
}

/// What stands in large letters.
struct Figures {
    rate: Option<String>,
    attempts: String,
    p50: String,
    p99: Option<String>,
    waiting: String,
    retrying: String,
    drain: Option<String>,
    stuck: bool,
    over: &'static str,
}

/// What became of a test event.
struct Trial {
    message: String,
    attempt: Option<AttemptLine>,
}

/// Which attempts are shown.
#[derive(Debug, Clone, Default)]
struct Filter {
    status: String,
    event_type: String,
    after: String,
    before: String,
    over: Span,
    iterator: String,
    trial: String,
}

impl Filter {
    fn read(fields: &Fields) -> Self {
        let text = |name: &str| fields.text(name).to_owned();
        Self {
            status: text("status"),
            event_type: text("type"),
            after: text("after"),
            before: text("before"),
            over: Span::parse(fields.text("span")),
            iterator: text("at"),
            trial: text("test"),
        }
    }

    fn is_any(&self) -> bool {
        [&self.status, &self.event_type, &self.after, &self.before]
            .iter()
            .any(|text| !text.is_empty())
    }

    fn attempts(&self) -> AttemptFilter {
        AttemptFilter {
            status: match self.status.as_str() {
                "delivered" => Some(AttemptStatus::Succeeded),
                "failed" => Some(AttemptStatus::Failed),
                _ => None,
            },
            event_types: self.event_type.parse::<EventTypeName>().into_iter().collect(),
            after: parse_time(&self.after),
            before: parse_time(&self.before),
            ..AttemptFilter::default()
        }
    }

    /// The filter as a query string, without the place in the list.
    fn query(&self) -> String {
        let pairs = [
            ("status", self.status.as_str()),
            ("type", &self.event_type),
            ("after", &self.after),
            ("before", &self.before),
            ("span", self.over.as_str()),
            ("test", &self.trial),
        ];
        let pairs: Vec<_> = pairs.iter().filter(|(_, value)| !value.is_empty()).collect();
        serde_urlencoded::to_string(pairs).unwrap_or_default()
    }
}

async fn load_live(
    web: &Web,
    visitor: &Visitor,
    endpoint: &Endpoint,
    filter: &Filter,
) -> Result<Live, Failure> {
    let use_cases = &web.api.use_cases;
    let now = use_cases.now();
    let since = filter.over.since(now);
    let scope = format!("portal {} {} {}", visitor.app.id, endpoint.id, filter.query());
    let request =
        web.api
            .iterators
            .request(Limit(PAGE), Some(&filter.iterator), Order::NewestFirst, &scope)?;
    let attempts_filter = filter.attempts();
    let (hours, backlog, attempts, trial) = tokio::join!(
        use_cases.hourly(&visitor.app.id, &endpoint.id, since, now),
        use_cases.backlog(&visitor.app, endpoint.id.as_str()),
        use_cases.attempts_of_endpoint(&visitor.app, endpoint, &attempts_filter, &request),
        load_trial(web, visitor, endpoint, &filter.trial),
    );
    let buckets = buckets(&hours?, filter.over, now);
    let all = total(&buckets);
    // A broker that is away leaves the rest of the page as it is.
    let backlog = match backlog {
        Err(Refusal::Unavailable { .. }) => None,
        backlog => Some(backlog?),
    };
    let told = |share| quantile(&all, share).map(span);
    let page = web.api.iterators.page(&request, attempts?, &scope, |stored| {
        AttemptLine::of(&stored, now)
    });
    let older = page.iterator.filter(|_| !page.done).map(|iterator| {
        let at = serde_urlencoded::to_string([("at", iterator)]).unwrap_or_default();
        format!("/portal/endpoints/{}?{}&{at}", endpoint.id, filter.query())
    });
    let failing = backlog.as_ref().and_then(|backlog| backlog.failing_since);
    Ok(Live {
        csrf: visitor.csrf.clone(),
        can: visitor.can,
        head: Head::watched(endpoint, failing, now),
        figures: Figures {
            rate: rate(all.succeeded, all.failed),
            attempts: count(all.succeeded + all.failed),
            p50: told(0.5).unwrap_or_else(|| "–".to_owned()),
            p99: told(0.99),
            waiting: backlog
                .as_ref()
                .map_or("–".to_owned(), |backlog| count(backlog.depth)),
            retrying: backlog
                .as_ref()
                .map_or("–".to_owned(), |backlog| count(backlog.retrying)),
            drain: backlog
                .as_ref()
                .filter(|backlog| backlog.depth > 0)
                .and_then(|backlog| backlog.drain())
                .map(words),
            stuck: backlog
                .as_ref()
                .is_some_and(|backlog| !backlog.consumed && backlog.depth > 0 && !backlog.paused),
            over: filter.over.words(),
        },
        charts: Charts::of(&buckets, filter.over, now),
        day: filter.over == Span::Day,
        trial: trial?,
        attempts: page.data,
        filtered: filter.is_any(),
        older,
        newest: filter.iterator.is_empty(),
    })
}

/// What became of the test event with that id; nothing when none is asked for, or it is not of this endpoint.
async fn load_trial(
    web: &Web,
    visitor: &Visitor,
    endpoint: &Endpoint,
    message: &str,
) -> Result<Option<Trial>, Failure> {
    if message.is_empty() {
        return Ok(None);
    }
    let use_cases = &web.api.use_cases;
    let stored = match use_cases.message(&visitor.app, message).await {
        Err(Refusal::NotFound(_)) => return Ok(None),
        stored => stored?,
    };
    let filter = AttemptFilter {
        endpoint: Some(endpoint.id.clone()),
        ..AttemptFilter::default()
    };
    let attempts = use_cases
        .attempts_of_message(&visitor.app, &stored.message.id, &filter, &PageRequest::first(1))
        .await?;
    Ok(Some(Trial {
        message: stored.message.id.to_string(),
        attempt: attempts
            .items
            .first()
            .map(|stored| AttemptLine::of(stored, use_cases.now())),
    }))
}

pub(super) async fn activity(
    State(web): State<Arc<Web>>,
    visitor: Visitor,
    At(at): At<EndpointAt>,
    fields: Fields,
) -> Answer {
    let use_cases = &web.api.use_cases;
    let endpoint = use_cases.endpoint(&visitor.app, &at.endpoint_id).await?;
    let filter = Filter::read(&fields);
    let live = load_live(&web, &visitor, &endpoint, &filter).await?;
    let page = PageRequest::oldest(OFFERED_MAX);
    let types = use_cases.list_event_types(false, visitor.flags(), &page).await?;
    let head = Head::of(&endpoint);
    show(&EndpointPage {
        shell: visitor
            .shell(head.title("Activity"), "/portal/endpoints")
            .told(notice(fields.text("done"))),
        can: visitor.can,
        live,
        offered: offered(&endpoint, types.items),
        address: format!("/portal/endpoints/{}/live?{}", endpoint.id, filter.query()),
        moving: filter.iterator.is_empty(),
        filter,
        head,
    })
}

/// The moving part alone.
pub(super) async fn live(
    State(web): State<Arc<Web>>,
    visitor: Visitor,
    At(at): At<EndpointAt>,
    fields: Fields,
) -> Answer {
    let endpoint = web.api.use_cases.endpoint(&visitor.app, &at.endpoint_id).await?;
    show(&load_live(&web, &visitor, &endpoint, &Filter::read(&fields)).await?)
}

/// Leads from an address that only takes forms to the page that they are on.
pub(super) async fn back(State(web): State<Arc<Web>>, visitor: Visitor, At(at): At<EndpointAt>) -> Answer {
    let endpoint = web.api.use_cases.endpoint(&visitor.app, &at.endpoint_id).await?;
    Ok(go(&format!("/portal/endpoints/{}", endpoint.id)))
}

/// Sends an example of an event type.
pub(super) async fn test(
    State(web): State<Arc<Web>>,
    At(at): At<EndpointAt>,
    change: Change<Visitor>,
) -> Answer {
    let visitor = change.session;
    visitor.need(Capability::CreateAttempts)?;
    let kind = change.fields.text("type");
    let use_cases = &web.api.use_cases;
    let occasion = use_cases.occasion();
    let sent = use_cases
        .send_example(&visitor.app, &at.endpoint_id, kind, 0, &occasion)
        .await?;
    let id = use_cases.endpoint(&visitor.app, &at.endpoint_id).await?.id;
    Ok(go(&format!("/portal/endpoints/{id}?test={}", sent.message.id)))
}

/// Sends again what failed, or what is missing, since a time.
pub(super) async fn replay(
    State(web): State<Arc<Web>>,
    At(at): At<EndpointAt>,
    change: Change<Visitor>,
) -> Answer {
    let visitor = change.session;
    visitor.need(Capability::CreateAttempts)?;
    let use_cases = &web.api.use_cases;
    let since = since(change.fields.text("since"), use_cases.now());
    let (which, begun, none) = match change.fields.text("which") {
        "missing" => (Replay::Missing, "replaying", "none-missing"),
        _ => (Replay::Failed, "recovering", "none-failed"),
    };
    let asked = ReplaySpan { since, until: None };
    let (app, endpoint) = (&visitor.app, at.endpoint_id.as_str());
    let done = if use_cases.nothing_to_replay(app, endpoint, which, asked).await? {
        none
    } else {
        use_cases
            .replay(app, endpoint, which, asked, &use_cases.occasion())
            .await?;
        begun
    };
    let id = use_cases.endpoint(app, endpoint).await?.id;
    Ok(go(&format!("/portal/endpoints/{id}?done={done}")))
}

/// The time that a choice of the form means; an hour ago where it means nothing.
fn since(text: &str, now: UnixMillis) -> UnixMillis {
    let hours = match text {
        "24h" => 24,
        "7d" => 7 * 24,
        "28d" => 28 * 24,
        _ => 1,
    };
    now.minus(Duration::from_secs(hours * 3_600))
}

/// Sends one message again.
pub(super) async fn resend(
    State(web): State<Arc<Web>>,
    At(at): At<EndpointAt>,
    change: Change<Visitor>,
) -> Answer {
    let visitor = change.session;
    visitor.need(Capability::CreateAttempts)?;
    let message = change.fields.text("message");
    let use_cases = &web.api.use_cases;
    use_cases
        .resend(&visitor.app, message, &at.endpoint_id, &use_cases.occasion())
        .await?;
    let stored = use_cases.message(&visitor.app, message).await?;
    let id = use_cases.endpoint(&visitor.app, &at.endpoint_id).await?.id;
    Ok(go(&match change.fields.text("back") {
        "message" => format!("/portal/messages/{}?done=resent", stored.message.id),
        _ => format!("/portal/endpoints/{id}?done=resent"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_reads_itself_back() {
        let fields = Fields::parse(b"status=failed&type=sync.user&after=2026-01-31T12:00&span=7d&at=x");
        let filter = Filter::read(&fields);
        assert_eq!(
            filter.query(),
            "status=failed&type=sync.user&after=2026-01-31T12%3A00&span=7d"
        );
        let attempts = filter.attempts();
        assert_eq!(attempts.status, Some(AttemptStatus::Failed));
        assert_eq!(attempts.after, Some(UnixMillis(1_769_860_800_000)));
        assert!(filter.is_any() && !Filter::default().is_any());
    }

    #[test]
    fn what_an_endpoint_wants_is_offered_first_and_what_is_deprecated_last() {
        let kind = |name: &str, deprecated| EventType {
            name: name.parse().unwrap(),
            description: String::new(),
            archived: false,
            deprecated,
            schemas: None,
            feature_flag: None,
            group_name: None,
            enforce_schema: false,
            created_at: UnixMillis(0),
            updated_at: UnixMillis(0),
        };
        let known = vec![
            kind("a.old", true),
            kind("b.other", false),
            kind("sync.user", false),
        ];
        let names: Vec<_> = offered(&crate::portal::list::tests::hostile(), known)
            .into_iter()
            .map(|offered| offered.name)
            .collect();
        assert_eq!(names, ["sync.user", "b.other", "a.old"]);
    }

    #[test]
    fn a_choice_of_time_lies_back_as_far_as_it_says() {
        let now = UnixMillis(30 * 24 * 3_600_000);
        assert_eq!(since("7d", now), UnixMillis(23 * 24 * 3_600_000));
        assert_eq!(since("?", now), UnixMillis(now.0 - 3_600_000));
    }
}
