//! Apps and endpoints in doubt: of which record and queue may differ, because they are being made or deleted.
//!
//! Owns the list: who makes or deletes something notes it first and strikes it off when both are there or both are gone,
//! so that whoever finds it noted long after knows that its process died between. Refuses to know the broker, and how a
//! doubt is settled.

use std::fmt;

use nuncio_domain::{AppId, EndpointId, UnixMillis};
use redis::Value;

use crate::{Store, StoreError};

/// What is being made or deleted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InDoubt {
    /// The app.
    pub app: AppId,
    /// Its endpoint; nothing for the app itself.
    pub endpoint: Option<EndpointId>,
}

impl InDoubt {
    /// An app.
    #[must_use]
    pub fn app(app: &AppId) -> Self {
        Self {
            app: app.clone(),
            endpoint: None,
        }
    }

    /// An endpoint of an app.
    #[must_use]
    pub fn endpoint(app: &AppId, endpoint: &EndpointId) -> Self {
        Self {
            app: app.clone(),
            endpoint: Some(endpoint.clone()),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (app, endpoint) = match text.split_once(':') {
            Some((app, endpoint)) => (app, Some(EndpointId::parse(endpoint).ok()?)),
            None => (text, None),
        };
        let app = AppId::parse(app).ok()?;
        Some(Self { app, endpoint })
    }
}

impl fmt::Display for InDoubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.endpoint {
            Some(endpoint) => write!(f, "{}:{endpoint}", self.app),
            None => write!(f, "{}", self.app),
        }
    }
}

impl Store {
    /// Notes what is going to be made or deleted.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn note_in_doubt(&self, doubts: &[InDoubt], now: UnixMillis) -> Result<(), StoreError> {
        if doubts.is_empty() {
            return Ok(());
        }
        let mut cmd = redis::cmd("HSET");
        cmd.arg(self.keys().in_doubt());
        for doubt in doubts {
            cmd.arg(doubt.to_string()).arg(now.0);
        }
        self.one::<Value>("note what is being made or deleted", cmd)
            .await?;
        Ok(())
    }

    /// What was noted before then and not struck off.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn in_doubt_since(&self, before: UnixMillis) -> Result<Vec<InDoubt>, StoreError> {
        let mut cmd = redis::cmd("HGETALL");
        cmd.arg(self.keys().in_doubt());
        let noted: Vec<(String, i64)> = self.one("read what is in doubt", cmd).await?;
        let long = noted.into_iter().filter(|(_, at)| *at < before.0);
        Ok(long.filter_map(|(text, _)| InDoubt::parse(&text)).collect())
    }

    /// Strikes off what is there whole, or gone whole.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn strike_off_doubts(&self, doubts: &[InDoubt]) -> Result<(), StoreError> {
        if doubts.is_empty() {
            return Ok(());
        }
        let mut cmd = redis::cmd("HDEL");
        cmd.arg(self.keys().in_doubt());
        for doubt in doubts {
            cmd.arg(doubt.to_string());
        }
        self.one::<Value>("strike off what is no longer in doubt", cmd)
            .await?;
        Ok(())
    }
}
