//! How much a server may say before it is asked again.
//!
//! Guarantees that a server which never comes to the point (interim responses without end, frames that belong to
//! nothing) is cut off after half a megabyte. HTTP itself knows no bound: an interim response may follow an interim response for
//! ever, and whoever reads them as fast as they come has no time for anybody else.
//! Refuses to know what the bytes mean: heads and bodies have bounds of their own, far below.

use std::io;

/// What may come in answer to one request, or before the first: more than any answer of which we read on.
const FREE_BYTES: usize = 512 * 1024;
/// What a byte of ours allows over HTTP/2, where requests and control frames cannot be told apart from here.
const BYTES_PER_WRITTEN_BYTE: usize = 1024;
/// The most that one write allows there: the head and the windows of one stream, twice over.
const BYTES_PER_WRITE: usize = 256 * 1024;
/// The most that can have been allowed there at any time.
const SAVED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The server said more than anybody has to listen to.
#[derive(Debug, thiserror::Error)]
#[error("the server sent interim responses or frames without end")]
pub(crate) struct Flooded;

impl From<Flooded> for io::Error {
    fn from(flooded: Flooded) -> Self {
        Self::other(flooded)
    }
}

/// Bytes that a connection may still be read.
#[derive(Debug)]
pub(crate) struct Allowance {
    left: usize,
    shared: bool,
}

impl Allowance {
    /// For a connection with one request at a time.
    pub(crate) fn one_by_one() -> Self {
        Self {
            left: FREE_BYTES,
            shared: false,
        }
    }

    /// For a connection that many requests share.
    pub(crate) fn shared() -> Self {
        Self {
            left: FREE_BYTES,
            shared: true,
        }
    }

    /// Bytes were written: a request, or a part of one.
    pub(crate) fn wrote(&mut self, bytes: usize) {
        self.left = if self.shared {
            let more = bytes.saturating_mul(BYTES_PER_WRITTEN_BYTE).min(BYTES_PER_WRITE);
            (self.left + more).min(SAVED_BYTES_MAX)
        } else {
            FREE_BYTES
        };
    }

    /// Bytes were read.
    pub(crate) fn read(&mut self, bytes: usize) -> Result<(), Flooded> {
        self.left = self.left.checked_sub(bytes).ok_or(Flooded)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: usize = 64 * 1024;

    fn chunks_until_flooded(allowance: &mut Allowance) -> usize {
        (0..10_000)
            .position(|_| allowance.read(CHUNK).is_err())
            .expect("a bound")
    }

    #[test]
    fn every_request_may_have_its_answer_and_no_more() {
        let mut allowance = Allowance::one_by_one();
        for _ in 0..100 {
            allowance.wrote(10);
            assert!(allowance.read(FREE_BYTES).is_ok());
        }
        allowance.wrote(1);
        assert_eq!(chunks_until_flooded(&mut allowance), FREE_BYTES / CHUNK);
    }

    #[test]
    fn many_small_requests_on_one_connection_may_all_have_the_largest_answers() {
        let mut allowance = Allowance::shared();
        for _ in 0..10_000 {
            allowance.wrote(250);
            assert!(allowance.read(3 * CHUNK).is_ok());
        }
    }

    #[test]
    fn what_was_saved_is_bounded_and_a_large_request_allows_no_more_than_another() {
        let mut allowance = Allowance::shared();
        allowance.wrote(usize::MAX);
        assert_eq!(
            chunks_until_flooded(&mut allowance),
            (FREE_BYTES + BYTES_PER_WRITE) / CHUNK
        );
        for _ in 0..10_000 {
            allowance.wrote(usize::MAX);
        }
        assert!(chunks_until_flooded(&mut allowance) <= SAVED_BYTES_MAX / CHUNK);
    }
}
