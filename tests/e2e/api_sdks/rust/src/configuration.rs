//! Apps, event types, endpoints and their headers.

use std::collections::BTreeSet;

use anyhow::Result;
use js_option::JsOption;
use serde_json::json;
use svix::{api, models};

use crate::{Client, KIND, OWN_SECRET, map, refused, set};

impl Client {
    pub async fn applications(&self) -> Result<()> {
        let apps = self.api.application();
        let draft = |name: &str, uid: &str| models::ApplicationIn {
            uid: Some(uid.to_owned()),
            metadata: Some(map(&[("a", "1")])),
            ..models::ApplicationIn::new(name.to_owned())
        };
        let app = apps.create(draft("Rust", &self.uid), None).await?;
        assert_eq!(
            (app.uid.as_deref(), &app.metadata),
            (Some(&*self.uid), &map(&[("a", "1")]))
        );
        let same = apps.get_or_create(draft("other", &self.uid), None).await?;
        assert_eq!((&same.id, same.name.as_str()), (&app.id, "Rust"));
        refused(409, apps.create(draft("again", &self.uid), None)).await?;
        refused(422, apps.create(draft("", "a b"), None)).await?;
        assert_eq!(apps.get(self.id()).await?.id, app.id);
        let mut renamed = draft("Renamed", &self.uid);
        renamed.throttle_rate = Some(500);
        assert_eq!(apps.upsert(self.id(), renamed).await?.throttle_rate, Some(500));
        let patch = models::ApplicationPatch {
            throttle_rate: JsOption::Null,
            metadata: Some(map(&[("b", "2")])),
            ..models::ApplicationPatch::new()
        };
        let patched = apps.patch(app.id.clone(), patch).await?;
        assert_eq!((patched.throttle_rate, patched.name.as_str()), (None, "Renamed"));
        let page = |iterator| api::ApplicationListOptions {
            limit: Some(1),
            iterator,
            order: Some(models::Ordering::Descending),
            ..api::ApplicationListOptions::default()
        };
        let other = format!("{}-put", self.uid);
        apps.upsert(other.clone(), draft("Put", &other)).await?;
        let first = apps.list(Some(page(None))).await?;
        assert!(!first.done && first.data.len() == 1 && first.iterator.is_some());
        let second = apps.list(Some(page(first.iterator))).await?;
        let back = apps.list(Some(page(second.prev_iterator))).await?;
        assert_eq!(back.data[0].id, first.data[0].id);
        apps.delete(other.clone()).await?;
        refused(404, apps.get(other)).await
    }

    pub async fn event_types(&self) -> Result<()> {
        let types = self.api.event_type();
        let schema = json!({ "1": { "type": "object", "properties": { "n": { "type": "integer" } } } });
        let draft = || models::EventTypeIn {
            schemas: Some(schema.clone()),
            ..models::EventTypeIn::new(KIND.into(), "Rust's".into())
        };
        assert_eq!(types.create(draft(), None).await?.schemas, Some(schema.clone()));
        refused(409, types.create(draft(), None)).await?;
        let patch = models::EventTypePatch {
            deprecated: Some(true),
            ..models::EventTypePatch::new()
        };
        assert!(types.patch(KIND.into(), patch).await?.deprecated);
        let anew = models::EventTypeUpsertIn::new("Anew".into());
        assert_eq!(types.upsert(KIND.into(), anew).await?.schemas, None);
        assert_eq!(types.get(KIND.into()).await?.description, "Anew");
        let options = api::EventTypeListOptions {
            limit: Some(250),
            with_content: Some(true),
            ..api::EventTypeListOptions::default()
        };
        let names: Vec<_> = types
            .list(Some(options))
            .await?
            .data
            .into_iter()
            .map(|kind| kind.name)
            .collect();
        for name in ["sync.user", "sync.organization", KIND] {
            assert!(names.iter().any(|known| known == name), "{name}");
        }
        Ok(())
    }

    pub async fn endpoints(&self) -> Result<()> {
        let endpoints = self.api.endpoint();
        let draft = |uid: &str, path: &str| models::EndpointIn {
            uid: Some(uid.to_owned()),
            ..models::EndpointIn::new(self.hook(path))
        };
        let one = endpoints.create(self.id(), draft("one", "/one"), None).await?;
        assert_eq!((one.uid.as_deref(), one.disabled), (Some("one"), Some(false)));
        refused(409, endpoints.create(self.id(), draft("one", "/x"), None)).await?;
        refused(
            422,
            endpoints.create(
                self.id(),
                models::EndpointIn::new("ftp://example.com/".into()),
                None,
            ),
        )
        .await?;
        let mut two = draft("two", "/two");
        (two.secret, two.channels) = (Some(OWN_SECRET.into()), set(&["blue"]));
        let two = endpoints.create(self.id(), two, None).await?;
        assert_eq!(two.channels, set(&["blue"]));
        assert_eq!(
            endpoints.get_secret(self.id(), two.id.clone()).await?.key,
            OWN_SECRET
        );
        let mut replacement = models::EndpointUpsertIn::new(self.hook("/two"));
        (replacement.uid, replacement.throttle_rate) = (Some("two".into()), Some(900));
        let replaced = endpoints.upsert(self.id(), "two".into(), replacement).await?;
        assert_eq!((replaced.throttle_rate, &replaced.channels), (Some(900), &None));
        let patch = models::EndpointPatch {
            event_types: JsOption::Some(BTreeSet::from([KIND.to_owned()])),
            throttle_rate: JsOption::Null,
            ..models::EndpointPatch::new()
        };
        let patched = endpoints.patch(self.id(), two.id.clone(), patch).await?;
        assert_eq!(
            (patched.throttle_rate, &patched.event_types),
            (None, &set(&[KIND]))
        );
        let mut three = models::EndpointUpsertIn::new(self.hook("/three"));
        three.disabled = Some(true);
        assert_eq!(
            endpoints.upsert(self.id(), "three".into(), three).await?.disabled,
            Some(true)
        );
        endpoints.delete(self.id(), "three".into()).await?;
        refused(404, endpoints.get(self.id(), "three".into())).await?;
        let options = api::EndpointListOptions {
            order: Some(models::Ordering::Ascending),
            ..api::EndpointListOptions::default()
        };
        let ids: Vec<_> = endpoints
            .list(self.id(), Some(options))
            .await?
            .data
            .into_iter()
            .map(|it| it.id)
            .collect();
        assert_eq!(ids, [one.id, two.id]);
        Ok(())
    }

    pub async fn headers(&self) -> Result<()> {
        let endpoints = self.api.endpoint();
        let all = map(&[("X-One", "1"), ("Authorization", "Bearer canary")]);
        endpoints
            .set_headers(self.id(), "one".into(), models::EndpointHeadersIn::new(all))
            .await?;
        let patch = models::EndpointHeadersPatchIn::new(map(&[("X-Two", "2")]));
        endpoints.patch_headers(self.id(), "one".into(), patch).await?;
        let shown = endpoints.get_headers(self.id(), "one".into()).await?;
        assert_eq!(shown.headers, map(&[("X-One", "1"), ("X-Two", "2")]));
        assert_eq!(shown.sensitive.into_iter().collect::<Vec<_>>(), ["Authorization"]);
        Ok(())
    }
}
