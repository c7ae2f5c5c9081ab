//! How far something has come, told to a terminal.
//!
//! Guarantees that nothing is drawn where standard error is no terminal, and that what was drawn is wiped again.
//! Refuses to know the clock: it draws when it is told of something.

use std::io::IsTerminal;

use crate::output;

/// Goes back and wipes the line.
const WIPE: &str = "\r\x1b[K";

/// A line that is drawn over.
pub(crate) struct Progress {
    what: &'static str,
    total: Option<usize>,
    done: usize,
    shown: bool,
}

impl Progress {
    /// Nothing of `total` is done yet.
    pub(crate) fn of(total: usize, what: &'static str) -> Self {
        Self {
            total: Some(total),
            ..Self::counting(what)
        }
    }

    /// Nothing is done yet of nobody knows how many.
    pub(crate) fn counting(what: &'static str) -> Self {
        Self {
            what,
            total: None,
            done: 0,
            shown: std::io::stderr().is_terminal(),
        }
    }

    /// So many more are done.
    pub(crate) fn advance(&mut self, by: usize) {
        self.done += by;
        if self.shown {
            let of = self.total.map(|total| format!(" of {total}")).unwrap_or_default();
            output::draw(&format!("{WIPE}{}{of} {}", self.done, self.what));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown && self.done > 0 {
            output::draw(WIPE);
        }
    }
}
