//! Checks that several things that people write have in common: names, uids, texts, metadata, rates.
//!
//! Guarantees that a complaint names the field as the caller wrote it and says what would be right.

use std::collections::{BTreeMap, BTreeSet};

use nuncio_domain::Uid;
use nuncio_domain::limits::DESCRIPTION_BYTES_MAX;

use super::refusal::Complaints;

/// Bytes of all keys and values of one thing's metadata together.
pub(crate) const METADATA_BYTES_MAX: usize = 4_096;
/// The highest rate that can be set, in messages a second.
pub(crate) const THROTTLE_RATE_MAX: u64 = u16::MAX as u64;

/// Event types that one endpoint may filter on.
pub(crate) const FILTER_TYPES_MAX: usize = 1_000;

const VALUE: &str = "value_error";

/// A uid that cannot be mistaken for an id: one that does not begin with `id_prefix`.
pub(crate) fn uid(
    complaints: &mut Complaints,
    field: &str,
    text: Option<&str>,
    id_prefix: &str,
) -> Option<Uid> {
    let text = text?;
    if text.starts_with(id_prefix) {
        complaints.add(
            field,
            VALUE,
            format_args!("must not start with `{id_prefix}`: ids made here do"),
        );
        return None;
    }
    complaints.keep(field, VALUE, text.parse())
}

/// A text for people, up to 1 KiB, without control characters but line breaks and tabs.
pub(crate) fn text(complaints: &mut Complaints, field: &str, text: &str, may_be_empty: bool) {
    if text.is_empty() && !may_be_empty {
        complaints.add(field, VALUE, "must have at least one character");
    }
    if text.len() > DESCRIPTION_BYTES_MAX {
        complaints.add(
            field,
            VALUE,
            format_args!("has {} bytes, the most is {DESCRIPTION_BYTES_MAX}", text.len()),
        );
    }
    if text
        .chars()
        .any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
    {
        complaints.add(field, VALUE, "must not hold control characters");
    }
}

/// Keys and values of at most [`METADATA_BYTES_MAX`] in all.
pub(crate) fn metadata(complaints: &mut Complaints, field: &str, metadata: &BTreeMap<String, String>) {
    let bytes: usize = metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > METADATA_BYTES_MAX {
        complaints.add(
            field,
            VALUE,
            format_args!("has {bytes} bytes, the most is {METADATA_BYTES_MAX}"),
        );
    }
}

/// Messages a second: from 1 to 65,535.
pub(crate) fn rate(complaints: &mut Complaints, field: &str, rate: Option<u64>) -> Option<u32> {
    let rate = rate?;
    if !(1..=THROTTLE_RATE_MAX).contains(&rate) {
        complaints.add(
            field,
            VALUE,
            format_args!("must be from 1 to {THROTTLE_RATE_MAX}, or null for no limit"),
        );
        return None;
    }
    u32::try_from(rate).ok()
}

/// The rate under its newer or its older name.
pub(crate) fn rates(complaints: &mut Complaints, newer: Option<u64>, older: Option<u64>) -> Option<u32> {
    let newer = rate(complaints, "throttleRate", newer);
    let older = rate(complaints, "rateLimit", older);
    newer.or(older)
}

/// The same for a patch: nothing leaves the rate as it is, an inner nothing takes it away.
pub(crate) fn rate_patches(
    complaints: &mut Complaints,
    newer: Option<Option<u64>>,
    older: Option<Option<u64>>,
) -> Option<Option<u32>> {
    let newer = newer.map(|value| rate(complaints, "throttleRate", value));
    let older = older.map(|value| rate(complaints, "rateLimit", value));
    newer.or(older)
}

/// A set of 1 to `most` names, or nothing.
pub(crate) fn names<N: Ord + std::str::FromStr<Err: std::fmt::Display>>(
    complaints: &mut Complaints,
    field: &str,
    names: Option<&[String]>,
    most: usize,
) -> Option<BTreeSet<N>> {
    let names = names?;
    if names.is_empty() || names.len() > most {
        complaints.add(
            field,
            VALUE,
            format_args!("must have from 1 to {most} items, or be null for all"),
        );
        return None;
    }
    let mut set = BTreeSet::new();
    for (index, name) in names.iter().enumerate() {
        match name.parse() {
            Ok(name) => {
                set.insert(name);
            }
            Err(error) => complaints.add_at(&[field, &index.to_string()], VALUE, error),
        }
    }
    Some(set)
}

#[cfg(test)]
mod tests {
    use nuncio_domain::Channel;

    use super::*;

    fn complaints(check: impl FnOnce(&mut Complaints)) -> Vec<String> {
        let mut complaints = Complaints::new();
        check(&mut complaints);
        match complaints.or::<()>(None) {
            Err(super::super::refusal::Refusal::Invalid(list)) => list
                .into_iter()
                .map(|complaint| complaint.field.join("."))
                .collect(),
            _ => unreachable!("there is no value"),
        }
    }

    #[test]
    fn uids_follow_the_grammar_and_are_no_ids() {
        let long = "x".repeat(257);
        for bad in ["app_1", "a b", "", "a*", "../x", "é", &long] {
            assert_eq!(
                complaints(|c| assert_eq!(uid(c, "uid", Some(bad), "app_"), None)),
                ["uid"],
                "{bad}"
            );
        }
        assert!(complaints(|c| assert!(uid(c, "uid", Some("ep_1.a-b"), "app_").is_some())).is_empty());
        assert!(complaints(|c| assert!(uid(c, "uid", None, "app_").is_none())).is_empty());
    }

    #[test]
    fn limits_hold_to_the_byte() {
        let most = "x".repeat(DESCRIPTION_BYTES_MAX);
        assert!(complaints(|c| text(c, "d", &most, true)).is_empty());
        assert_eq!(complaints(|c| text(c, "d", &format!("{most}x"), true)), ["d"]);
        assert_eq!(complaints(|c| text(c, "d", "", false)), ["d"]);
        assert_eq!(complaints(|c| text(c, "d", "a\u{0}", true)), ["d"]);
        assert!(complaints(|c| text(c, "d", "a\nb", true)).is_empty());
        let of = |bytes: usize| [("k".to_owned(), "v".repeat(bytes - 1))].into();
        assert!(complaints(|c| metadata(c, "m", &of(METADATA_BYTES_MAX))).is_empty());
        assert_eq!(
            complaints(|c| metadata(c, "m", &of(METADATA_BYTES_MAX + 1))),
            ["m"]
        );
        for (given, fits) in [
            (0, false),
            (1, true),
            (65_535, true),
            (65_536, false),
            (u64::MAX, false),
        ] {
            assert_eq!(
                complaints(|c| assert_eq!(rate(c, "r", Some(given)).is_some(), fits)).is_empty(),
                fits
            );
        }
    }

    #[test]
    fn sets_are_neither_empty_nor_too_large_and_each_bad_name_is_told() {
        let check = |list: &[&str]| {
            let list: Vec<String> = list.iter().map(|&name| name.to_owned()).collect();
            complaints(|c| {
                names::<Channel>(c, "channels", Some(&list), 3);
            })
        };
        assert!(check(&["a", "b", "a"]).is_empty());
        assert_eq!(check(&[]), ["channels"]);
        assert_eq!(check(&["a", "b", "c", "d"]), ["channels"]);
        assert_eq!(check(&["a", "b c", ""]), ["channels.1", "channels.2"]);
        assert!(complaints(|c| assert!(names::<Channel>(c, "x", None, 3).is_none())).is_empty());
    }
}
