//! Apps, endpoints, messages, deliveries and attempts in Redis: the only user of redis and deadpool-redis.
//!
//! Owns the keys (see `keys.rs` for the schema), the scripts that write several of them in one step, the connections, and
//! the directory of apps and endpoints that routers and senders hold in memory.
//!
//! Guarantees
//! - that every call ends within [`StoreConfig::call_timeout`], whatever Redis does; [`StoreError::is_unavailable`] tells
//!   a store that is away from a question that has no answer;
//! - that connections heal by themselves, and nothing needs to be told;
//! - that all keys of an app share a slot of a Cluster, so that what belongs together is written together or not at all;
//! - that writing the same thing twice is writing it once: claims by their token, attempts by their number, changes by
//!   what they replace;
//! - that endpoint secrets are sealed at rest and show in no `Debug` and no error;
//! - that history is bounded by age and by count, and buffers in memory by count and bytes.
//!
//! Refuses to know RabbitMQ, HTTP and clocks: times come in as arguments, but for the server's own, by which members live
//! and histories are ordered.
//!
//! | for | look at |
//! |-|-|
//! | apps, endpoints, secrets, event types | [`Store`]: `create_…`, `update_…` (a closure on what is kept, tried again when others changed it), `delete_…`, `list_…` |
//! | all of them in memory, kept true | [`Directory`] |
//! | routers | [`Store::claim`], [`Store::mark_routed`], [`Recorder::record_routed`] |
//! | senders | [`Recorder`], [`StateReader`], [`Store::heartbeat`] |
//! | the API | [`Store::accept_message`], [`Store::list_messages`], [`Store::attempts_of_endpoint`], [`Store::begin_request`] |
//! | backups and restoring | [`Store::app_images`], [`Store::compare_apps`], [`Store::put_back`] |
//! | the sweeper | [`Store::apps_with_unfinished`], [`Store::unfinished_before`] |

mod apps;
mod attempts;
mod claim;
mod config;
mod directory;
mod endpoints;
mod error;
mod event_types;
mod idempotency;
mod images;
mod in_doubt;
mod keys;
mod life;
mod link;
mod losses;
mod marker;
mod members;
mod messages;
mod once;
mod pace;
mod page;
mod recorder;
mod replays;
mod restoration;
mod script;
mod seal;
mod server;
mod sessions;
mod states;
mod statistics;
mod store;
mod stream;
mod sweep;

pub use apps::version_at;
pub use attempts::{AttemptFilter, AttemptedFilter, DeliveryOutlook, StoredAttempt};
pub use claim::{Claim, Claimed};
pub use config::StoreConfig;
pub use directory::{AppEntry, Change, Directory, DirectoryStatus, EndpointEntry, Restored};
pub use error::{Cause, StoreError};
pub use event_types::EventType;
pub use idempotency::{Begun, REQUEST_LEASE, RequestOnce, StoredResponse};
pub use in_doubt::InDoubt;
pub use life::PutBack;
pub use losses::NotedLoss;
pub use marker::UnfinishedFrom;
pub use members::Role;
pub use messages::{Acceptance, Deliveries, MessageFilter, StoredMessage};
pub use nuncio_wire::record::{AttemptPosition, DeliveryRecord};
pub use once::{AcceptedOnce, Once, body_hash};
pub use page::{Order, Page, PageRequest, Position, Start};
pub use recorder::{Health, Record, Recorded, Recorder};
pub use replays::{NotedReplay, Replay, ReplayTask};
pub use restoration::{AppStands, EventTypeStands, Stands};
pub use seal::EndpointSecrets;
pub use server::Server;
pub use states::StateReader;
pub use statistics::{Counts, LATENCY_BUCKETS};
pub use store::Store;
pub use sweep::Unfinished;
