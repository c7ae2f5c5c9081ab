//! Publishes the six changes and a batch of other events.
//!
//! `cargo run -p nuncio-producer --example publish -- amqp://guest:guest@127.0.0.1:5672/%2f my-app`

use anyhow::{Context, Result};
use nuncio_producer::{Change, Event, EventTypeName, Producer};

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().context("name RabbitMQ's address")?;
    let app = arguments.next().context("name an app's id or uid")?;

    let producer = Producer::builder(url)
        .connection_name("example")
        .connect()
        .await?;

    let changes = [
        Change::UserCreated("user_1".into()),
        Change::UserUpdated("user_1".into()),
        Change::UserDeleted("user_1".into()),
        Change::OrganizationCreated("org_1".into()),
        Change::OrganizationUpdated("org_1".into()),
        Change::OrganizationDeleted("org_1".into()),
    ];
    for change in changes {
        let receipt = producer.publish(change.of(app.as_str())).await?;
        eprintln!("{change:?}: published as {receipt}");
    }

    let order = EventTypeName::parse("order.paid")?;
    let events = (0..1_000).map(|number| Event {
        app: app.clone(),
        event_type: order.clone(),
        payload: format!(r#"{{"order":{number}}}"#).into_bytes(),
        // Published twice, it is delivered once.
        event_id: Some(format!("order-{number}")),
        channels: Vec::new(),
    });
    let results = producer.publish_all(events).await;
    let confirmed = results.iter().filter(|result| result.is_ok()).count();
    eprintln!("a batch: {confirmed} of {} confirmed", results.len());

    producer.close().await;
    Ok(())
}
