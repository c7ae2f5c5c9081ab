//! What can go wrong with a call.
//!
//! Owns the one distinction that callers act on: the store is away, or what they asked for cannot be.

use nuncio_wire::record::RecordError;
use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Redis cannot be reached, does not answer in time, or refuses to write. The call may have had its effect.
    #[error("Redis is not available while trying to {action}")]
    Unavailable {
        /// What was attempted.
        action: &'static str,
        /// Why.
        #[source]
        source: Cause,
    },
    /// Redis answered with an error that will not go away by itself.
    #[error("Redis refused to {action}")]
    Refused {
        /// What was attempted.
        action: &'static str,
        /// Why.
        #[source]
        source: RedisError,
    },
    /// What is kept cannot be read.
    #[error("failed to read {what}")]
    Record {
        /// Which record, by noun and id.
        what: String,
        /// Why.
        #[source]
        source: RecordError,
    },
    /// No main secret opens the endpoint's secrets.
    #[error("failed to open the secrets of {0}: none of the main secrets fits")]
    Sealed(nuncio_domain::EndpointId),
    /// Nothing of that kind is kept.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// A uid or a name is taken.
    #[error("the {what} is taken by {by}")]
    Conflict {
        /// What is taken, such as `uid of the app`.
        what: &'static str,
        /// By whom: an id or a name.
        by: String,
    },
    /// The app has as many endpoints as it may have.
    #[error("the app has {0} endpoints already, which is as many as it may have")]
    TooManyEndpoints(usize),
    /// Others changed the same thing again and again while this change was tried.
    #[error("the {0} is being changed by others at the same time")]
    Contended(&'static str),
    /// A position that the store did not make.
    #[error("the position in the list is not one that was handed out")]
    BadPosition,
    /// The address of the server cannot be understood.
    #[error("the address of Redis cannot be understood: {0}")]
    Address(&'static str),
    /// The settings cannot be used.
    #[error("the settings of the store cannot be used: {0}")]
    Settings(&'static str),
}

/// Why Redis is not available.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The time for the call ran out.
    #[error("the time for the call ran out")]
    TimedOut,
    /// The connection could not be made, or was lost, or the server cannot serve now.
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// No connection could be taken from the pool.
    #[error("no connection could be taken from the pool: {0}")]
    Pool(String),
    /// The store was reached, but emptied: what was asked for was there before.
    #[error("the store was emptied")]
    Emptied,
}

impl StoreError {
    /// Whether the same call may well succeed later.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    pub(crate) fn timed_out(action: &'static str) -> Self {
        Self::Unavailable {
            action,
            source: Cause::TimedOut,
        }
    }

    pub(crate) fn redis(action: &'static str, source: RedisError) -> Self {
        if is_transient(&source) {
            Self::Unavailable {
                action,
                source: Cause::Redis(source),
            }
        } else {
            Self::Refused { action, source }
        }
    }

    pub(crate) fn record(what: impl Into<String>) -> impl FnOnce(RecordError) -> Self {
        move |source| Self::Record {
            what: what.into(),
            source,
        }
    }
}

/// Whether an error speaks of the server's condition rather than of the command.
pub(crate) fn is_transient(error: &RedisError) -> bool {
    if error.is_io_error() || error.is_cluster_error() || error.is_connection_dropped() || error.is_timeout()
    {
        return true;
    }
    match error.kind() {
        ErrorKind::Io
        | ErrorKind::ClusterConnectionNotFound
        | ErrorKind::MasterNameNotFoundBySentinel
        | ErrorKind::NoValidReplicasFoundBySentinel
        | ErrorKind::Parse => true,
        ErrorKind::Server(
            ServerErrorKind::BusyLoading
            | ServerErrorKind::Moved
            | ServerErrorKind::Ask
            | ServerErrorKind::TryAgain
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ReadOnly
            // The scripts were loaded and flushed again in between: nothing was written, and the next try loads them.
            | ServerErrorKind::NoScript,
        ) => true,
        // Codes that the client has no word for: OOM, MISCONF (snapshots fail), NOREPLICAS, BUSY (a script runs on), and
        // UNBLOCKED (a blocked read was ended by a failover).
        ErrorKind::Extension => matches!(
            error.code(),
            Some("OOM" | "MISCONF" | "NOREPLICAS" | "BUSY" | "UNBLOCKED" | "NOAUTH")
        ),
        // Redis 6.2 wraps what happened inside a script into an error of its own.
        _ => says(error, &["-OOM ", "-MISCONF ", "-READONLY ", "-NOREPLICAS "]),
    }
}

fn says(error: &RedisError, codes: &[&str]) -> bool {
    let text = error.to_string();
    codes.iter().any(|code| text.contains(code))
}

/// Whether the connection must not be used again: it is broken, or leads to a server that lost its role.
pub(crate) fn spoils_connection(error: &RedisError) -> bool {
    error.is_unrecoverable_error()
        || error.is_connection_dropped()
        || error.is_io_error()
        || matches!(
            error.kind(),
            ErrorKind::Parse | ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown)
        )
        || says(error, &["-READONLY "])
}
