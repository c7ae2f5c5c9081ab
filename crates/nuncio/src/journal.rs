//! Reading the journal of configuration, and filling a store from it.
//!
//! Owns how the end of the journal is found: an entry of one's own is written, and everything before it is read.
//! Guarantees that a store which never held anything, or lost all it held, is filled before anything is done with it.
//! Refuses to write configuration into the journal: a router does.

use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::Context;
use nuncio_broker::{Broker, Outgoing, Route};
use nuncio_domain::{MessageId, UnixMillis};
use nuncio_runtime::{Clock, Dice};
use nuncio_store::{PutBack, Restored, Store};
use nuncio_wire::Properties;
use nuncio_wire::journal::{Configuration, JournalEntry, Replay};

/// Between two tries while RabbitMQ or Redis is away.
const AGAIN: Duration = Duration::from_secs(1);
/// How long the entry that marks the end may take to be confirmed.
const CONFIRM_WITHIN: Duration = Duration::from_secs(10);

/// What the journal says; nothing when there is none.
pub(crate) async fn replay(broker: &Broker) -> anyhow::Result<Configuration> {
    let journal = broker.names().journal();
    if broker.depth(journal).await?.is_none() {
        return Ok(Configuration::default());
    }
    let now = UnixMillis(Clock::system().now());
    let word = Dice::system().with(|mut rng| MessageId::generate(now, &mut rng));
    let look = JournalEntry::Look {
        word: word.as_str().to_owned(),
    };
    let deadline = tokio::time::Instant::now() + CONFIRM_WITHIN;
    let message = Outgoing::persistent(Properties::default(), look.to_json().into_bytes());
    broker
        .publisher()
        .publish(&Route::queue(journal), message, deadline)
        .await
        .context("failed to mark the end of the journal")?;
    let mut replay = Replay::default();
    let mut unreadable = 0_usize;
    let read = |body: &[u8]| {
        match JournalEntry::parse(body) {
            Ok(entry) if entry == look => return ControlFlow::Break(()),
            Ok(entry) => replay.apply(entry),
            Err(_) => unreadable += 1,
        }
        ControlFlow::Continue(())
    };
    broker
        .read_stream(journal, read)
        .await
        .context("failed to read the journal")?;
    if unreadable > 0 {
        tracing::error!(
            unreadable,
            journal,
            "entries of the journal cannot be read and are passed over"
        );
    }
    Ok(replay.finish())
}

/// Fills a store that holds nothing with what the journal says, however long that takes.
pub(crate) async fn fill_blank(broker: &Broker, store: &Store) {
    loop {
        match try_fill_blank(broker, store).await {
            Ok(()) => return,
            Err(error) => tracing::warn!(
                error = format!("{error:#}"),
                "whether an empty store is to be filled from the journal is not known yet"
            ),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn try_fill_blank(broker: &Broker, store: &Store) -> anyhow::Result<()> {
    if !store.is_blank().await? {
        return Ok(());
    }
    let configuration = replay(broker).await?;
    if configuration.is_empty() {
        return Ok(());
    }
    match store.put_back(&configuration, PutBack::IfBlank, |_| {}).await? {
        Restored::Here => tracing::warn!(
            apps = configuration.apps.len(),
            "the store held nothing: apps, endpoints and secrets were put back from the journal"
        ),
        Restored::Elsewhere | Restored::NotEmptied => {}
    }
    Ok(())
}
