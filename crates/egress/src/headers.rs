//! The custom request headers of an endpoint: read once, by rules.
//!
//! Guarantees that they cannot change how a request is framed, where it goes, what it is signed as, or smuggle a second one.

use std::collections::HashSet;

use http::{HeaderMap, HeaderName, HeaderValue};
use nuncio_domain::limits::{ENDPOINT_HEADER_BYTES_MAX, ENDPOINT_HEADERS_MAX};

/// Bytes of a header's name.
const NAME_BYTES_MAX: usize = 256;

/// Names that the sender or the protocol sets.
const RESERVED: &[&str] = &[
    "accept-encoding",
    "connection",
    "date",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
];

/// Beginnings of names that the sender, the protocol or a signature scheme sets.
const RESERVED_PREFIXES: &[&str] = &[
    "access-control-",
    "content-",
    "proxy-",
    "sec-",
    "svix-",
    "webhook-",
    "x-amz-",
    "x-amzn-",
    "x-forwarded-",
    "x-svix-",
];

/// Why a custom header, or the lot of them, is refused. No message repeats a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// More than [`ENDPOINT_HEADERS_MAX`].
    #[error("there are {0} headers, the most is {ENDPOINT_HEADERS_MAX}")]
    TooMany(usize),
    /// The name is not a token.
    #[error(
        "`{name}` is not a header name: letters, digits and `!#$%&'*+-.^_`|~` only, at most {NAME_BYTES_MAX}"
    )]
    Name {
        /// The name, with control characters escaped and cut short.
        name: String,
    },
    /// The name is set by the sender or the protocol.
    #[error("the header `{name}` cannot be set: it belongs to the delivery itself")]
    Reserved {
        /// The name.
        name: String,
    },
    /// The same name twice, perhaps in another case.
    #[error("the header `{name}` is there twice")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// The value has characters that headers do not have.
    #[error(
        "the value of `{name}` may have visible ASCII characters, with single spaces or tabs inside, only"
    )]
    Value {
        /// The name.
        name: String,
    },
    /// The value is longer than [`ENDPOINT_HEADER_BYTES_MAX`].
    #[error("the value of `{name}` has {bytes} bytes, the most is {ENDPOINT_HEADER_BYTES_MAX}")]
    TooLong {
        /// The name.
        name: String,
        /// The value's length.
        bytes: usize,
    },
}

impl HeaderError {
    /// The header at fault; nothing when it is the number of them.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::TooMany(_) => None,
            Self::Name { name }
            | Self::Reserved { name }
            | Self::Duplicate { name }
            | Self::Value { name }
            | Self::TooLong { name, .. } => Some(name),
        }
    }
}

/// Reads an endpoint's custom headers into the form in which they are sent; values are marked sensitive.
///
/// # Errors
/// Every mistake at once, in the order of the headers.
pub fn endpoint_headers<'a, I>(headers: I) -> Result<HeaderMap, Vec<HeaderError>>
where
    I: IntoIterator<Item = (&'a str, &'a str)>,
{
    let mut map = HeaderMap::new();
    let mut seen = HashSet::new();
    let mut errors = Vec::new();
    let mut count = 0;
    for (name, value) in headers {
        count += 1;
        if count > ENDPOINT_HEADERS_MAX {
            continue;
        }
        match endpoint_header(name, value) {
            Ok((name, value)) if seen.insert(name.clone()) => {
                map.insert(name, value);
            }
            Ok((name, _)) => errors.push(HeaderError::Duplicate {
                name: name.to_string(),
            }),
            Err(error) => errors.push(error),
        }
    }
    if count > ENDPOINT_HEADERS_MAX {
        errors.push(HeaderError::TooMany(count));
    }
    if errors.is_empty() { Ok(map) } else { Err(errors) }
}

/// Reads one custom header.
///
/// # Errors
/// Says what is wrong with the name or the value.
pub fn endpoint_header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), HeaderError> {
    let parsed = HeaderName::from_bytes(name.as_bytes())
        .ok()
        .filter(|_| name.len() <= NAME_BYTES_MAX);
    let Some(parsed) = parsed else {
        return Err(HeaderError::Name {
            name: name.escape_default().take(64).collect(),
        });
    };
    let name = || parsed.to_string();
    let reserved = RESERVED.contains(&parsed.as_str())
        || RESERVED_PREFIXES
            .iter()
            .any(|prefix| parsed.as_str().starts_with(prefix));
    if reserved {
        return Err(HeaderError::Reserved { name: name() });
    }
    if value.len() > ENDPOINT_HEADER_BYTES_MAX {
        return Err(HeaderError::TooLong {
            name: name(),
            bytes: value.len(),
        });
    }
    let trimmed = value.trim_matches([' ', '\t']) == value;
    let mut parsed_value = HeaderValue::from_str(value)
        .ok()
        .filter(|_| trimmed && value.is_ascii())
        .ok_or_else(|| HeaderError::Value { name: name() })?;
    // Custom headers often carry credentials: this keeps them out of `Debug` and of HPACK's tables.
    parsed_value.set_sensitive(true);
    Ok((parsed, parsed_value))
}
