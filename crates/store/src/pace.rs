//! Starts of throttled apps, shared by all senders.
//!
//! Guarantees that however many senders take them, an app gets no more starts a second than its rate, by the server's
//! clock alone, and none is handed out twice.

use std::time::Duration;

use nuncio_domain::AppId;

use crate::script::{self, PACE};
use crate::{Store, StoreError};

impl Store {
    /// Takes the next `count` starts of an app that may be sent `rate` messages a second; answers how far away the first
    /// is. The others follow it at the rate.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn take_starts(&self, app: &AppId, rate: u32, count: u32) -> Result<Duration, StoreError> {
        let mut cmd = script::call(&PACE, &[&self.keys().pace(app)]);
        cmd.arg(rate.max(1)).arg(count);
        let micros: u64 = self.one("take starts of a throttled app", cmd).await?;
        Ok(Duration::from_micros(micros))
    }
}
