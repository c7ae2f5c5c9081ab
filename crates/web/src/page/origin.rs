//! Where a request comes from.
//!
//! Guarantees that a change asked for by another site's page is refused, before its session is looked at.

use http::{HeaderMap, header};
use url::Url;

/// Scheme and authority of a URL, as browsers write origins.
pub(crate) fn of(public_url: &str) -> String {
    Url::parse(public_url).map_or_else(|_no_url| String::new(), |url| url.origin().ascii_serialization())
}

/// Whether a page of ours asks. `Sec-Fetch-Site` decides where there is one. Then `Origin`: the public one, or that of
/// the address the browser used. A page under `no-referrer` posts its forms with the origin `null`: `or_null` accepts
/// that, where the form's own token is checked as well.
pub(crate) fn is_ours(headers: &HeaderMap, public: &str, or_null: bool) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return site == "same-origin";
    }
    match text(header::ORIGIN.as_str()) {
        None => or_null,
        Some("null") => or_null,
        Some(origin) if origin == public => true,
        Some(origin) => {
            let host = text(header::HOST.as_str());
            let authority = origin.split_once("://").map(|(_, authority)| authority);
            host.is_some() && host == authority
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn a_form_on_another_site_is_refused() {
        let public = of("https://hooks.example.com/base/");
        assert_eq!(public, "https://hooks.example.com");
        type Pairs = &'static [(&'static str, &'static str)];
        let cases: [(Pairs, bool, bool); 9] = [
            (&[("sec-fetch-site", "same-origin")], false, true),
            (&[("sec-fetch-site", "same-site")], true, false),
            (
                &[
                    ("sec-fetch-site", "cross-site"),
                    ("origin", "https://hooks.example.com"),
                ],
                true,
                false,
            ),
            (&[("sec-fetch-site", "none")], true, false),
            (&[("origin", "https://hooks.example.com")], false, true),
            (
                &[("origin", "https://evil.example"), ("host", "hooks.example.com")],
                true,
                false,
            ),
            (
                &[("origin", "http://127.0.0.1:8071"), ("host", "127.0.0.1:8071")],
                false,
                true,
            ),
            (&[("origin", "null")], true, true),
            (&[("origin", "null")], false, false),
        ];
        for (pairs, or_null, ours) in cases {
            assert_eq!(is_ours(&headers(pairs), &public, or_null), ours, "{pairs:?}");
        }
    }
}
