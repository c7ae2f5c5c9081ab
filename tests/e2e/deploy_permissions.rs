//! The RabbitMQ users of `deploy/rabbitmq/definitions.json`: each role works as its own, and the others may do what
//! theirs say and no more. With a token secret of the API's own, which routers and senders do not have.

#![expect(clippy::unwrap_used, reason = "what only tests call fails as they do")]

use e2e::{Answer, Broker, Deployment, Event, LONG, Publisher, Receiver, Redis, eventually};
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, ExchangeKind};
use serde_json::{Value, json};

const DEFINITIONS: &str = include_str!("../../deploy/rabbitmq/definitions.json");
const PASSWORD: &str = "correct-horse";
const USER: &str = r#"{"type":"sync.user","userId":"user_1"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn each_role_works_as_its_own_user_and_publishers_only_publish() {
    let (broker, redis) = tokio::try_join!(Broker::start(), Redis::start()).unwrap();
    let deployment = Deployment::on(&broker, &redis)
        .await
        .unwrap()
        .with("NUNCIO_ENDPOINT_QUEUE_TYPE", "quorum");
    let namespace = deployment.namespace().to_owned();
    import(&broker, &namespace).await;
    let url = |user: &str| {
        broker
            .url()
            .replace("guest:guest@", &format!("{user}:{PASSWORD}@"))
    };
    let of = |user: &str| deployment.clone().with("NUNCIO_AMQP_URL", &url(user));

    let secret = "a secret that only the API has, and not the others";
    let nuncio = of("nuncio-api")
        .with("NUNCIO_TOKEN_SECRET", secret)
        .start("api")
        .await
        .unwrap();
    let _router = of("nuncio-router").start("router").await.unwrap();
    let _sender = of("nuncio-sender").start("sender").await.unwrap();

    let api = nuncio.client().await.unwrap();
    let receiver = Receiver::start().await.unwrap();
    receiver.answer("/b", [Answer::status(500), Answer::ok()]);
    receiver.answer("/gone", [Answer::status(410)]);
    let app = api.create_app("Acme").await.unwrap();
    let endpoint = api.create_endpoint(&app, &receiver.url("/a")).await.unwrap();
    for path in ["/b", "/gone"] {
        api.create_endpoint(&app, &receiver.url(path)).await.unwrap();
    }

    // Fanned out, delivered, retried up the ladder, disabled, set aside, published by REST: all within their rights.
    let publisher = Publisher::connect(&url("nuncio-publisher"), &namespace)
        .await
        .unwrap();
    publisher
        .publish(&Event::new(&app, "sync.user", USER))
        .await
        .unwrap();
    publisher
        .publish(&Event::new(&app, "sync.user", "not JSON"))
        .await
        .unwrap();
    api.create_message(
        &app,
        "sync.user",
        &json!({"type": "sync.user", "userId": "user_2"}),
    )
    .await
    .unwrap();
    receiver.wait_for("/a", 2, LONG).await;
    receiver.wait_for("/b", 3, LONG).await;
    receiver.wait_for("/gone", 1, LONG).await;

    // A look at a queue's depth needs no right but to be there; that is what an autoscaler does.
    let autoscaler = Publisher::connect(&url("nuncio-autoscaler"), &namespace)
        .await
        .unwrap();
    eventually("the unreadable event is set aside", LONG, async || {
        (autoscaler.depth("set-aside").await.unwrap() == 1).then_some(())
    })
    .await;
    assert!(
        autoscaler
            .publish(&Event::new(&app, "sync.user", USER))
            .await
            .is_err()
    );

    api.delete(&format!("/api/v1/app/{app}/endpoint/{endpoint}"))
        .await
        .unwrap();
    let lane = format!("endpoint.{endpoint}");
    eventually("the lane is deleted", LONG, async || {
        let look = Publisher::connect(broker.url(), &namespace).await.unwrap();
        look.depth(&lane).await.is_err().then_some(())
    })
    .await;

    // A publisher reaches neither lanes nor queues, and one that is tied to an app no other app.
    for exchange in [format!("{namespace}.deliveries"), String::new()] {
        let publisher = Publisher::connect(&url("nuncio-publisher"), &namespace)
            .await
            .unwrap();
        let key = format!("{namespace}.ingest");
        assert!(
            refuses(&publisher, &exchange, &key).await,
            "published to {exchange:?}"
        );
    }
    only_publishes(&url("nuncio-publisher"), &namespace).await;
    let tied = Publisher::connect(&url("tied"), &namespace).await.unwrap();
    tied.publish(&Event::new("app_mine", "sync.user", USER))
        .await
        .unwrap();
    assert!(tied.publish(&Event::new(&app, "sync.user", USER)).await.is_err());
    // And neither router nor sender may pretend to be an application.
    for user in ["nuncio-router", "nuncio-sender"] {
        let role = Publisher::connect(&url(user), &namespace).await.unwrap();
        assert!(
            role.publish(&Event::new(&app, "sync.user", USER)).await.is_err(),
            "{user}"
        );
    }
}

