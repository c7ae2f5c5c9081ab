//! Portal access and its end, and the end of what was made.

use anyhow::Result;
use svix::{api, models};

use crate::{Client, KIND, refused};

impl Client {
    pub async fn access(&self) -> Result<()> {
        let authentication = self.api.authentication();
        let link = || authentication.app_portal_access(self.id(), models::AppPortalAccessIn::new(), None);
        let access = link().await?;
        assert!(access.url.contains(&access.token));
        let customer = self.api.with_token(access.token);
        assert_eq!(customer.endpoint().list(self.id(), None).await?.data.len(), 3);
        refused(403, customer.application().list(None)).await?;
        customer.authentication().logout(None).await?;
        refused(401, customer.application().get(self.id())).await?;
        let customer = self.api.with_token(link().await?.token);
        customer.application().get(self.id()).await?;
        let all = models::ApplicationTokenExpireIn::new();
        self.api.authentication().expire_all(self.id(), all, None).await?;
        refused(401, customer.application().get(self.id())).await
    }

    pub async fn gone(&self) -> Result<()> {
        let types = self.api.event_type();
        types.delete(KIND.into(), None).await?;
        assert_eq!(types.get(KIND.into()).await?.archived, Some(true));
        let for_good = api::EventTypeDeleteOptions { expunge: Some(true) };
        types.delete(KIND.into(), Some(for_good)).await?;
        refused(404, types.get(KIND.into())).await?;
        self.api.application().delete(self.id()).await?;
        refused(404, self.api.application().get(self.id())).await
    }
}
