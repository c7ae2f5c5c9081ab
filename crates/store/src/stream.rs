//! Walking through a stream, page by page, in both directions.
//!
//! Owns the ids of stream entries as positions of lists. Guarantees that a walk reads a bounded number of entries.

use std::fmt;
use std::time::Duration;

use nuncio_domain::UnixMillis;

use crate::page::{PageRequest, Position};
use crate::{Store, StoreError};

/// How many entries are read at once.
const CHUNK: usize = 250;
/// How many entries one page looks at, before it ends with what it has.
const LOOKED_AT_MAX: usize = 5_000;
/// How much earlier or later than what it speaks of an entry may have been written: clocks differ, requests take their
/// time, and what is recorded while the store is away is written when it is back.
const WRITTEN_EARLY_MAX: Duration = Duration::from_secs(5 * 60);
const WRITTEN_LATE_MAX: Duration = Duration::from_secs(24 * 3_600);

/// The id of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StreamId {
    pub(crate) ms: u64,
    pub(crate) sequence: u64,
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.sequence)
    }
}

impl StreamId {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (ms, sequence) = text.split_once('-')?;
        Some(Self {
            ms: ms.parse().ok()?,
            sequence: sequence.parse().ok()?,
        })
    }

    fn from_position(position: &Position) -> Result<Self, StoreError> {
        let (id, _) = position.0.split_once('/').unwrap_or((&position.0, ""));
        Self::parse(id).ok_or(StoreError::BadPosition)
    }
}

/// A walk through a stream of entries with one field each.
pub(crate) struct Walk {
    key: String,
    descending: bool,
    /// The next entry to read is right behind that one, exclusively.
    behind: Option<StreamId>,
    low: Option<u64>,
    high: Option<u64>,
    chunk: usize,
    looked_at: usize,
    ended: bool,
}

impl Walk {
    /// A walk for a page, over entries that speak of times between `after` and `before`.
    pub(crate) fn new(
        key: String,
        request: &PageRequest,
        after: Option<UnixMillis>,
        before: Option<UnixMillis>,
    ) -> Result<Self, StoreError> {
        let millis = |at: UnixMillis| u64::try_from(at.0).unwrap_or(0);
        Ok(Self {
            key,
            descending: request.descending(),
            behind: request.anchor().map(StreamId::from_position).transpose()?,
            low: after.map(|at| millis(at.minus(WRITTEN_EARLY_MAX))),
            high: before.map(|at| millis(at.plus(WRITTEN_LATE_MAX))),
            chunk: (request.limit + 1).clamp(10, CHUNK),
            looked_at: 0,
            ended: false,
        })
    }

    /// Whether entries may follow those that were looked at.
    pub(crate) fn has_more(&self) -> bool {
        !self.ended
    }

    /// The next entries with their text; none when there are no more, or enough were looked at.
    pub(crate) async fn next(
        &mut self,
        store: &Store,
        action: &'static str,
    ) -> Result<Option<Vec<(StreamId, String)>>, StoreError> {
        if self.ended || self.looked_at >= LOOKED_AT_MAX {
            return Ok(None);
        }
        let bound = |ms: Option<u64>, open: &str| ms.map_or_else(|| open.to_owned(), |ms| ms.to_string());
        let behind = self.behind.map(|id| format!("({id}"));
        let mut cmd = redis::cmd(if self.descending { "XREVRANGE" } else { "XRANGE" });
        cmd.arg(&self.key);
        if self.descending {
            cmd.arg(behind.unwrap_or_else(|| bound(self.high, "+")))
                .arg(bound(self.low, "-"));
        } else {
            cmd.arg(behind.unwrap_or_else(|| bound(self.low, "-")))
                .arg(bound(self.high, "+"));
        }
        cmd.arg("COUNT").arg(self.chunk);
        let entries: Vec<(String, Vec<String>)> = store.one(action, cmd).await?;
        self.ended = entries.len() < self.chunk;
        self.looked_at += entries.len();
        self.chunk = CHUNK;
        let entries: Vec<(StreamId, String)> = entries
            .into_iter()
            .filter_map(|(id, mut fields)| Some((StreamId::parse(&id)?, fields.pop()?)))
            .collect();
        match entries.last() {
            Some((id, _)) => self.behind = Some(*id),
            None => self.ended = true,
        }
        Ok(Some(entries))
    }
}
