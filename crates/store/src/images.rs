//! Images: apps and endpoints as they are kept, for copies of them elsewhere.
//!
//! Guarantees that an image shows one version of an app, with the secrets of that version. Refuses to judge what it
//! copies: a record that this version cannot read is copied like any other.

use std::collections::HashMap;

use nuncio_domain::{AppId, EndpointId};
use nuncio_wire::journal::{AppImage, EndpointImage};
use redis::Value;
use serde::Deserialize;

use crate::apps::ROUNDS_MAX;
use crate::link::Lane;
use crate::seal::EndpointSecrets;
use crate::store::{Group, read};
use crate::{Store, StoreError};

const ACTION: &str = "copy apps and endpoints";
/// How many ids are listed in one round trip.
const IDS_A_BATCH: usize = 5_000;

impl Store {
    /// The ids of all apps, in the order of their creation.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn app_ids(&self) -> Result<Vec<AppId>, StoreError> {
        let mut apps: Vec<AppId> = Vec::new();
        loop {
            let after = apps
                .last()
                .map_or_else(|| "-".to_owned(), |last| format!("({last}"));
            let mut cmd = redis::cmd("ZRANGEBYLEX");
            cmd.arg(self.keys().apps())
                .arg(after)
                .arg("+")
                .arg("LIMIT")
                .arg(0)
                .arg(IDS_A_BATCH);
            let ids: Vec<String> = self.one("list apps", cmd).await?;
            let count = ids.len();
            apps.extend(ids.iter().filter_map(|id| AppId::parse(id).ok()));
            if count < IDS_A_BATCH {
                return Ok(apps);
            }
        }
    }

    /// These apps with their endpoints as they are kept, secrets sealed; nothing for those that are not there.
    ///
    /// # Errors
    /// When Redis is away, or an app is changed again and again meanwhile.
    pub async fn app_images(&self, apps: &[AppId]) -> Result<Vec<Option<AppImage>>, StoreError> {
        let groups = apps.iter().map(|app| self.image_group(app));
        let answers = self.groups(Lane::Calls, ACTION, groups.collect()).await?;
        let mut images = Vec::with_capacity(apps.len());
        for (app, mut values) in apps.iter().zip(answers) {
            let mut rounds = ROUNDS_MAX;
            images.push(loop {
                if let Some(image) = parse_image(app, values)? {
                    break image;
                }
                rounds -= 1;
                if rounds == 0 {
                    return Err(StoreError::Contended("app"));
                }
                values = self.group(Lane::Calls, ACTION, self.image_group(app)).await?;
            });
        }
        Ok(images)
    }

    /// The secrets in a sealed text.
    ///
    /// # Errors
    /// [`StoreError::Sealed`] when no main secret opens them.
    pub fn open_secrets(
        &self,
        app: &AppId,
        endpoint: &EndpointId,
        sealed: &str,
    ) -> Result<EndpointSecrets, StoreError> {
        self.inner.sealer.open(app, endpoint, sealed)
    }

    /// Secrets sealed with the first main secret, for that endpoint alone.
    #[must_use]
    pub fn seal_secrets(&self, app: &AppId, endpoint: &EndpointId, secrets: &EndpointSecrets) -> String {
        self.inner.sealer.seal(app, endpoint, secrets)
    }

    /// Reads all of an app. The version is read first: what is read after it is at least as new.
    pub(crate) fn app_group(&self, app: &AppId) -> Group {
        let keys = self.keys();
        let reads = [
            ("GET", keys.version(app)),
            ("GET", keys.app(app)),
            ("HGETALL", keys.endpoints(app)),
            ("HGETALL", keys.secrets(app)),
        ];
        let cmds = reads.into_iter().map(|(name, key)| {
            let mut cmd = redis::cmd(name);
            cmd.arg(key);
            cmd
        });
        cmds.collect()
    }

    /// The same, and last the version again.
    fn image_group(&self, app: &AppId) -> Group {
        let mut group = self.app_group(app);
        let mut version = redis::cmd("GET");
        version.arg(self.keys().version(app));
        group.push(version);
        group
    }
}

/// The image; nothing when it was changed while it was read, and an inner nothing when there is no such app.
fn parse_image(app: &AppId, values: Vec<Value>) -> Result<Option<Option<AppImage>>, StoreError> {
    let mut values = values.into_iter();
    let version: Option<u64> = read(ACTION, values.next())?;
    let record: Option<String> = read(ACTION, values.next())?;
    let mut endpoints: Vec<(String, String)> = read(ACTION, values.next())?;
    let mut secrets: HashMap<String, String> = read(ACTION, values.next())?;
    let after: Option<u64> = read(ACTION, values.next())?;
    if version != after {
        return Ok(None);
    }
    let Some(record) = record else {
        return Ok(Some(None));
    };
    endpoints.sort_unstable();
    let endpoints = endpoints.into_iter().map(|(id, record)| EndpointImage {
        uid: uid_in(&record),
        sealed: secrets.remove(&id).unwrap_or_default(),
        id,
        record,
    });
    Ok(Some(Some(AppImage {
        id: app.as_str().to_owned(),
        uid: uid_in(&record),
        version: version.unwrap_or(0),
        endpoints: endpoints.collect(),
        record,
    })))
}

/// The uid in a record. One that cannot be read has none that anything is found by.
fn uid_in(record: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        uid: Option<String>,
    }
    serde_json::from_str::<Named>(record).ok()?.uid
}
