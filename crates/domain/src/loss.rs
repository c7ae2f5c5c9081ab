//! Losses: what RabbitMQ may lose of Nuncio's while it runs, and which deliveries go with it.
//!
//! Owns the names of losses, and the decision which unfinished deliveries one may have cost. Refuses to know who finds a
//! loss and who makes up for it.

use std::fmt;

use crate::{DeliveryStatus, EndpointId, UnixMillis};

/// What lane texts start with.
const LANE: &str = "lane:";
const BINDINGS: &str = "bindings";
const RUNGS: &str = "rungs";
const EVERYTHING: &str = "everything";

/// Something that was found missing in RabbitMQ.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Loss {
    /// All its data.
    Everything,
    /// The queue of one endpoint, with what was in it.
    Lane(EndpointId),
    /// The exchange of deliveries, and with it the ways from it to all lanes.
    Bindings,
    /// A queue of the retry ladder, with what waited in it.
    Rungs,
}

impl Loss {
    /// The loss that `text` names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            EVERYTHING => Some(Self::Everything),
            BINDINGS => Some(Self::Bindings),
            RUNGS => Some(Self::Rungs),
            text => EndpointId::parse(text.strip_prefix(LANE)?).ok().map(Self::Lane),
        }
    }

    /// Whether a delivery to `endpoint` that stands so may have been lost.
    ///
    /// What waits on the ladder is not in a lane, and the other way round. When in doubt it may: a copy of what was not
    /// lost is found out by the record, while what is not queued again is gone.
    #[must_use]
    pub fn may_have_cost(&self, endpoint: &EndpointId, status: DeliveryStatus, now: UnixMillis) -> bool {
        let in_lane = match status {
            DeliveryStatus::Pending => true,
            DeliveryStatus::Retrying { due } => due <= now,
            _ => return false,
        };
        match self {
            Self::Everything => true,
            Self::Lane(lost) => lost == endpoint && in_lane,
            Self::Bindings => in_lane,
            // Also one whose time has come since.
            Self::Rungs => status != DeliveryStatus::Pending,
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str(EVERYTHING),
            Self::Lane(endpoint) => write!(f, "{LANE}{endpoint}"),
            Self::Bindings => f.write_str(BINDINGS),
            Self::Rungs => f.write_str(RUNGS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> EndpointId {
        EndpointId::parse(text).unwrap()
    }

    #[test]
    fn a_loss_is_read_back_from_its_text() {
        let all = [
            Loss::Everything,
            Loss::Bindings,
            Loss::Rungs,
            Loss::Lane(endpoint("ep_1")),
        ];
        for loss in all {
            assert_eq!(Loss::parse(&loss.to_string()), Some(loss));
        }
        for text in ["", "lane:", "lane:msg_1", "ep_1"] {
            assert_eq!(Loss::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn each_loss_costs_what_was_there_and_nothing_that_is_finished() {
        let (now, ours, other) = (UnixMillis(1_000), endpoint("ep_1"), endpoint("ep_2"));
        let waits = DeliveryStatus::Retrying {
            due: UnixMillis(2_000),
        };
        let came_back = DeliveryStatus::Retrying {
            due: UnixMillis(1_000),
        };
        let lane = Loss::Lane(ours.clone());
        // In the order: pending, back from the ladder, on the ladder, delivered.
        let table = [
            (&lane, &ours, [true, true, false, false]),
            (&lane, &other, [false, false, false, false]),
            (&Loss::Bindings, &other, [true, true, false, false]),
            (&Loss::Rungs, &ours, [false, true, true, false]),
            (&Loss::Everything, &ours, [true, true, true, false]),
        ];
        for (loss, endpoint, expected) in table {
            let statuses = [
                DeliveryStatus::Pending,
                came_back,
                waits,
                DeliveryStatus::Delivered,
            ];
            for (status, expected) in statuses.into_iter().zip(expected) {
                assert_eq!(
                    loss.may_have_cost(endpoint, status, now),
                    expected,
                    "{loss} and {endpoint}, {status:?}"
                );
            }
        }
    }
}
