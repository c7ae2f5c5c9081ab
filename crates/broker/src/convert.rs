//! Neutral properties to AMQP's and back.
//!
//! Owns the mapping of field types. Guarantees that nothing that AMQP cannot hold is sent (lapin would panic on it),
//! and that foreign headers of any type are noticed. Refuses to interpret headers.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldArray, FieldTable, LongString, MAX_SHORT_STRING_LENGTH, ShortString};
use nuncio_domain::EndpointId;
use nuncio_wire::headers::EVENT_TYPE;
use nuncio_wire::{HeaderValue, Headers, Properties};

use crate::error::PublishError;

/// The delivery mode of a message that survives a restart.
const PERSISTENT: u8 = 2;
/// Further routing keys that the broker removes before it delivers.
const BCC: &str = "BCC";

/// A text that AMQP keeps in at most 255 bytes.
pub(crate) fn short(field: &str, text: &str) -> Result<ShortString, PublishError> {
    ShortString::try_new(text).map_err(|_| PublishError::TooLong {
        field: field.to_owned(),
        bytes: text.len(),
        bytes_max: MAX_SHORT_STRING_LENGTH,
    })
}

pub(crate) fn to_amqp(
    properties: &Properties,
    bcc: &[EndpointId],
    persistent: bool,
) -> Result<BasicProperties, PublishError> {
    let mut amqp = BasicProperties::default();
    if persistent {
        amqp = amqp.with_delivery_mode(PERSISTENT);
    }
    if let Some(text) = &properties.message_id {
        amqp = amqp.with_message_id(short("message_id", text)?);
    }
    let long_kind = properties
        .kind
        .as_ref()
        .filter(|text| text.len() > MAX_SHORT_STRING_LENGTH);
    if let Some(text) = properties.kind.as_ref().filter(|_| long_kind.is_none()) {
        amqp = amqp.with_type(short("type", text)?);
    }
    if let Some(text) = &properties.app_id {
        amqp = amqp.with_app_id(short("app_id", text)?);
    }
    if let Some(text) = &properties.content_type {
        amqp = amqp.with_content_type(short("content_type", text)?);
    }
    if let Some(seconds) = properties.timestamp {
        amqp = amqp.with_timestamp(seconds);
    }
    if !properties.headers.is_empty() || !bcc.is_empty() || long_kind.is_some() {
        let mut table = FieldTable::default();
        if let Some(text) = long_kind {
            let value = AMQPValue::LongString(LongString::from(text.as_str()));
            table.insert(short("a header's name", EVENT_TYPE)?, value);
        }
        for (name, value) in &properties.headers {
            if let Some(value) = value_to_amqp(value) {
                table.insert(short("a header's name", name)?, value);
            }
        }
        if !bcc.is_empty() {
            let keys: Vec<_> = bcc
                .iter()
                .map(|endpoint| AMQPValue::LongString(LongString::from(endpoint.as_str())))
                .collect();
            table.insert(
                short("a header's name", BCC)?,
                AMQPValue::FieldArray(FieldArray::from(keys)),
            );
        }
        amqp = amqp.with_headers(table);
    }
    Ok(amqp)
}

fn value_to_amqp(value: &HeaderValue) -> Option<AMQPValue> {
    Some(match value {
        HeaderValue::Text(text) => AMQPValue::LongString(LongString::from(text.as_str())),
        HeaderValue::Int(number) => AMQPValue::LongLongInt(*number),
        HeaderValue::Bool(truth) => AMQPValue::Boolean(*truth),
        HeaderValue::List(values) => AMQPValue::FieldArray(FieldArray::from(
            values.iter().filter_map(value_to_amqp).collect::<Vec<_>>(),
        )),
        HeaderValue::Other => return None,
    })
}

pub(crate) fn from_amqp(amqp: &BasicProperties) -> Properties {
    let text = |field: &Option<ShortString>| field.as_ref().map(|text| text.as_str().to_owned());
    let mut headers = amqp.headers().as_ref().map(headers_from_amqp).unwrap_or_default();
    let long_kind = match headers.remove(EVENT_TYPE) {
        Some(HeaderValue::Text(text)) => Some(text),
        Some(other) => {
            headers.insert(EVENT_TYPE.to_owned(), other);
            None
        }
        None => None,
    };
    Properties {
        message_id: text(amqp.message_id()),
        kind: text(amqp.kind()).or(long_kind),
        app_id: text(amqp.app_id()),
        timestamp: *amqp.timestamp(),
        content_type: text(amqp.content_type()),
        headers,
    }
}

fn headers_from_amqp(table: &FieldTable) -> Headers {
    table
        .into_iter()
        .map(|(name, value)| (name.as_str().to_owned(), value_from_amqp(value)))
        .collect()
}

