//! Messages, their attempts, and messages sent again.

use anyhow::Result;
use serde_json::json;
use svix::{Webhook, api, models};

use crate::{Client, KIND, OWN_SECRET, lately, refused, set, until, with_content};

impl Client {
    pub async fn messages(&self) -> Result<models::MessageOut> {
        let messages = self.api.message();
        let payload = json!({ "b": 1, "a": "ü", "nested": { "z": [1, 2.5, null] } });
        let event_id = format!("evt-{}", std::process::id());
        let draft = || models::MessageIn {
            event_id: Some(event_id.clone()),
            channels: set(&["blue"]),
            ..models::MessageIn::new(KIND.into(), payload.clone())
        };
        let sent = messages.create(self.id(), draft(), None).await?;
        refused(409, messages.create(self.id(), draft(), None)).await?;
        let kept = messages.get(self.id(), event_id, with_content()).await?;
        assert_eq!((&kept.id, &kept.payload), (&sent.id, &payload));
        for (path, endpoint) in [("/one", "one"), ("/two", "two")] {
            let arrived = self.arrived(path, 1).await?;
            assert_eq!(arrived[0].headers["webhook-id"], sent.id);
            assert_eq!(
                serde_json::from_slice::<serde_json::Value>(&arrived[0].body)?,
                payload
            );
            self.verify(endpoint, &arrived[0]).await?;
        }
        assert_eq!(self.receiver.at("/one")[0].headers["x-two"], "2");
        let wanted = |kind: &str| models::MessagePrecheckIn::new(kind.into());
        assert!(messages.precheck(self.id(), wanted(KIND), None).await?.active);
        let once = || {
            let key = Some(format!("key-{}", std::process::id()));
            Some(api::MessageCreateOptions {
                idempotency_key: key,
                with_content: Some(false),
            })
        };
        let other = |n: u8| models::MessageIn::new("rust.once".into(), json!({ "n": n }));
        let first = messages.create(self.id(), other(1), once()).await?;
        let again = messages.create(self.id(), other(1), once()).await?;
        assert_eq!((first.id, first.timestamp), (again.id, again.timestamp));
        refused(409, messages.create(self.id(), other(2), once())).await?;
        let options = api::MessageListOptions {
            event_types: set(&[KIND]),
            channel: Some("blue".into()),
            after: Some(lately()),
            ..api::MessageListOptions::default()
        };
        let listed = messages.list(self.id(), Some(options)).await?;
        assert!(listed.done && listed.data.len() == 1 && listed.data[0].id == sent.id);
        Ok(sent)
    }

    pub async fn attempts(&self, sent: &models::MessageOut) -> Result<()> {
        let attempts = self.api.message_attempt();
        let options = || api::MessageAttemptListByMsgOptions {
            endpoint_id: Some("two".into()),
            with_content: Some(true),
            expanded_statuses: Some(true),
            ..api::MessageAttemptListByMsgOptions::default()
        };
        let attempt = until("its attempt", || async {
            let list = attempts
                .list_by_msg(self.id(), sent.id.clone(), Some(options()))
                .await?;
            Ok(list.data.into_iter().next())
        })
        .await?;
        assert_eq!(
            (attempt.response_status_code, attempt.response.as_str()),
            (200, "thanks")
        );
        assert_eq!(
            (attempt.status, attempt.trigger_type),
            (
                models::MessageStatus::Success,
                models::MessageAttemptTriggerType::Scheduled
            )
        );
        let by_endpoint = api::MessageAttemptListByEndpointOptions {
            status: Some(models::MessageStatus::Success),
            with_msg: Some(true),
            event_types: set(&[KIND]),
            ..api::MessageAttemptListByEndpointOptions::default()
        };
        let list = attempts
            .list_by_endpoint(self.id(), "two".into(), Some(by_endpoint))
            .await?;
        assert_eq!(
            list.data[0].msg.as_ref().map(|message| &message.id),
            Some(&sent.id)
        );
        let got = attempts
            .get(self.id(), sent.id.clone(), attempt.id.clone(), None)
            .await?;
        assert_eq!(got.id, attempt.id);
        let messages = attempts
            .list_attempted_messages(self.id(), "two".into(), None)
            .await?;
        assert_eq!(
            messages.data.iter().map(|it| &it.id).collect::<Vec<_>>(),
            [&sent.id]
        );
        let destinations = until("both deliveries", || async {
            let list = attempts
                .list_attempted_destinations(self.id(), sent.id.clone(), None)
                .await?;
            let delivered = list
                .data
                .iter()
                .all(|it| it.status == models::MessageStatus::Success);
            Ok(delivered.then_some(list.data))
        })
        .await?;
        assert_eq!(
            destinations
                .iter()
                .map(|it| it.uid.as_deref())
                .collect::<Vec<_>>(),
            [Some("one"), Some("two")]
        );
        attempts
            .expunge_content(self.id(), sent.id.clone(), attempt.id.clone())
            .await?;
        let got = attempts.get(self.id(), sent.id.clone(), attempt.id, None).await?;
        assert_ne!(got.response, "thanks");
        Ok(())
    }

