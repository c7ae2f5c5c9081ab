//! Bearer tokens: who may do what, until when.
//!
//! Owns minting and verifying them: JWTs under one fixed algorithm (HS256), with keys derived from the main secrets. The
//! first main secret signs, all of them verify, so that secrets can be rotated.
//! Guarantees that a token of another namespace, issuer or algorithm, or one that expired, never verifies.
//! Refuses to know requests, and which tokens were ended before their time: that is in the store.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use nuncio_domain::{AppId, UnixMillis};
use rand::Rng;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::look::Look;

mod capability;

pub use capability::{Capabilities, Capability};

/// How long an admin token lives unless said otherwise.
pub const ADMIN_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);
/// How long an app's token lives unless said otherwise.
pub const APP_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3_600);

/// A token longer than this is refused before it is looked at.
const TOKEN_BYTES_MAX: usize = 4_096;
const ISSUER: &str = "nuncio";
const KEY_INFO: &[u8] = b"nuncio token v1";
const KEY_BYTES: usize = 32;
const ID_BYTES: usize = 16;

/// Why there are no keys to make tokens with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("tokens need at least one main secret")]
pub struct NoMainSecret;

/// Why a text is not a valid token. What is shown to callers is the same for all but [`TokenError::Expired`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a JWT of the one kind that is accepted.
    #[error("the token is malformed or of another kind")]
    Malformed,
    /// No current key made its signature.
    #[error("the token's signature does not verify")]
    Signature,
    /// It was made by or for someone else.
    #[error("the token was made for another installation")]
    Foreign,
    /// It ran out.
    #[error("the token has expired")]
    Expired,
}

/// Whom a token speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// The operator or the platform: every app.
    Admin,
    /// One app's customer.
    App(AppGrant),
}

/// What a customer's token allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppGrant {
    /// The one app.
    pub app: AppId,
    /// What may be done in it.
    pub capabilities: Capabilities,
    /// Event types behind one of these flags are shown; those behind others are not.
    pub feature_flags: Option<Vec<String>>,
    /// The caller's name for the session, by which it can be ended.
    pub session: Option<String>,
    /// How the portal looks to whoever opens it with the token; what is not given is as the app has it.
    pub look: Look,
}

impl AppGrant {
    /// The flags behind which it sees.
    #[must_use]
    pub fn flags(&self) -> &[String] {
        self.feature_flags.as_deref().unwrap_or_default()
    }

    /// Everything that a customer may do in `app`.
    #[must_use]
    pub fn full(app: AppId) -> Self {
        Self {
            app,
            capabilities: Capabilities::FULL,
            feature_flags: None,
            session: None,
            look: Look::default(),
        }
    }
}

/// A token that verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Its own id, by which it can be ended.
    pub id: String,
    /// Whom it speaks for.
    pub scope: Scope,
    /// When it was minted.
    pub issued_at: UnixMillis,
    /// When it runs out.
    pub expires_at: UnixMillis,
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    typ: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crit: Option<serde_json::Value>,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    /// `admin`, or the app's id.
    sub: String,
    jti: String,
    iat: i64,
    /// Milliseconds of `iat`: a session that is ended must not end the one minted right after it.
    #[serde(default)]
    ims: i64,
    exp: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cap: Option<Vec<Capability>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    flags: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sid: Option<String>,
    #[serde(default, skip_serializing_if = "is_plain")]
    look: Look,
}

fn is_plain(look: &Look) -> bool {
    *look == Look::default()
}

const ADMIN_SUBJECT: &str = "admin";

/// Mints and verifies the tokens of one namespace.
pub struct Tokens {
    keys: Vec<Zeroizing<[u8; KEY_BYTES]>>,
    namespace: String,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens")
            .field("keys", &self.keys.len())
            .field("namespace", &self.namespace)
            .finish()
    }
}

impl Tokens {
    /// Tokens of `namespace`, signed under the first of `main_secrets` and accepted under any of them.
    ///
    /// # Errors
    /// When there is no main secret.
    pub fn new(main_secrets: &[SecretString], namespace: &str) -> Result<Self, NoMainSecret> {
        if main_secrets.is_empty() {
            return Err(NoMainSecret);
        }
        let keys = main_secrets
            .iter()
            .map(|secret| derive_key::<KEY_BYTES>(secret, KEY_INFO))
            .collect();
        Ok(Self {
            keys,
            namespace: namespace.to_owned(),
        })
    }

