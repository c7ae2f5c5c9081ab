//! Endpoint URLs: everything that must be refused, what it is refused as, and the canonical form of what is taken.

use nuncio_egress::address::refusal;
use nuncio_egress::{EndpointUrl, OwnAddresses, UrlRules};
use proptest::prelude::*;

fn parse(text: &str) -> Result<String, (&'static str, String)> {
    parse_by(text, &UrlRules::default())
}

fn parse_by(text: &str, rules: &UrlRules) -> Result<String, (&'static str, String)> {
    EndpointUrl::parse(text, rules)
        .map(|url| url.as_str().to_owned())
        .map_err(|error| (error.kind(), error.to_string()))
}

fn refused_as(text: &str, kind: &str, naming: &str) {
    match parse(text) {
        Ok(url) => panic!("{text:?} was taken as {url}"),
        Err((found, message)) => {
            assert_eq!(found, kind, "{text:?}: {message}");
            assert!(
                message.contains(naming),
                "{text:?}: {message:?} does not name {naming:?}"
            );
        }
    }
}

#[test]
fn private_addresses_in_any_notation_are_refused_by_the_address_they_are() {
    for (url, address) in [
        ("http://127.1", "127.0.0.1"),
        ("http://127.0.0.1", "127.0.0.1"),
        ("http://0x7f.1", "127.0.0.1"),
        ("http://0177.0.0.1", "127.0.0.1"),
        ("http://2130706433", "127.0.0.1"),
        ("http://①②⑦.⓪.⓪.①", "127.0.0.1"),
        ("http://%31%32%37.0.0.1", "127.0.0.1"),
        ("http://127.0.0.1.", "127.0.0.1"),
        ("http://127。0。0。1", "127.0.0.1"),
        ("http://0", "0.0.0.0"),
        ("http://[::1]", "::1"),
        ("http://[::]", "::"),
        ("http://[::ffff:7f00:1]", "127.0.0.1"),
        ("http://[::127.0.0.1]", "127.0.0.1"),
        ("http://[64:ff9b::a00:1]", "10.0.0.1"),
        ("http://[2002:a00:1::]", "10.0.0.1"),
        ("http://[fd00:ec2::254]", "fd00:ec2::254"),
        ("http://169.254.169.254/latest/meta-data", "169.254.169.254"),
        ("http://0xA9FEA9FE", "169.254.169.254"),
        ("http://100.100.100.200", "100.100.100.200"),
        ("http://localhost.", "127.0.0.1"),
        ("https://LOCALHOST/", "127.0.0.1"),
        ("https://a.localhost:8443/", "127.0.0.1"),
        ("https://ip6-localhost/", "127.0.0.1"),
    ] {
        refused_as(url, "private_address", address);
    }
}

#[test]
fn other_schemes_and_none_are_refused_as_scheme() {
    for url in [
        "ftp://example.com/",
        "ftp:",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/",
        "javascript:alert(1)",
        "data:",
        "data:text/html,x",
        "//h",
        "/hook",
        "example.com",
        "localhost:8080/hook",
        "ws://example.com/",
        "https",
        "://example.com",
    ] {
        refused_as(url, "scheme", "`http://` or `https://`");
    }
}

#[test]
fn bytes_that_parsers_repair_in_silence_are_refused_as_syntax() {
    for (url, naming) in [
        ("", "empty"),
        ("http://example.com/\r\nX-Injected: 1", "line break"),
        ("http://example.com/\n", "line break"),
        ("http://exam\tple.com/", "tab"),
        ("http://example.com/\0", "NUL"),
        ("http://example.com/a b", "space"),
        (" http://example.com/", "space at byte 0"),
        ("http://example.com/ ", "space"),
        ("http://example.com/\u{a0}", "space"),
        ("http://example.com\\@127.0.0.1/", "backslash"),
        ("http:\\\\example.com", "backslash"),
        ("http://example.com/\u{7f}", "control"),
        ("http:h", "`//` is missing"),
        ("http:/h", "`//` is missing"),
        ("https:example.com", "`//` is missing"),
        ("http:", "`//` is missing"),
    ] {
        refused_as(url, "url_syntax", naming);
    }
}

