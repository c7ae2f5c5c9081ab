//! Addresses: each special range at its edges, every disguise of an IPv4 address, and the allow list.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use nuncio_egress::address::refusal;
use proptest::prelude::*;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts
        .iter()
        .map(|text| text.parse().expect("a network"))
        .collect()
}

#[test]
fn ranges_end_where_the_registries_say() {
    // First and last address refused, and their public neighbours; a neighbour in another special range is left out.
    let table: &[(&str, &str, Option<&str>, Option<&str>)] = &[
        ("0.0.0.0", "0.255.255.255", None, Some("1.0.0.0")),
        (
            "10.0.0.0",
            "10.255.255.255",
            Some("9.255.255.255"),
            Some("11.0.0.0"),
        ),
        (
            "100.64.0.0",
            "100.127.255.255",
            Some("100.63.255.255"),
            Some("100.128.0.0"),
        ),
        (
            "127.0.0.0",
            "127.255.255.255",
            Some("126.255.255.255"),
            Some("128.0.0.0"),
        ),
        (
            "168.63.129.16",
            "168.63.129.16",
            Some("168.63.129.15"),
            Some("168.63.129.17"),
        ),
        (
            "169.254.0.0",
            "169.254.255.255",
            Some("169.253.255.255"),
            Some("169.255.0.0"),
        ),
        (
            "172.16.0.0",
            "172.31.255.255",
            Some("172.15.255.255"),
            Some("172.32.0.0"),
        ),
        (
            "192.0.0.0",
            "192.0.0.255",
            Some("191.255.255.255"),
            Some("192.0.1.0"),
        ),
        ("192.0.2.0", "192.0.2.255", Some("192.0.1.255"), Some("192.0.3.0")),
        (
            "192.31.196.0",
            "192.31.196.255",
            Some("192.31.195.255"),
            Some("192.31.197.0"),
        ),
        (
            "192.52.193.0",
            "192.52.193.255",
            Some("192.52.192.255"),
            Some("192.52.194.0"),
        ),
        (
            "192.88.99.0",
            "192.88.99.255",
            Some("192.88.98.255"),
            Some("192.88.100.0"),
        ),
        (
            "192.168.0.0",
            "192.168.255.255",
            Some("192.167.255.255"),
            Some("192.169.0.0"),
        ),
        (
            "192.175.48.0",
            "192.175.48.255",
            Some("192.175.47.255"),
            Some("192.175.49.0"),
        ),
        (
            "198.18.0.0",
            "198.19.255.255",
            Some("198.17.255.255"),
            Some("198.20.0.0"),
        ),
        (
            "198.51.100.0",
            "198.51.100.255",
            Some("198.51.99.255"),
            Some("198.51.101.0"),
        ),
        (
            "203.0.113.0",
            "203.0.113.255",
            Some("203.0.112.255"),
            Some("203.0.114.0"),
        ),
        ("224.0.0.0", "255.255.255.255", Some("223.255.255.255"), None),
        ("::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None, None),
        (
            "2001::",
            "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
            Some("2000:ffff::1"),
            Some("2001:200::"),
        ),
        (
            "2001:db8::",
            "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
            Some("2001:db7::"),
            Some("2001:db9::"),
        ),
        (
            "2002::",
            "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            Some("2001:ffff::"),
            Some("2003::"),
        ),
        (
            "2620:4f:8000::",
            "2620:4f:8000:ffff:ffff:ffff:ffff:ffff",
            Some("2620:4f:7fff::"),
            Some("2620:4f:8001::"),
        ),
        (
            "3ffe::",
            "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            Some("3ffd::"),
            None,
        ),
        (
            "3fff::",
            "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
            None,
            Some("3fff:1000::"),
        ),
        (
            "4000::",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            Some("3fff:ffff::"),
            None,
        ),
    ];
    for (first, last, before, after) in table {
        for refused in [first, last] {
            // The whole of `::/3` holds IPv4-mapped addresses too, which are judged as IPv4; its edges are not mapped.
            assert!(refusal(ip(refused), &[]).is_some(), "{refused} must be refused");
        }
        for public in [before, after].into_iter().flatten() {
            assert_eq!(refusal(ip(public), &[]), None, "{public} is public");
        }
    }
}

#[test]
fn disguises_that_other_tables_let_pass_are_refused() {
    let table = [
        ("::127.0.0.1", Some("127.0.0.1")),
        ("::ffff:0:127.0.0.1", Some("127.0.0.1")),
        ("64:ff9b::10.0.0.1", Some("10.0.0.1")),
        ("64:ff9b::8.8.8.8", Some("8.8.8.8")),
        ("64:ff9b:1::10.0.0.1", Some("10.0.0.1")),
        ("2002:a00:1::", Some("10.0.0.1")),
        ("2002:808:808::1", Some("8.8.8.8")),
        ("2001:0:4136:e378:8000:63bf:f5ff:fffe", Some("10.0.0.1")),
        ("2600::5efe:10.0.0.1", Some("10.0.0.1")),
        ("2600::200:5efe:127.0.0.1", Some("127.0.0.1")),
        ("fec0::1", None),
        ("fe80::1", None),
        ("fd00:ec2::254", None),
        ("fd20:ce::254", None),
        ("ff02::1", None),
        ("100::1", None),
        ("5f00::1", None),
        ("::1", None),
        ("::", None),
    ];
    for (text, leads_to) in table {
        let refused = refusal(ip(text), &[]).unwrap_or_else(|| panic!("{text} must be refused"));
        assert_eq!(refused.address, ip(text));
        assert_eq!(
            refused.leads_to.map(|v4| v4.to_string()).as_deref(),
            leads_to,
            "{text}"
        );
    }
}

#[test]
fn mapped_addresses_are_judged_and_named_as_the_ipv4_address_they_are() {
    let refused = refusal(ip("::ffff:7f00:1"), &[]).expect("loopback");
    assert_eq!(refused.address, ip("127.0.0.1"));
    assert_eq!(
        refused.to_string(),
        "127.0.0.1 is not a public address (loopback)"
    );
    assert_eq!(refusal(ip("::ffff:8.8.8.8"), &[]), None);
}

#[test]
fn metadata_services_of_clouds_are_refused() {
    for text in [
        "169.254.169.254",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
    ] {
        assert!(refusal(ip(text), &[]).is_some(), "{text}");
    }
}

#[test]
fn public_addresses_pass() {
    for text in [
        "8.8.8.8",
        "93.184.215.14",
        "2606:2800:21f:cb07:6820:80da:af6b:8b2c",
        "2a00:1450:4001:830::200e",
    ] {
        assert_eq!(refusal(ip(text), &[]), None, "{text}");
    }
}

#[test]
fn the_allow_list_opens_its_networks_and_nothing_else() {
    let allow = nets(&["127.0.0.0/8", "fd00::/8"]);
    for text in ["127.0.0.1", "127.255.0.1", "::ffff:127.0.0.1", "fd12::1"] {
        assert_eq!(refusal(ip(text), &allow), None, "{text}");
    }
    for text in ["10.0.0.1", "::1", "::127.0.0.1", "fc00::1", "2002:7f00:1::"] {
        assert!(refusal(ip(text), &allow).is_some(), "{text}");
    }
}

#[test]
fn an_allowed_nat64_prefix_still_guards_the_private_addresses_behind_it() {
    let allow = nets(&["64:ff9b::/96"]);
    assert_eq!(refusal(ip("64:ff9b::8.8.8.8"), &allow), None);
    let refused = refusal(ip("64:ff9b::169.254.169.254"), &allow).expect("metadata");
    assert_eq!(refused.range, "link-local");
    let both = nets(&["64:ff9b::/96", "10.0.0.0/8"]);
    assert_eq!(refusal(ip("64:ff9b::10.0.0.1"), &both), None);
}

proptest! {
    #[test]
    fn ipv4_is_never_laxer_than_the_standard_library(bits in any::<u32>()) {
        let v4 = Ipv4Addr::from_bits(bits);
        let std_refuses = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_broadcast()
            || v4.is_documentation() || v4.is_multicast() || v4.is_unspecified();
        prop_assert!(!std_refuses || refusal(IpAddr::V4(v4), &[]).is_some());
        // The same address, mapped, is judged the same.
        prop_assert_eq!(
            refusal(IpAddr::V4(v4), &[]),
            refusal(IpAddr::V6(v4.to_ipv6_mapped()), &[])
        );
    }

    #[test]
    fn ipv6_passes_only_inside_global_unicast(bits in any::<u128>()) {
        let v6 = Ipv6Addr::from_bits(bits);
        prop_assume!(v6.to_ipv4_mapped().is_none());
        let global = v6.segments()[0] & 0xe000 == 0x2000;
        prop_assert!(global || refusal(IpAddr::V6(v6), &[]).is_some());
    }

    #[test]
    fn allowing_everything_allows_every_address_that_carries_no_other(bits in any::<u128>()) {
        let everything = nets(&["0.0.0.0/0", "::/0"]);
        prop_assert_eq!(refusal(IpAddr::V6(Ipv6Addr::from_bits(bits)), &everything), None);
        let v4 = Ipv4Addr::from_bits(u32::try_from(bits >> 96).expect("32 bits"));
        prop_assert_eq!(refusal(IpAddr::V4(v4), &everything), None);
    }
}
