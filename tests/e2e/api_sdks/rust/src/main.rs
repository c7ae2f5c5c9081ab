//! Drives every operation of Svix's official Rust client that Nuncio serves, with real deliveries in between that the
//! client's own verifier checks. Arguments: server address, admin token.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use svix::{Error, Svix, Webhook, api};

use receiver::Receiver;

mod access;
mod configuration;
mod deliveries;
mod receiver;

const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
const OWN_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const KIND: &str = "rust.thing";

/// What is driven, and where deliveries arrive.
struct Client {
    api: Svix,
    uid: String,
    receiver: Receiver,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let server_url = arguments.next();
    let token = arguments.next().context("address and token are needed")?;
    let uid = format!("rust-{}", std::process::id());
    let options = api::SvixOptions {
        server_url,
        ..api::SvixOptions::default()
    };
    let client = Client {
        api: Svix::new(token, Some(options)),
        uid: uid.clone(),
        receiver: Receiver::start().await?,
    };
    client.api.health().get().await?;
    client.applications().await.context("applications")?;
    client.event_types().await.context("event types")?;
    client.endpoints().await.context("endpoints")?;
    client.headers().await.context("headers")?;
    let sent = client.messages().await.context("messages")?;
    client.attempts(&sent).await.context("attempts")?;
    client.again(&sent).await.context("sent again")?;
    client.secrets().await.context("secrets")?;
    client.expunged(&sent).await.context("expunged")?;
    client.access().await.context("access")?;
    client.gone().await.context("gone")?;
    println!("every operation of svix for Rust did as it should");
    Ok(())
}

fn set(names: &[&str]) -> Option<BTreeSet<String>> {
    Some(names.iter().map(|&name| name.to_owned()).collect())
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = pairs
        .iter()
        .map(|&(name, value)| (name.to_owned(), value.to_owned()));
    owned.collect()
}

/// The payload too: without a word this client asks for none.
fn with_content() -> Option<api::MessageGetOptions> {
    Some(api::MessageGetOptions {
        with_content: Some(true),
    })
}

/// An hour ago.
fn lately() -> chrono::DateTime<chrono::Utc> {
    chrono::Utc::now() - chrono::Duration::hours(1)
}

async fn until<T, F: Future<Output = Result<Option<T>>>>(what: &str, ask: impl Fn() -> F) -> Result<T> {
    let wait = async {
        loop {
            if let Some(answer) = ask().await? {
                return anyhow::Ok(answer);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .with_context(|| format!("in vain waited for {what}"))?
}

async fn refused<T: std::fmt::Debug>(status: u16, call: impl Future<Output = svix::Result<T>>) -> Result<()> {
    let (got, readable) = match call.await {
        Err(Error::Http(error)) => (error.status, error.payload.is_some()),
        Err(Error::Validation(error)) => (error.status, error.payload.is_some()),
        other => bail!("expected {status}, got {other:?}"),
    };
    anyhow::ensure!(got.as_u16() == status && readable, "expected {status}, got {got}");
    Ok(())
}

impl Client {
    fn id(&self) -> String {
        self.uid.clone()
    }

    fn hook(&self, path: &str) -> String {
        format!("{}{path}", self.receiver.url)
    }

    async fn arrived(&self, path: &str, count: usize) -> Result<Vec<receiver::Arrived>> {
        until(&format!("{count} requests at {path}"), || async {
            let arrived = self.receiver.at(path);
            Ok((arrived.len() >= count).then_some(arrived))
        })
        .await
    }

    async fn verify(&self, endpoint: &str, arrived: &receiver::Arrived) -> Result<()> {
        let secret = self
            .api
            .endpoint()
            .get_secret(self.id(), endpoint.into())
            .await?
            .key;
        Webhook::new(&secret)?.verify(&arrived.body, &arrived.headers)?;
        let mut forged = arrived.body.clone();
        forged.push(b' ');
        assert!(Webhook::new(&secret)?.verify(&forged, &arrived.headers).is_err());
        Ok(())
    }
}
