//! The limits that callers meet, each with its name.
//!
//! Owns the numbers of the public contract. Refuses to know who enforces them.

/// Bytes of a payload, unless configured otherwise.
pub const PAYLOAD_BYTES_MAX: usize = 256 * 1024;
/// Bytes of an endpoint's URL.
pub const URL_BYTES_MAX: usize = 2_048;
/// Bytes of a description.
pub const DESCRIPTION_BYTES_MAX: usize = 1_024;
/// Custom headers of one endpoint.
pub const ENDPOINT_HEADERS_MAX: usize = 64;
/// Bytes of one custom header's value.
pub const ENDPOINT_HEADER_BYTES_MAX: usize = 4_096;
/// Endpoints of one app, unless configured otherwise.
pub const ENDPOINTS_PER_APP_MAX: usize = 100;
/// Channels of one message or one endpoint.
pub const CHANNELS_MAX: usize = 10;
/// Bytes of a uid, an event type's name, a channel.
pub const NAME_BYTES_MAX: usize = 256;
/// Bytes of the AMQP `message_id` of an event.
pub const EVENT_ID_BYTES_MAX: usize = 256;
/// Bytes of an endpoint's response body that are kept with the attempt.
pub const RESPONSE_BODY_BYTES_MAX: usize = 16 * 1024;
/// Bytes of an endpoint's response headers that are read.
pub const RESPONSE_HEADER_BYTES_MAX: usize = 64 * 1024;
/// Items of one page of a list.
pub const PAGE_SIZE_MAX: usize = 250;