#[test]
fn users_fragments_ports_and_hosts_are_named() {
    let long_label = format!("http://{}.example/", "a".repeat(64));
    let long_name = format!("http://{}example/", "abcdefg.".repeat(32));
    for (url, kind, naming) in [
        ("http://u:p@example.com/", "userinfo", "password"),
        ("http://u@example.com/", "userinfo", "user name"),
        ("http://@example.com/", "userinfo", "@"),
        ("http://example.com#@127.0.0.1/", "fragment", "#"),
        ("http://example.com/#", "fragment", "#"),
        ("http://example.com:99999/", "port", "65535"),
        ("http://example.com:0/", "port", "0"),
        ("http://example.com:x/", "port", "number"),
        ("http://example.com:22/", "port", "22"),
        ("http://example.com:25/", "port", "25"),
        ("http://example.com:6379/", "port", "6379"),
        ("http://example.com:5672/", "port", "5672"),
        ("http://h../", "host", "empty label"),
        ("http://.h/", "host", "empty label"),
        ("http://a..b/", "host", "empty label"),
        ("http://./", "host", "empty label"),
        ("http:///path", "host", "missing"),
        ("http://", "host", "missing"),
        ("http://:80/", "host", "missing"),
        ("http://?x", "host", "missing"),
        ("http://a!b/", "host", "character"),
        ("http://a,b/", "host", "character"),
        ("http://a|b/", "host", "character"),
        ("http://[::1/", "host", "IP address"),
        ("http://[fe80::1%25eth0]/", "host", "IP address"),
        ("http://1.2.3.4.5/", "host", "IP address"),
        ("http://256.1.1.1/", "host", "IP address"),
        (&long_label, "host", "63"),
        (&long_name, "host", "253"),
    ] {
        refused_as(url, kind, naming);
    }
}

#[test]
fn lengths_are_counted_in_bytes_before_and_after_encoding() {
    let of = |bytes: usize| format!("https://example.com/{}", "a".repeat(bytes - 20));
    assert!(parse(&of(2_048)).is_ok());
    refused_as(&of(2_049), "too_long", "2049");
    // The slash that stands for an empty path is added, not given: what was accepted without it stays readable.
    let bare = format!("https://example.com?{}", "a".repeat(2_048 - 20));
    let stored = parse(&bare).unwrap().as_str().to_owned();
    assert_eq!(stored.len(), 2_049);
    assert!(parse(&stored).is_ok());
    // Short as it is written, too long as it would be stored.
    refused_as(
        &format!("https://example.com/{}", "é".repeat(500)),
        "too_long",
        "3020",
    );
}

