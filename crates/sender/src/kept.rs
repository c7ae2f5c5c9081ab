//! Which of a response's headers are kept with the attempt.
//!
//! Guarantees a bound in number and bytes, and that no cookie is among them. Leaves out what says nothing about the
//! answer, so that the record of an ordinary success stays short.

use http::{HeaderMap, HeaderName, header};

/// Headers of one attempt that are kept, at most.
const HEADERS_MAX: usize = 32;
/// Bytes of one value that are kept.
const VALUE_BYTES_MAX: usize = 512;
/// Bytes of all names and values together.
const BYTES_MAX: usize = 4 * 1024;

/// About the connection, the moment or the length, or secret.
const LEFT_OUT: [HeaderName; 12] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::DATE,
    header::PROXY_AUTHENTICATE,
    header::SET_COOKIE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::VARY,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("alt-svc"),
];

/// The headers to keep, in the order in which they came.
pub(crate) fn kept(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut kept = Vec::new();
    let mut bytes = 0;
    let told = headers.iter().filter(|(name, _)| !LEFT_OUT.contains(name));
    for (name, value) in told.take(HEADERS_MAX) {
        let value = value.as_bytes();
        let value = String::from_utf8_lossy(&value[..value.len().min(VALUE_BYTES_MAX)]).into_owned();
        bytes += name.as_str().len() + value.len();
        if bytes > BYTES_MAX {
            break;
        }
        kept.push((name.as_str().to_owned(), value));
    }
    kept
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn map(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect()
    }

    #[test]
    fn what_says_something_about_the_answer_is_kept() {
        let headers = map(&[
            ("content-type", "text/html"),
            ("date", "Mon, 01 Jan 2024 00:00:00 GMT"),
            ("content-length", "4"),
            ("set-cookie", "session=secret"),
            ("x-request-id", "req-42"),
        ]);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            kept(&headers),
            [pair("content-type", "text/html"), pair("x-request-id", "req-42")]
        );
    }

    #[test]
    fn the_commonest_answer_leaves_nothing() {
        assert!(kept(&map(&[("date", "now"), ("content-length", "0")])).is_empty());
    }

    #[test]
    fn however_much_comes_little_is_kept() {
        let mut headers = HeaderMap::new();
        for _ in 0..200 {
            headers.append("x-long", HeaderValue::from_str(&"v".repeat(10_000)).unwrap());
            headers.append("x-short", HeaderValue::from_bytes(b"\xff").unwrap());
        }
        let kept = kept(&headers);
        let bytes: usize = kept.iter().map(|(name, value)| name.len() + value.len()).sum();
        assert!(!kept.is_empty() && kept.len() <= HEADERS_MAX && bytes <= BYTES_MAX);
        assert!(kept.iter().all(|(_, value)| value.len() <= VALUE_BYTES_MAX));
    }
}