/// Asserts that RabbitMQ lets this user declare, bind and read nothing, neither of the namespace nor of its own.
async fn only_publishes(url: &str, namespace: &str) {
    let none = FieldTable::default;
    for name in [format!("{namespace}.ingest"), "of-my-own".to_owned()] {
        // Each refusal ends its channel.
        let connect = async || Publisher::connect(url, namespace).await.unwrap();
        let channel = connect().await;
        let durable = QueueDeclareOptions::durable();
        let queue = channel
            .channel()
            .queue_declare(name.as_str().into(), durable, none());
        denied("queue_declare", &name, queue.await.map(drop));

        let channel = connect().await;
        let exchange = channel.channel().exchange_declare(
            name.as_str().into(),
            ExchangeKind::Topic,
            ExchangeDeclareOptions::default(),
            none(),
        );
        denied("exchange_declare", &name, exchange.await);
    }
    let (ingest, events) = (format!("{namespace}.ingest"), format!("{namespace}.events"));
    let channel = Publisher::connect(url, namespace).await.unwrap();
    let bound = channel.channel().queue_bind(
        ingest.as_str().into(),
        events.into(),
        "mine.#".into(),
        QueueBindOptions::default(),
        none(),
    );
    denied("queue_bind", &ingest, bound.await);

    let channel = Publisher::connect(url, namespace).await.unwrap();
    let consumed = channel.channel().basic_consume(
        ingest.as_str().into(),
        "".into(),
        BasicConsumeOptions::default(),
        none(),
    );
    denied("basic_consume", &ingest, consumed.await.map(drop));
}

fn denied(what: &str, on: &str, outcome: lapin::Result<()>) {
    let error = outcome.expect_err(what).to_string();
    assert!(error.contains("ACCESS_REFUSED"), "{what} on {on}: {error}");
}

/// Whether RabbitMQ refuses a message to `exchange`.
async fn refuses(publisher: &Publisher, exchange: &str, key: &str) -> bool {
    let sent = publisher
        .channel()
        .basic_publish(
            exchange.into(),
            key.into(),
            BasicPublishOptions::default(),
            USER.as_bytes(),
            BasicProperties::default(),
        )
        .await;
    match sent {
        Ok(confirm) => confirm.await.is_err(),
        Err(_) => true,
    }
}

/// The users of the file with passwords, their rights moved to `namespace`, and a publisher tied to `app_mine`.
async fn import(broker: &Broker, namespace: &str) {
    let mut definitions: Value =
        serde_json::from_str(&DEFINITIONS.replace(r"nuncio\\.", &format!(r"{namespace}\\."))).unwrap();
    let users = definitions["users"].as_array_mut().unwrap();
    users.push(json!({"name": "tied", "tags": ""}));
    for user in users {
        user["password"] = PASSWORD.into();
    }
    let permissions = definitions["permissions"].as_array_mut().unwrap();
    let mut tied = permissions
        .iter()
        .find(|permission| permission["user"] == "nuncio-publisher")
        .unwrap()
        .clone();
    tied["user"] = "tied".into();
    permissions.push(tied);
    definitions["topic_permissions"] = json!([{
        "user": "tied", "vhost": "/", "exchange": format!("{namespace}.events"), "write": r"^app_mine\.", "read": "^$",
    }]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), definitions.to_string()).unwrap();
    broker
        .ctl(&["import_definitions", file.path().to_str().unwrap()])
        .await
        .unwrap();
}
