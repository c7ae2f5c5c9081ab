//! Crash points: places where a test lets the process die.
//!
//! Owns the macro that marks a place, and what the environment says of it: `FAILPOINTS=router::claimed=3` ends the
//! process, as abruptly as SIGKILL would, when that place is reached for the third time; several are separated by commas.
//! Guarantees that without the feature `on` a mark is no code at all, not even its name: a default build holds none.
//! Refuses to know what the places mean, and every other crate.

/// Marks a place by its name, e.g. `hit!("router::claimed")`. Expands to nothing unless the feature `on` is set.
#[cfg(feature = "on")]
#[macro_export]
macro_rules! hit {
    ($name:literal) => {
        $crate::reach($name)
    };
}

/// Marks a place by its name, e.g. `hit!("router::claimed")`. Expands to nothing unless the feature `on` is set.
#[cfg(not(feature = "on"))]
#[macro_export]
macro_rules! hit {
    ($name:literal) => {};
}

#[cfg(feature = "on")]
pub use armed::reach;

#[cfg(feature = "on")]
mod armed {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Which place ends the process, and at which visit.
    struct Armed {
        place: String,
        fatal: u64,
        visits: AtomicU64,
    }

    static ARMED: LazyLock<Vec<Armed>> = LazyLock::new(|| read(std::env::var("FAILPOINTS").ok().as_deref()));

    /// Counts a visit to `place`; the fatal one does not return.
    pub fn reach(place: &str) {
        for armed in ARMED.iter().filter(|armed| armed.place == place) {
            if armed.fatal == armed.visits.fetch_add(1, Ordering::SeqCst) + 1 {
                // Nothing is flushed, dropped or said to anybody: other threads stop where they are.
                std::process::abort();
            }
        }
    }

    /// `place=visit,…`; a list that cannot be read is a mistake in a test, and says so.
    fn read(list: Option<&str>) -> Vec<Armed> {
        let entries = list
            .unwrap_or_default()
            .split(',')
            .filter(|entry| !entry.is_empty());
        entries
            .map(|entry| {
                let (place, visit) = entry
                    .split_once('=')
                    .unwrap_or_else(|| panic!("FAILPOINTS holds {entry:?}; expected place=visit"));
                let fatal = visit
                    .parse()
                    .unwrap_or_else(|error| panic!("FAILPOINTS holds {entry:?}: {error}"));
                Armed {
                    place: place.to_owned(),
                    fatal,
                    visits: AtomicU64::new(0),
                }
            })
            .collect()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn each_entry_is_a_place_and_the_visit_that_ends_the_process() {
            let armed = read(Some("a::b=1,c::d=20"));
            let read: Vec<_> = armed
                .iter()
                .map(|armed| (armed.place.as_str(), armed.fatal))
                .collect();
            assert_eq!(read, [("a::b", 1), ("c::d", 20)]);
            assert!(super::read(None).is_empty());
        }

        #[test]
        #[should_panic(expected = "expected place=visit")]
        fn an_entry_without_a_visit_is_told() {
            read(Some("a::b"));
        }
    }
}
