//! Pages of lists.
//!
//! Owns the shape of a page and of a request for one. Positions are opaque to callers, who sign them before they hand
//! them out.

/// A place in a list: between two items. Opaque; valid for the list and the filter it came from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Position(pub String);

/// The order of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Order {
    /// The newest first.
    #[default]
    NewestFirst,
    /// The oldest first.
    OldestFirst,
}

/// Where a page begins.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Start {
    /// At the beginning of the list.
    #[default]
    Beginning,
    /// Right after that position, in the order of the list.
    After(Position),
    /// It ends right before that position, in the order of the list.
    Before(Position),
}

/// Which page of a list is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PageRequest {
    /// How many items at most.
    pub limit: usize,
    /// Where it begins.
    pub start: Start,
    /// In which order the list is.
    pub order: Order,
}

impl PageRequest {
    /// The first page, newest first.
    #[must_use]
    pub fn first(limit: usize) -> Self {
        Self {
            limit,
            start: Start::Beginning,
            order: Order::NewestFirst,
        }
    }

    /// The first page, oldest first.
    #[must_use]
    pub fn oldest(limit: usize) -> Self {
        Self {
            order: Order::OldestFirst,
            ..Self::first(limit)
        }
    }

    /// Whether the server is asked for the greatest first: the order of the list, turned round for a page before a position.
    pub(crate) fn descending(&self) -> bool {
        let backwards = matches!(self.start, Start::Before(_));
        (self.order == Order::NewestFirst) != backwards
    }

    /// The position where reading starts, whichever way it goes.
    pub(crate) fn anchor(&self) -> Option<&Position> {
        match &self.start {
            Start::Beginning => None,
            Start::After(position) | Start::Before(position) => Some(position),
        }
    }
}

/// One page of a list, in the order of the list.
///
/// A page may hold fewer items than were asked for, even none, although more follow: a filter that matches rarely ends a
/// page after a bounded number of records was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page starts ([`Start::After`]); none when nothing follows.
    pub next: Option<Position>,
    /// Where the page before ends ([`Start::Before`]); none when this page is the first.
    pub previous: Option<Position>,
    /// Where this page begins, whether or not anything lies before; none where nothing was looked at.
    pub begins: Option<Position>,
    /// Where this page ends, whether or not anything follows; none where nothing was looked at.
    pub ends: Option<Position>,
}

impl<T> Page<T> {
    /// The same page with other items.
    pub fn map<U>(mut self, f: impl FnMut(T) -> U) -> Page<U> {
        let items = std::mem::take(&mut self.items);
        self.with(items.into_iter().map(f).collect())
    }

    /// The same page with these items.
    pub fn with<U>(self, items: Vec<U>) -> Page<U> {
        Page {
            items,
            next: self.next,
            previous: self.previous,
            begins: self.begins,
            ends: self.ends,
        }
    }

    /// A page from what was read in the direction of reading: the items, where they began and ended, and whether more
    /// follow that way.
    pub(crate) fn assemble(
        request: &PageRequest,
        mut items: Vec<T>,
        first: Option<Position>,
        last: Option<Position>,
        more: bool,
    ) -> Self {
        let backwards = matches!(request.start, Start::Before(_));
        let anchor = request.anchor();
        let further = last.clone().filter(|_| more);
        let (first, last) = (
            first.or_else(|| anchor.cloned()),
            last.or_else(|| anchor.cloned()),
        );
        if backwards {
            items.reverse();
            Self {
                items,
                next: first.clone(),
                previous: further,
                begins: last,
                ends: first,
            }
        } else {
            Self {
                items,
                next: further,
                previous: first.clone().filter(|_| anchor.is_some()),
                begins: first,
                ends: last,
            }
        }
    }
}

/// The items of a page while it is gathered, and the places of the first and last that were looked at.
pub(crate) struct Gathered<P, T> {
    limit: usize,
    items: Vec<T>,
    first: Option<P>,
    last: Option<P>,
}

impl<P: Clone, T> Gathered<P, T> {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            items: Vec::new(),
            first: None,
            last: None,
        }
    }

    /// Takes what was found at a place, which may be nothing of interest; answers false when it found no room, so that
    /// the list is known to go on.
    pub(crate) fn offer(&mut self, place: P, item: Option<T>) -> bool {
        if self.items.len() == self.limit {
            return item.is_none();
        }
        if self.first.is_none() {
            self.first = Some(place.clone());
        }
        self.last = Some(place);
        self.items.extend(item);
        true
    }

    pub(crate) fn finish(
        self,
        request: &PageRequest,
        more: bool,
        position: impl Fn(P) -> Position,
    ) -> Page<T> {
        Page::assemble(
            request,
            self.items,
            self.first.map(&position),
            self.last.map(&position),
            more,
        )
    }
}
