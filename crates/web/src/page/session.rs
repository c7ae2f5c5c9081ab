//! Sessions: what a browser holds after a link was opened or an operator signed in.
//!
//! Owns two cookies, each with a token of its own that no API route accepts, and the token that every form carries.
//! Guarantees that scripts cannot read the cookies, that over HTTPS no other host can set them, and that a form is good
//! in the session that it was made for alone.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderValue, header};
use rand::Rng;
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::shell::Place;
use crate::NoMainSecret;
use crate::token::{Tokens, derive_key};

const KEY_INFO: &[u8] = b"nuncio form v1";
const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 32;

/// How long an operator stays signed in.
pub(crate) const CONSOLE_LIFETIME: Duration = Duration::from_secs(12 * 3_600);

/// Makes and reads sessions.
pub(crate) struct Sessions {
    portal: Tokens,
    console: Tokens,
    keys: Vec<Zeroizing<[u8; KEY_BYTES]>>,
    secure: bool,
    framed: bool,
}

impl Sessions {
    /// Sessions of one namespace; `secure` where the public URL is HTTPS, `framed` where other sites may show the portal.
    pub(crate) fn new(
        main_secrets: &[SecretString],
        namespace: &str,
        secure: bool,
        framed: bool,
    ) -> Result<Self, NoMainSecret> {
        let tokens = |kind: &str| {
            Tokens::new(main_secrets, &format!("{namespace} {kind} session"))
                .map_err(|_no_secret| NoMainSecret)
        };
        let keys = main_secrets.iter().map(|secret| derive_key(secret, KEY_INFO));
        Ok(Self {
            portal: tokens("portal")?,
            console: tokens("console")?,
            keys: keys.collect(),
            secure,
            framed,
        })
    }

    /// The tokens that are in a place's cookies.
    pub(crate) fn tokens(&self, place: Place) -> &Tokens {
        match place {
            Place::Portal => &self.portal,
            Place::Console => &self.console,
        }
    }

    fn name(&self, place: Place) -> String {
        let prefix = if self.secure { "__Host-" } else { "" };
        let place = match place {
            Place::Portal => "portal",
            Place::Console => "console",
        };
        format!("{prefix}nuncio-{place}")
    }

    /// The cookie that holds `token` for `lifetime`; without a token, the one that takes it away.
    pub(crate) fn cookie(&self, place: Place, token: Option<&str>, lifetime: Duration) -> HeaderValue {
        let name = self.name(place);
        let seconds = token.map_or(0, |_token| lifetime.as_secs());
        // Another site's frame sends no cookie that is not marked for that; only over HTTPS can it be.
        let site = match (place, self.secure, self.framed) {
            (Place::Console, _, _) => "; SameSite=Strict",
            (Place::Portal, true, true) => "; SameSite=None; Partitioned",
            (Place::Portal, _, _) => "; SameSite=Lax",
        };
        let secure = if self.secure { "; Secure" } else { "" };
        let token = token.unwrap_or_default();
        let text = format!("{name}={token}; Path=/; Max-Age={seconds}; HttpOnly{secure}{site}");
        let mut value = HeaderValue::from_str(&text).expect("tokens are base64 and dots");
        value.set_sensitive(true);
        value
    }

    /// The token in a request's cookie.
    pub(crate) fn token<'a>(&self, place: Place, headers: &'a HeaderMap) -> Option<&'a str> {
        let name = self.name(place);
        headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| text.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(known, _)| *known == name)
            .map(|(_, token)| token)
            .filter(|token| !token.is_empty())
    }

    /// What forms of the session with that id carry: another text each time, so that how well a page compresses tells
    /// nothing about it (<https://www.breachattack.com>).
    pub(crate) fn form_token(&self, session: &str, rng: &mut (impl Rng + ?Sized)) -> String {
        let mut mask = [0; TAG_BYTES];
        rng.fill_bytes(&mut mask);
        let masked = masked(&tag(&self.keys[0], session), &mask);
        BASE64.encode([mask, masked].concat())
    }

    /// Whether `given` was made for the session with that id.
    pub(crate) fn is_form_token(&self, session: &str, given: &str) -> bool {
        let Ok(given) = BASE64.decode(given) else {
            return false;
        };
        let Some((mask, given)) = given.split_first_chunk::<TAG_BYTES>() else {
            return false;
        };
        self.keys
            .iter()
            .any(|key| bool::from(masked(&tag(key, session), mask).as_slice().ct_eq(given)))
    }
}

