//! Properties of what is taken as an endpoint's URL: over any text at all, and over texts made of the pieces from which
//! confusing URLs are made. The oracle is written apart from the code under test: it reads hosts as `inet_aton` and the
//! C library's resolver do, and knows the private networks by a list of its own.
//!
//! 20,000 cases each; `NUNCIO_FUZZ_CASES=1000000` (`make fuzz`) for more.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use nuncio_domain::UnixMillis;
use nuncio_egress::{EndpointUrl, UrlRules, address, retry_after};
use proptest::prelude::*;
use proptest::sample::select;
use url::{Host, Url};

fn cases() -> u32 {
    let named = std::env::var("NUNCIO_FUZZ_CASES").ok();
    named.map_or(20_000, |text| text.parse().expect("a number of cases"))
}

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: cases(),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Networks in which no customer's server can be.
const PRIVATE: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/3",
    "::/16",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "100::/8",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
];

fn is_private(ip: IpAddr) -> bool {
    PRIVATE
        .iter()
        .map(|text| text.parse::<IpNet>().expect("a network"))
        .any(|net| net.contains(&ip))
}

/// What `inet_aton` makes of a text: one to four numbers, each decimal, octal or hexadecimal.
fn inet_aton(text: &str) -> Option<Ipv4Addr> {
    let numbers: Vec<u32> = text.split('.').map(c_number).collect::<Option<_>>()?;
    let (last, first) = numbers.split_last()?;
    if first.len() > 3 || first.iter().any(|number| *number > 255) {
        return None;
    }
    let room = 8 * (4 - u32::try_from(first.len()).ok()?);
    if room < 32 && *last >= 1 << room {
        return None;
    }
    let high = first
        .iter()
        .enumerate()
        .map(|(nth, number)| number << (24 - 8 * nth));
    Some(Ipv4Addr::from_bits(high.sum::<u32>() | last))
}

fn c_number(text: &str) -> Option<u32> {
    let (digits, radix) = match text.as_bytes() {
        [] => return None,
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', _, ..] => (&text[1..], 8),
        _ => (text, 10),
    };
    let plain = digits.bytes().all(|byte| byte.is_ascii_alphanumeric());
    plain.then(|| u32::from_str_radix(digits, radix).ok()).flatten()
}

/// Why a URL that was taken must not have been.
fn fault(taken: &EndpointUrl) -> Option<String> {
    let again = Url::parse(taken.as_str()).ok()?;
    let uri: http::Uri = match taken.as_str().parse() {
        Ok(uri) => uri,
        Err(error) => return Some(format!("no URI for the HTTP client: {error}")),
    };
    let dialled = uri
        .host()
        .unwrap_or_default()
        .trim_start_matches('[')
        .trim_end_matches(']');
    match again.host()? {
        Host::Ipv4(ip) if is_private(ip.into()) => return Some(format!("{ip} is private")),
        Host::Ipv6(ip) if is_private(IpAddr::V6(ip).to_canonical()) => {
            return Some(format!("{ip} is private"));
        }
        Host::Domain(name) => {
            let name = name.trim_end_matches('.');
            if name == "localhost" || name.ends_with(".localhost") {
                return Some("localhost".to_owned());
            }
            if let Some(ip) = inet_aton(name) {
                return Some(format!("the C library takes {name} for {ip}"));
            }
        }
        Host::Ipv4(_) | Host::Ipv6(_) => {}
    }
    let same = again
        .host_str()
        .map(|host| host.trim_start_matches('[').trim_end_matches(']'));
    (same != Some(dialled)).then(|| format!("judged {same:?}, would dial {dialled:?}"))
}

fn judge(text: &str) -> Result<(), TestCaseError> {
    if let Ok(taken) = EndpointUrl::parse(text, &UrlRules::default()) {
        prop_assert_eq!(fault(&taken), None, "{} was taken as {}", text, taken);
        let again = EndpointUrl::parse(taken.as_str(), &UrlRules::default());
        prop_assert_eq!(
            again.as_ref(),
            Ok(&taken),
            "the canonical form of {} is its own",
            text
        );
        let url = taken.as_url();
        prop_assert!(url.username().is_empty() && url.password().is_none() && url.fragment().is_none());
        prop_assert!(matches!(url.scheme(), "http" | "https"));
    }
    Ok(())
}

/// One number in one of the notations that readers of addresses disagree about.
fn number(most: u32) -> impl Strategy<Value = String> {
    (0..=most, 0..6_u8).prop_map(|(number, notation)| match notation {
        0 => format!("{number:#x}"),
        1 => format!("0{number:o}"),
        2 => format!("{number:#X}").replace("0X", "0x"),
        3 => format!("%3{}", number % 10),
        4 => number
            .to_string()
            .chars()
            .map(|digit| char::from_u32(0xff10 - 0x30 + digit as u32).unwrap_or(digit))
            .collect(),
        _ => number.to_string(),
    })
}