fn value_from_amqp(value: &AMQPValue) -> HeaderValue {
    match value {
        AMQPValue::LongString(text) => match std::str::from_utf8(text.as_bytes()) {
            Ok(text) => HeaderValue::Text(text.to_owned()),
            Err(_) => HeaderValue::Other,
        },
        AMQPValue::ShortString(text) => HeaderValue::Text(text.as_str().to_owned()),
        AMQPValue::ShortShortInt(number) => HeaderValue::Int((*number).into()),
        AMQPValue::ShortShortUInt(number) => HeaderValue::Int((*number).into()),
        AMQPValue::ShortInt(number) => HeaderValue::Int((*number).into()),
        AMQPValue::ShortUInt(number) => HeaderValue::Int((*number).into()),
        AMQPValue::LongInt(number) => HeaderValue::Int((*number).into()),
        AMQPValue::LongUInt(number) => HeaderValue::Int((*number).into()),
        AMQPValue::LongLongInt(number) => HeaderValue::Int(*number),
        AMQPValue::Timestamp(seconds) => i64::try_from(*seconds).map_or(HeaderValue::Other, HeaderValue::Int),
        AMQPValue::Boolean(truth) => HeaderValue::Bool(*truth),
        AMQPValue::FieldArray(values) => {
            HeaderValue::List(values.as_slice().iter().map(value_from_amqp).collect())
        }
        AMQPValue::Float(_)
        | AMQPValue::Double(_)
        | AMQPValue::DecimalValue(_)
        | AMQPValue::FieldTable(_)
        | AMQPValue::ByteArray(_)
        | AMQPValue::Void => HeaderValue::Other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = HeaderValue> {
        let leaf = prop_oneof![
            ".{0,40}".prop_map(HeaderValue::Text),
            any::<i64>().prop_map(HeaderValue::Int),
            any::<bool>().prop_map(HeaderValue::Bool),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            proptest::collection::vec(inner, 0..4).prop_map(HeaderValue::List)
        })
    }

    proptest! {
        #[test]
        fn properties_survive_the_trip_through_amqp(
            message_id in proptest::option::of("[a-z0-9_]{1,60}"),
            kind in proptest::option::of(prop_oneof!["[a-z.]{1,60}", "[a-z.]{250,260}"]),
            app_id in proptest::option::of(".{1,40}"),
            timestamp in proptest::option::of(any::<u64>()),
            headers in proptest::collection::btree_map("[a-z-]{1,20}", value(), 0..6),
        ) {
            let properties = Properties { message_id, kind, app_id, timestamp, content_type: None, headers };
            let amqp = to_amqp(&properties, &[], true).unwrap();
            prop_assert_eq!(amqp.delivery_mode(), &Some(2));
            prop_assert_eq!(from_amqp(&amqp), properties);
        }

        #[test]
        fn a_text_that_amqp_cannot_hold_is_refused_and_named(bytes in 256..2_000_usize) {
            let properties = Properties { message_id: Some("x".repeat(bytes)), ..Properties::default() };
            let refused = to_amqp(&properties, &[], true);
            let Err(PublishError::TooLong { field, bytes: named, .. }) = refused else {
                panic!("accepted");
            };
            prop_assert_eq!((field.as_str(), named), ("message_id", bytes));
        }
    }

    #[test]
    fn bcc_is_an_array_of_long_strings() {
        let endpoints = ["ep_1", "ep_2"].map(|id| EndpointId::parse(id).unwrap());
        let amqp = to_amqp(&Properties::default(), &endpoints, false).unwrap();
        let table = amqp.headers().as_ref().unwrap();
        let Some(AMQPValue::FieldArray(keys)) = table.inner().get("BCC") else {
            panic!("no array: {table:?}");
        };
        let keys: Vec<_> = keys
            .as_slice()
            .iter()
            .map(|key| key.as_long_string().unwrap().to_string())
            .collect();
        assert_eq!(keys, ["ep_1", "ep_2"]);
    }

    #[test]
    fn header_types_that_nuncio_does_not_read_are_noticed() {
        let mut table = FieldTable::default();
        table.insert(ShortString::from("double"), AMQPValue::Double(1.5));
        table.insert(
            ShortString::from("bytes"),
            AMQPValue::LongString(LongString::from(vec![0xff, 0xfe])),
        );
        table.insert(
            ShortString::from("table"),
            AMQPValue::FieldTable(FieldTable::default()),
        );
        let read = from_amqp(&BasicProperties::default().with_headers(table));
        assert_eq!(read.headers.len(), 3);
        assert!(read.headers.values().all(|value| *value == HeaderValue::Other));
    }
}
