//! Endpoint secrets: own or made here, rotated with an overlap.
//!
//! Guarantees that a secret is one that signs, and that receivers have time to change theirs. Never logs one.

use std::time::Duration;

use nuncio_domain::{App, Endpoint, UnixMillis};
use nuncio_runtime::Dice;
use nuncio_signing::Secret;
use secrecy::{ExposeSecret, SecretString};

use super::occasion::Occasion;
use super::refusal::{Complaints, Outcome, Refusal};
use super::{UseCases, store};

/// How long the old secret signs too, unless said otherwise.
pub const OVERLAP: Duration = Duration::from_secs(24 * 3_600);
/// The longest that it may.
pub const OVERLAP_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Old secrets that may sign beside the current one.
pub const OLD_SECRETS_MAX: usize = 10;

impl UseCases {
    /// What verifies the endpoint's signatures: its current secret, or the public key where that is an ed25519 key.
    ///
    /// # Errors
    /// When there is no such endpoint, or no main secret opens it.
    pub async fn secret(&self, app: &App, id_or_uid: &str) -> Outcome<SecretString> {
        let endpoint = self.endpoint(app, id_or_uid).await?;
        let current = store(self.store.secrets(&app.id, &endpoint.id).await)?.current;
        Ok(verifier(current))
    }

    /// Lets another secret sign, `key` or a new one, and the current one beside it for the grace period. Answers what
    /// verifies the new one's signatures.
    ///
    /// # Errors
    /// When there is no such endpoint, the key is none, the period too long, or too many old secrets still sign.
    pub async fn rotate_secret(
        &self,
        app: &App,
        id_or_uid: &str,
        key: Option<&str>,
        grace_seconds: Option<u64>,
        occasion: &Occasion,
    ) -> Outcome<SecretString> {
        let endpoint = self.endpoint(app, id_or_uid).await?;
        let mut complaints = Complaints::new();
        let secret = match key {
            Some(key) => complaints.keep("key", "value_error", Secret::parse(key)),
            None => Some(new_secret(&occasion.dice)),
        };
        let overlap = grace_seconds.map_or(OVERLAP, Duration::from_secs);
        if overlap > OVERLAP_MAX {
            complaints.add(
                "gracePeriodSeconds",
                "value_error",
                format_args!("must be from 0 to {}", OVERLAP_MAX.as_secs()),
            );
        }
        let secret = complaints.or(secret)?;
        let text = SecretString::from(secret.expose().as_str());
        let now = occasion.at;
        let held = store(self.store.secrets(&app.id, &endpoint.id).await)?;
        if occasion.again && held.signs_with(&text, now) {
            return Ok(verifier(text));
        }
        if held.old.iter().filter(|(_, until)| *until > now).count() >= OLD_SECRETS_MAX {
            return Err(Refusal::Impossible {
                code: "limit_reached",
                detail: format!("{OLD_SECRETS_MAX} old secrets still sign: wait until one has run out"),
            });
        }
        let until = now.plus(overlap);
        store(
            self.store
                .rotate_secret(&app.id, &endpoint.id, &text, until, now)
                .await,
        )?;
        nuncio_failpoints::hit!("api::secret-rotated");
        Ok(verifier(text))
    }

    /// Lets `secret` sign from now on, alone.
    pub(crate) async fn use_secret(
        &self,
        endpoint: &Endpoint,
        secret: &Secret,
        now: UnixMillis,
    ) -> Outcome<()> {
        let text = SecretString::from(secret.expose().as_str());
        let rotated = self
            .store
            .rotate_secret(&endpoint.app_id, &endpoint.id, &text, now, now);
        store(rotated.await)?;
        Ok(())
    }
}

pub(super) fn new_secret(dice: &Dice) -> Secret {
    dice.with(|rng| Secret::generate(rng))
}

/// What a receiver needs: of an ed25519 key the public half, as the private one would let it sign.
fn verifier(secret: SecretString) -> SecretString {
    let parsed = Secret::parse(secret.expose_secret()).ok();
    match parsed.and_then(|parsed| parsed.public_key()) {
        Some(public) => SecretString::from(public.to_string()),
        None => secret,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receivers_have_a_day_to_change_their_secret_unless_they_are_given_up_to_a_week() {
        let day = Duration::from_secs(86_400);
        assert_eq!((OVERLAP, OVERLAP_MAX), (day, day * 7));
    }
}