#[test]
fn what_is_taken_is_stored_in_canonical_form() {
    for (url, canonical) in [
        ("https://example.com", "https://example.com/"),
        ("HTTPS://EXAMPLE.com:443/Hook", "https://example.com/Hook"),
        (
            "http://example.com:80/?a=1&b=%0d%0a",
            "http://example.com/?a=1&b=%0d%0a",
        ),
        ("https://example.com:8443/a/../b", "https://example.com:8443/b"),
        ("https://example.com./x", "https://example.com./x"),
        ("https://my_host.example/ü", "https://my_host.example/%C3%BC"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https://аpple.example/", "https://xn--pple-43d.example/"),
        ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"),
        ("http://8.8.8.8:8080/", "http://8.8.8.8:8080/"),
        ("http://134744072/", "http://8.8.8.8/"),
        ("http://[2606:4700:0:0::1111]/", "http://[2606:4700::1111]/"),
        ("http://receiver:9000/hook", "http://receiver:9000/hook"),
        ("https://example.com/@user?x=@", "https://example.com/@user?x=@"),
        ("https://example.com/a%00b", "https://example.com/a%00b"),
    ] {
        assert_eq!(parse(url).as_deref(), Ok(canonical), "{url}");
    }
}

#[test]
fn https_only_refuses_http_and_nothing_else() {
    let rules = UrlRules {
        https_only: true,
        ..UrlRules::default()
    };
    assert_eq!(
        parse_by("http://example.com/", &rules).unwrap_err().0,
        "https_only"
    );
    assert!(parse_by("https://example.com/", &rules).is_ok());
}

#[test]
fn the_allow_list_opens_loopback_by_number_and_by_name() {
    let rules = UrlRules {
        allow: vec!["127.0.0.0/8".parse().unwrap()],
        ..UrlRules::default()
    };
    for url in [
        "http://127.0.0.1:3000/",
        "http://localhost:3000/",
        "http://[::ffff:127.0.0.1]:3000/",
    ] {
        assert!(parse_by(url, &rules).is_ok(), "{url}");
    }
    for url in ["http://10.0.0.1/", "http://[::1]:3000/"] {
        assert_eq!(parse_by(url, &rules).unwrap_err().0, "private_address", "{url}");
    }
    // The ports of brokers stay shut.
    assert_eq!(parse_by("http://127.0.0.1:6379/", &rules).unwrap_err().0, "port");
}

#[test]
fn own_services_are_refused_even_where_their_network_is_allowed() {
    let mut own = OwnAddresses::none();
    own.add_socket("127.0.0.1:18071".parse().unwrap());
    own.add_host("hooks.example.com", 443);
    let rules = UrlRules {
        allow: vec!["127.0.0.0/8".parse().unwrap()],
        own,
        https_only: false,
    };
    for url in [
        "http://127.0.0.1:18071/api",
        "http://localhost:18071/",
        "https://Hooks.Example.com/",
    ] {
        assert_eq!(parse_by(url, &rules).unwrap_err().0, "own_address", "{url}");
    }
    for url in ["http://127.0.0.1:18072/", "https://hooks.example.com:8443/"] {
        assert!(parse_by(url, &rules).is_ok(), "{url}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_parsing_panic_and_the_canonical_form_is_stable(
        text in "(https?:/{0,3})?[a-zA-Z0-9.\\[\\]:@#?/%\\\\ \t①-⑨é_-]{0,60}",
    ) {
        if let Ok(canonical) = parse(&text) {
            prop_assert_eq!(parse(&canonical), Ok(canonical.clone()));
            prop_assert!(canonical.is_ascii());
            let host = url::Url::parse(&canonical).expect("canonical").host().map(|host| host.to_owned());
            match host.expect("a host") {
                url::Host::Ipv4(ip) => prop_assert_eq!(refusal(ip.into(), &[]), None),
                url::Host::Ipv6(ip) => prop_assert_eq!(refusal(ip.into(), &[]), None),
                url::Host::Domain(name) => prop_assert!(!name.ends_with("localhost")),
            }
            prop_assert!(!canonical.contains(['#', ' ', '\t', '\\']));
        }
    }

    #[test]
    fn no_notation_of_a_private_address_is_taken(
        first in prop_oneof![Just(10_u32), Just(127), Just(0)], rest in 0..0x0100_0000_u32, notation in 0..6_usize,
    ) {
        let bits = first << 24 | rest;
        let [a, b, c, d] = bits.to_be_bytes();
        let host = match notation {
            0 => bits.to_string(),
            1 => format!("0x{bits:x}"),
            2 => format!("0{bits:o}"),
            3 => format!("{a}.{}", bits & 0x00ff_ffff),
            4 => format!("0{a:o}.0x{b:X}.{c}.{d}."),
            _ => format!("[::ffff:{a:x}{b:02x}:{c:x}{d:02x}]"),
        };
        let found = parse(&format!("http://{host}:8080/")).map_err(|(kind, _)| kind);
        prop_assert_eq!(found, Err("private_address"), "{}", host);
    }
}