fn tag(key: &[u8; KEY_BYTES], session: &str) -> [u8; TAG_BYTES] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(session.as_bytes());
    mac.finalize().into_bytes().into()
}

fn masked(tag: &[u8; TAG_BYTES], mask: &[u8; TAG_BYTES]) -> [u8; TAG_BYTES] {
    std::array::from_fn(|at| tag[at] ^ mask[at])
}

#[cfg(test)]
mod tests {
    use nuncio_domain::{AppId, UnixMillis};

    use super::*;
    use crate::token::{AppGrant, Scope};

    fn sessions(secure: bool, framed: bool) -> Sessions {
        Sessions::new(&["0123456789abcdef".repeat(2).into()], "ns", secure, framed).unwrap()
    }

    fn text(value: &HeaderValue) -> String {
        value.to_str().unwrap().to_owned()
    }

    #[test]
    fn cookies_are_out_of_reach_of_scripts_and_of_other_hosts() {
        let hour = Duration::from_secs(3_600);
        assert_eq!(
            text(&sessions(true, false).cookie(Place::Portal, Some("t"), hour)),
            "__Host-nuncio-portal=t; Path=/; Max-Age=3600; HttpOnly; Secure; SameSite=Lax"
        );
        assert_eq!(
            text(&sessions(true, true).cookie(Place::Portal, Some("t"), hour)),
            "__Host-nuncio-portal=t; Path=/; Max-Age=3600; HttpOnly; Secure; SameSite=None; Partitioned"
        );
        assert_eq!(
            text(&sessions(false, false).cookie(Place::Console, Some("t"), hour)),
            "nuncio-console=t; Path=/; Max-Age=3600; HttpOnly; SameSite=Strict"
        );
        assert!(
            text(&sessions(false, false).cookie(Place::Portal, None, hour)).contains("=; Path=/; Max-Age=0;")
        );
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let sessions = sessions(false, false);
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("a=b; nuncio-portalx=no"));
        assert_eq!(sessions.token(Place::Portal, &headers), None);
        headers.append(
            header::COOKIE,
            HeaderValue::from_static("c=d; nuncio-portal=x.y.z"),
        );
        assert_eq!(sessions.token(Place::Portal, &headers), Some("x.y.z"));
        assert_eq!(sessions.token(Place::Console, &headers), None);
    }

    #[test]
    fn a_form_is_good_in_its_own_session_alone() {
        let sessions = sessions(true, false);
        let token = sessions.form_token("one", &mut rand::rng());
        assert!(sessions.is_form_token("one", &token));
        let again = sessions.form_token("one", &mut rand::rng());
        assert!(sessions.is_form_token("one", &again) && again != token);
        for (session, given) in [
            ("two", token.as_str()),
            ("one", ""),
            ("one", "x"),
            ("one", &token[1..]),
        ] {
            assert!(!sessions.is_form_token(session, given), "{session} {given}");
        }
    }

    #[test]
    fn a_session_is_no_api_token_and_no_session_elsewhere() {
        let sessions = sessions(true, false);
        let grant = AppGrant::full(AppId::parse("app_1").unwrap());
        let now = UnixMillis(1_000);
        let token = sessions
            .portal
            .mint(&Scope::App(grant), now, CONSOLE_LIFETIME, &mut rand::rng());
        assert!(sessions.portal.verify(&token, now).is_ok());
        assert!(sessions.console.verify(&token, now).is_err());
        let api = Tokens::new(&["0123456789abcdef".repeat(2).into()], "ns").unwrap();
        assert!(api.verify(&token, now).is_err());
        assert!(
            sessions
                .portal
                .verify(&token, now.plus(CONSOLE_LIFETIME + Duration::from_secs(2)))
                .is_err()
        );
    }
}
