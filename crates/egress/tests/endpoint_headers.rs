//! Custom endpoint headers: what they may be, and what would let one request become another.

use nuncio_egress::{HeaderError, endpoint_header, endpoint_headers};
use proptest::prelude::*;

#[test]
fn ordinary_headers_are_taken_and_their_values_hidden_from_debug() {
    let map = endpoint_headers([
        ("Authorization", "Bearer s3cret"),
        ("X-Tenant", "a b\tc"),
        ("x-empty", ""),
    ])
    .expect("three good headers");
    assert_eq!(map.len(), 3);
    assert_eq!(map["authorization"], "Bearer s3cret");
    assert!(!format!("{map:?}").contains("s3cret"));
}

#[test]
fn names_that_belong_to_the_delivery_are_refused_in_any_case() {
    for name in [
        "Host",
        "connection",
        "Expect",
        "Content-Length",
        "content-type",
        "Content-Encoding",
        "Transfer-Encoding",
        "TE",
        "Trailer",
        "Upgrade",
        "Keep-Alive",
        "Proxy-Authorization",
        "proxy-connection",
        "webhook-signature",
        "Webhook-Id",
        "svix-id",
        "SVIX-anything",
        "x-amz-security-token",
        "x-amzn-trace-id",
        "x-svix-id",
        "Accept-Encoding",
        "User-Agent",
        "X-Forwarded-For",
        "traceparent",
    ] {
        let error = endpoint_header(name, "x").expect_err(name);
        assert_eq!(
            error,
            HeaderError::Reserved {
                name: name.to_ascii_lowercase()
            },
            "{name}"
        );
    }
}

#[test]
fn names_that_are_no_tokens_are_refused() {
    let long = "a".repeat(257);
    for name in [
        "", "é", "a b", "a:b", "a\r\nb", "a\0", "(x)", ":method", "x-ü", &long,
    ] {
        let error = endpoint_header(name, "x").expect_err(name);
        assert!(matches!(error, HeaderError::Name { .. }), "{name:?}: {error}");
        assert!(!error.to_string().contains(['\r', '\n', '\0']), "{error}");
    }
}

#[test]
fn values_that_could_end_a_header_are_refused_and_not_repeated() {
    for value in ["a\r\nb", "a\nb", "a\rb", "a\0b", "é", "\u{7f}", " a", "a ", "\ta"] {
        let error = endpoint_header("x-custom", value).expect_err(value);
        assert_eq!(
            error,
            HeaderError::Value {
                name: "x-custom".to_owned()
            },
            "{value:?}"
        );
    }
}

#[test]
fn values_end_at_4096_bytes_and_lists_at_64_headers() {
    assert!(endpoint_header("x-long", &"a".repeat(4_096)).is_ok());
    assert_eq!(
        endpoint_header("x-long", &"a".repeat(4_097)),
        Err(HeaderError::TooLong {
            name: "x-long".to_owned(),
            bytes: 4_097
        })
    );
    let names: Vec<String> = (0..65).map(|n| format!("x-{n}")).collect();
    let of = |count: usize| endpoint_headers(names[..count].iter().map(|name| (name.as_str(), "v")));
    assert_eq!(of(64).expect("as many as there may be").len(), 64);
    assert_eq!(of(65), Err(vec![HeaderError::TooMany(65)]));
}

#[test]
fn all_mistakes_come_at_once_and_duplicates_are_found_across_cases() {
    let errors = endpoint_headers([("X-A", "1"), ("x-a", "2"), ("host", "h"), ("x-b", "\n")]).unwrap_err();
    let names: Vec<_> = errors.iter().map(HeaderError::name).collect();
    assert_eq!(names, [Some("x-a"), Some("host"), Some("x-b")]);
    assert!(matches!(errors[0], HeaderError::Duplicate { .. }));
}

proptest! {
    #[test]
    fn whatever_is_taken_has_no_control_character_but_tab(name in ".{0,20}", value in "(?s).{0,40}") {
        if let Ok((name, value)) = endpoint_header(&name, &value) {
            prop_assert!(name.as_str().bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert!(value.as_bytes().iter().all(|byte| (0x20..0x7f).contains(byte) || *byte == b'\t'));
        }
    }
}
