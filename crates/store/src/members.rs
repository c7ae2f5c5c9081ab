//! Members: which processes of a role are alive.
//!
//! Owns the lists of live senders and routers. Guarantees that lives are measured by the server's clock alone, so that
//! clocks that differ between machines do not make anybody look dead.

use std::time::Duration;

use nuncio_domain::UnixMillis;
use redis::Value;

use crate::script::{self, HEARTBEAT};
use crate::{Store, StoreError};

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// It sends.
    Sender,
    /// It routes.
    Router,
    /// It serves the API.
    Api,
}

impl Role {
    fn as_str(self) -> &'static str {
        match self {
            Self::Sender => "sender",
            Self::Router => "router",
            Self::Api => "api",
        }
    }
}

impl Store {
    /// Says that a member lives and answers the names of all that do: those that said so within `silence_max`. `now` is
    /// the caller's clock, of which the difference to the server's is measured.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn heartbeat(
        &self,
        role: Role,
        name: &str,
        now: UnixMillis,
        silence_max: Duration,
    ) -> Result<Vec<String>, StoreError> {
        let (server_now, names) = self.beat(role, name, silence_max).await?;
        metrics::gauge!("nuncio_store_clock_skew_seconds").set((now.0 - server_now) as f64 / 1_000.0);
        Ok(names)
    }

    /// The names of a role's live members.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn members(&self, role: Role, silence_max: Duration) -> Result<Vec<String>, StoreError> {
        Ok(self.beat(role, "", silence_max).await?.1)
    }

    /// Takes a member off the list.
    ///
    /// # Errors
    /// When Redis is away.
    pub async fn leave(&self, role: Role, name: &str) -> Result<(), StoreError> {
        let mut cmd = redis::cmd("ZREM");
        cmd.arg(self.keys().members(role.as_str())).arg(name);
        self.one::<Value>("leave the list of members", cmd).await?;
        Ok(())
    }

    async fn beat(
        &self,
        role: Role,
        name: &str,
        silence_max: Duration,
    ) -> Result<(i64, Vec<String>), StoreError> {
        let mut cmd = script::call(&HEARTBEAT, &[&self.keys().members(role.as_str())]);
        cmd.arg(name)
            .arg(u64::try_from(silence_max.as_millis()).unwrap_or(u64::MAX));
        self.one("say that a member lives", cmd).await
    }
}
