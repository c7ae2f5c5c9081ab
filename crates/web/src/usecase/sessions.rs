//! Sessions: links to the portal, and their end.
//!
//! Guarantees that a customer's token is good for one app, until it expires or is ended, whichever comes first.

use std::time::Duration;

use nuncio_domain::{App, UnixMillis};

use super::apps::AppDraft;
use super::occasion::Occasion;
use super::refusal::{Complaints, Outcome, Refusal};
use super::{UseCases, store};
use crate::look::{LINK_LOGO_BYTES_MAX, Look};
use crate::token::{APP_LIFETIME, AppGrant, Capabilities, Capability, Verified};

/// The shortest that a customer's token may live.
pub const LIFETIME_MIN: Duration = Duration::from_secs(3_600);
/// The longest that a customer's token may live.
pub const LIFETIME_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Sessions that can be ended with one request.
const SESSIONS_MAX: usize = 100;
/// Bytes of a session's name.
const SESSION_BYTES_MAX: usize = 256;
/// Feature flags of one token.
const FLAGS_MAX: usize = 100;

/// What a customer's token is to allow, and for how long.
#[derive(Debug, Clone, Default)]
pub struct AccessDraft {
    /// An app to make, where there is none yet.
    pub application: Option<AppDraft>,
    /// Whether it is for looking only.
    pub read_only: bool,
    /// What it allows; everything when nothing is said.
    pub capabilities: Option<Vec<Capability>>,
    /// Flags of event types that are shown.
    pub feature_flags: Option<Vec<String>>,
    /// Seconds for which it is good.
    pub expiry_seconds: Option<u64>,
    /// A name by which the session can be ended.
    pub session: Option<String>,
    /// How the portal is to look.
    pub look: Look,
}

/// A token to mint.
#[derive(Debug, Clone)]
pub struct Access {
    /// What it allows.
    pub grant: AppGrant,
    /// For how long.
    pub lifetime: Duration,
    /// When it begins.
    pub now: UnixMillis,
}

impl UseCases {
    /// What the token of a portal link for the app with that id or uid is to say.
    ///
    /// # Errors
    /// When there is no such app and none to be made, or fields cannot be accepted.
    pub async fn portal_access(
        &self,
        id_or_uid: &str,
        mut draft: AccessDraft,
        occasion: &Occasion,
    ) -> Outcome<Access> {
        let application = draft.application.take();
        let mut complaints = Complaints::new();
        let lifetime = draft.expiry_seconds.map_or(APP_LIFETIME, Duration::from_secs);
        if !(LIFETIME_MIN..=LIFETIME_MAX).contains(&lifetime) {
            complaints.add(
                "expiry",
                "value_error",
                format_args!(
                    "must be from {} to {} seconds",
                    LIFETIME_MIN.as_secs(),
                    LIFETIME_MAX.as_secs()
                ),
            );
        }
        if let Some(session) = &draft.session {
            check_session(&mut complaints, &["sessionId"], session);
        }
        if draft
            .feature_flags
            .as_ref()
            .is_some_and(|flags| flags.len() > FLAGS_MAX)
        {
            complaints.add(
                "featureFlags",
                "value_error",
                format_args!("must have at most {FLAGS_MAX} items"),
            );
        }
        for (field, mistake) in draft.look.mistakes(LINK_LOGO_BYTES_MAX) {
            complaints.add_at(&["branding", field], "value_error", mistake);
        }
        complaints.or(Some(()))?;
        let app = self.app_or_new(id_or_uid, application, occasion).await?;
        let capabilities = match draft.capabilities {
            _ if draft.read_only => Capabilities::READ_ONLY,
            Some(list) => list.into_iter().chain([Capability::ViewBase]).collect(),
            None => Capabilities::FULL,
        };
        Ok(Access {
            grant: AppGrant {
                app: app.id,
                capabilities,
                feature_flags: draft.feature_flags.filter(|flags| !flags.is_empty()),
                session: draft.session,
                look: draft.look,
            },
            lifetime,
            now: occasion.at,
        })
    }

    /// Whether a customer's token was ended.
    ///
    /// # Errors
    /// When it was, or the store is away.
    pub(crate) async fn check_session(&self, grant: &AppGrant, token: &Verified) -> Outcome<()> {
        let ended = self.store.is_token_ended(
            &grant.app,
            &token.id,
            grant.session.as_deref(),
            token.issued_at,
            self.now(),
        );
        if store(ended.await)? {
            return Err(Refusal::Unauthenticated("the token was ended"));
        }
        Ok(())
    }

    /// Ends a customer's token.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn logout(&self, grant: &AppGrant, token: &Verified) -> Outcome<()> {
        let left = token.expires_at.since(self.now());
        store(self.store.end_token(&grant.app, &token.id, left).await)
    }

    /// Ends all tokens that were minted for the app until this was asked for, or those of some sessions, after a delay.
    ///
    /// # Errors
    /// When fields cannot be accepted, or the store is away.
    pub async fn end_sessions(
        &self,
        app: &App,
        sessions: &[String],
        delay_seconds: u64,
        occasion: &Occasion,
    ) -> Outcome<()> {
        let mut complaints = Complaints::new();
        if sessions.len() > SESSIONS_MAX {
            complaints.add(
                "sessionIds",
                "value_error",
                format_args!("must have at most {SESSIONS_MAX} items"),
            );
        }
        for (index, session) in sessions.iter().enumerate() {
            check_session(&mut complaints, &["sessionIds", &index.to_string()], session);
        }
        let delay = Duration::from_secs(delay_seconds);
        if delay > LIFETIME_MAX {
            complaints.add(
                "expiry",
                "value_error",
                format_args!("must be from 0 to {} seconds", LIFETIME_MAX.as_secs()),
            );
        }
        complaints.or(Some(()))?;
        let now = occasion.at;
        let ended = self
            .store
            .end_tokens(&app.id, sessions, now, now.plus(delay), LIFETIME_MAX + delay);
        store(ended.await)
    }
}

fn check_session(complaints: &mut Complaints, field: &[&str], session: &str) {
    if !(1..=SESSION_BYTES_MAX).contains(&session.len()) {
        complaints.add_at(
            field,
            "value_error",
            format_args!("must have from 1 to {SESSION_BYTES_MAX} bytes"),
        );
    }
}