/// Hosts that are addresses in disguise, or nearly.
fn host() -> impl Strategy<Value = String> {
    let dotted = prop::collection::vec(number(300), 1..5).prop_map(|numbers| numbers.join("."));
    let private = select(PRIVATE).prop_flat_map(|net| {
        let net: IpNet = net.parse().expect("a network");
        any::<u128>().prop_map(move |bits| match net {
            IpNet::V4(net) => {
                let host = u32::try_from(bits & u128::from(net.hostmask().to_bits())).unwrap_or(0);
                Ipv4Addr::from_bits(net.network().to_bits() | host).to_string()
            }
            IpNet::V6(net) => {
                let host = bits & net.hostmask().to_bits();
                format!(
                    "[{}]",
                    std::net::Ipv6Addr::from_bits(net.network().to_bits() | host)
                )
            }
        })
    });
    let mapped = any::<u32>().prop_map(|bits| format!("[::ffff:{}]", Ipv4Addr::from_bits(bits)));
    let whole = number(u32::MAX);
    let names = select(vec![
        "localhost",
        "LOCALHOST.",
        "a.localhost",
        "ex\u{e4}mple.com",
        "example.com",
        "example.com.",
        "1e100.net",
        "0x7f.1.example",
        "127.0.0.1.nip.io",
        "\u{24db}ocalhost",
        "loc\u{ad}alhost",
        "127\u{3002}0\u{ff0e}0.1",
        "[::1%25lo]",
        "[v1.x]",
        "",
    ])
    .prop_map(str::to_owned);
    prop_oneof![4 => dotted, 4 => private, 1 => mapped, 2 => whole, 3 => names]
}

/// URLs put together from pieces that mean one thing to one reader and another to the next.
fn confusing() -> impl Strategy<Value = String> {
    let scheme = select(vec![
        "http://",
        "https://",
        "HTTP://",
        "http:/",
        "http:",
        "http:\\\\",
        "//",
        "ftp://",
        " http://",
        "http:///",
    ]);
    let before = select(vec![
        "",
        "",
        "",
        "user@",
        "u:p@",
        "example.com@",
        "example.com:80@",
        "example.com#@",
        "example.com\\@",
        "\t",
        "%00",
    ]);
    let after = select(vec![
        "",
        "",
        "",
        ".",
        ":80",
        ":8443",
        ":0",
        ":99999",
        ":6379",
        "#@example.com",
        "?@example.com",
        "\\",
        "%2e",
        "%20",
        "\r\n",
        "/",
    ]);
    let path = select(vec![
        "", "/", "/hook", "/..//", "/?a=1", "/\u{e9}", "/%0d%0a", "/#f",
    ]);
    (scheme, before, host(), after, path)
        .prop_map(|(scheme, before, host, after, path)| format!("{scheme}{before}{host}{after}{path}"))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_confusing_url_leads_to_a_private_address(text in confusing()) {
        judge(&text)?;
    }

    #[test]
    fn no_text_at_all_makes_the_reader_panic_or_leads_inside(text in "(https?://)?\\PC{0,60}") {
        judge(&text)?;
    }

    #[test]
    fn every_address_is_judged_as_the_list_of_private_networks_judges_it(bits in any::<u128>(), four in any::<bool>(), net in select(PRIVATE)) {
        let ip = if four { IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(bits >> 96).unwrap_or(0))) } else { IpAddr::V6(bits.into()) };
        if is_private(ip.to_canonical()) {
            prop_assert!(address::refusal(ip, &[]).is_some(), "{} is private", ip);
        }
        let net: IpNet = net.parse().expect("a network");
        prop_assert!(address::refusal(net.network(), &[]).is_some());
        prop_assert!(address::refusal(net.broadcast(), &[]).is_some());
    }

    #[test]
    fn no_retry_after_makes_the_reader_panic_or_wait_for_more_than_a_day(status in 100..600_u16, value in prop::collection::vec(any::<u8>(), 0..40), now in any::<i32>()) {
        let now = UnixMillis(i64::from(now) * 1_000);
        if let Some(wait) = retry_after(status, Some(&value), now) {
            prop_assert!(wait <= nuncio_egress::RETRY_AFTER_MAX);
            prop_assert!([429, 502, 503, 504].contains(&status));
        }
    }
}

#[test]
fn the_oracle_reads_addresses_as_the_c_library_does() {
    for (text, expected) in [
        ("127.1", Some("127.0.0.1")),
        ("0x7f.1", Some("127.0.0.1")),
        ("0177.0.0.1", Some("127.0.0.1")),
        ("2130706433", Some("127.0.0.1")),
        ("10.1.256", Some("10.1.1.0")),
        ("256.1.1.1", None),
        ("1.2.3.4.5", None),
        ("1e100.net", None),
        ("08", None),
    ] {
        assert_eq!(
            inet_aton(text).map(|ip| ip.to_string()).as_deref(),
            expected,
            "{text}"
        );
    }
}