    pub async fn again(&self, sent: &models::MessageOut) -> Result<()> {
        let (endpoints, attempts) = (self.api.endpoint(), self.api.message_attempt());
        attempts
            .resend(self.id(), sent.id.clone(), "two".into(), None)
            .await?;
        let arrived = self.arrived("/two", 2).await?;
        assert_eq!(arrived[1].headers["webhook-id"], sent.id);
        endpoints
            .send_example(
                self.id(),
                "two".into(),
                models::EventExampleIn::new(KIND.into()),
                None,
            )
            .await?;
        self.arrived("/two", 3).await?;
        let late = models::EndpointIn {
            uid: Some("late".into()),
            ..models::EndpointIn::new(self.hook("/late"))
        };
        endpoints.create(self.id(), late, None).await?;
        let replay = endpoints
            .replay_missing(self.id(), "late".into(), models::ReplayIn::new(lately()), None)
            .await?;
        assert!(replay.id.starts_with("qtask_"));
        self.arrived("/late", 2).await?;
        let recover = endpoints
            .recover(self.id(), "late".into(), models::RecoverIn::new(lately()), None)
            .await?;
        assert!(recover.id.starts_with("qtask_"));
        until("the statistics", || async {
            let stats = endpoints.get_stats(self.id(), "two".into(), None).await?;
            Ok((stats.success >= 2 && stats.fail == 0).then_some(()))
        })
        .await
    }

    pub async fn secrets(&self) -> Result<()> {
        let endpoints = self.api.endpoint();
        let old = endpoints.get_secret(self.id(), "late".into()).await?.key;
        let rotate = models::EndpointSecretRotateIn {
            key: Some(OWN_SECRET.into()),
            ..models::EndpointSecretRotateIn::new()
        };
        let new = endpoints
            .rotate_secret(self.id(), "late".into(), rotate, None)
            .await?;
        assert_eq!(new.key, OWN_SECRET);
        let draft = models::MessageIn::new("rust.rotated".into(), json!({}));
        let sent = self.api.message().create(self.id(), draft, None).await?;
        let rotated = until("the message after the rotation", || async {
            let arrived = self.receiver.at("/late");
            Ok(arrived
                .into_iter()
                .find(|request| request.headers["webhook-id"] == sent.id))
        })
        .await?;
        for secret in [&old, OWN_SECRET] {
            Webhook::new(secret)?.verify(&rotated.body, &rotated.headers)?;
        }
        Ok(())
    }

    pub async fn expunged(&self, sent: &models::MessageOut) -> Result<()> {
        let messages = self.api.message();
        messages.expunge_content(self.id(), sent.id.clone()).await?;
        let got = messages.get(self.id(), sent.id.clone(), with_content()).await?;
        assert_eq!(got.payload, json!({ "expired": true }));
        let attempts = self.api.message_attempt();
        let resend = attempts.resend(self.id(), sent.id.clone(), "two".into(), None);
        refused(400, resend).await?;
        let other = models::MessageIn::new("rust.bulk".into(), json!({ "secret": 1 }));
        let other = messages.create(self.id(), other, None).await?;
        let ids = set(&[&other.id, &sent.id, "nobody"]);
        let bulk = messages
            .bulk_expunge_content(self.id(), models::BulkExpungeContentsIn { ids }, None)
            .await?;
        let expunged: Vec<_> = bulk
            .results
            .iter()
            .filter(|(_, status)| **status == models::BulkExpungeStatus::Expunged)
            .map(|(id, _)| id.as_str())
            .collect();
        assert_eq!((expunged, bulk.results.len()), (vec![other.id.as_str()], 3));
        Ok(())
    }
}