    /// A new token for `scope`, valid from `now` for `lifetime`.
    pub fn mint(
        &self,
        scope: &Scope,
        now: UnixMillis,
        lifetime: Duration,
        rng: &mut (impl Rng + ?Sized),
    ) -> String {
        let mut id = [0; ID_BYTES];
        rng.fill_bytes(&mut id);
        let (sub, grant) = match scope {
            Scope::Admin => (ADMIN_SUBJECT.to_owned(), None),
            Scope::App(grant) => (grant.app.to_string(), Some(grant)),
        };
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: self.namespace.clone(),
            sub,
            jti: BASE64.encode(id),
            iat: now.seconds(),
            ims: now.0.rem_euclid(1_000),
            exp: now.plus(lifetime).seconds(),
            cap: grant.map(|grant| grant.capabilities.iter().collect()),
            flags: grant.and_then(|grant| grant.feature_flags.clone()),
            sid: grant.and_then(|grant| grant.session.clone()),
            look: grant.map(|grant| grant.look.clone()).unwrap_or_default(),
        };
        let header = Header {
            alg: "HS256".to_owned(),
            typ: Some("JWT".to_owned()),
            crit: None,
        };
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let signature = mac(&self.keys[0], signed.as_bytes()).finalize().into_bytes();
        format!("{signed}.{}", BASE64.encode(signature))
    }

    /// What `token` allows at `now`.
    ///
    /// # Errors
    /// When it is malformed, of another algorithm, signed by another key, made for another namespace, or expired.
    pub fn verify(&self, token: &str, now: UnixMillis) -> Result<Verified, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        let header: Header = decode(header)?;
        let fits = header.alg == "HS256"
            && header.crit.is_none()
            && header.typ.is_none_or(|typ| typ.eq_ignore_ascii_case("jwt"));
        if !fits || claims.contains('.') {
            return Err(TokenError::Malformed);
        }
        let signature = BASE64
            .decode(signature)
            .map_err(|_not_base64| TokenError::Malformed)?;
        let ours = self
            .keys
            .iter()
            .any(|key| mac(key, signed.as_bytes()).verify_slice(&signature).is_ok());
        if !ours {
            return Err(TokenError::Signature);
        }
        self.accept(decode(claims)?, now)
    }

    fn accept(&self, claims: Claims, now: UnixMillis) -> Result<Verified, TokenError> {
        if claims.iss != ISSUER || claims.aud != self.namespace {
            return Err(TokenError::Foreign);
        }
        if claims.exp <= now.seconds() {
            return Err(TokenError::Expired);
        }
        let scope = if claims.sub == ADMIN_SUBJECT {
            Scope::Admin
        } else {
            Scope::App(AppGrant {
                app: AppId::parse(&claims.sub).map_err(|_foreign_subject| TokenError::Malformed)?,
                capabilities: claims.cap.unwrap_or_default().into_iter().collect(),
                feature_flags: claims.flags,
                session: claims.sid,
                look: claims.look,
            })
        };
        let millis = |seconds: i64| seconds.saturating_mul(1_000);
        Ok(Verified {
            id: claims.jti,
            scope,
            issued_at: UnixMillis(millis(claims.iat).saturating_add(claims.ims.clamp(0, 999))),
            expires_at: UnixMillis(millis(claims.exp)),
        })
    }
}

/// A key for one use, derived from a main secret.
pub(crate) fn derive_key<const N: usize>(main_secret: &SecretString, info: &[u8]) -> Zeroizing<[u8; N]> {
    let mut key = Zeroizing::new([0; N]);
    Hkdf::<Sha256>::new(None, main_secret.expose_secret().as_bytes())
        .expand(info, key.as_mut_slice())
        .expect("a key is far shorter than what HKDF can make");
    key
}

fn mac(key: &[u8; KEY_BYTES], signed: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(signed);
    mac
}

fn encode(part: &impl Serialize) -> String {
    BASE64.encode(serde_json::to_vec(part).expect("strings and numbers serialise"))
}

fn decode<T: for<'a> Deserialize<'a>>(part: &str) -> Result<T, TokenError> {
    let json = BASE64.decode(part).map_err(|_not_base64| TokenError::Malformed)?;
    serde_json::from_slice(&json).map_err(|_not_claims| TokenError::Malformed)
}

#[cfg(test)]
mod tests;
