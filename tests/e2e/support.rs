//! The support library's own promises: what the other tests stand on.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use e2e::{
    Answer, Broker, Event, FaultProxy, Mode, Publisher, Receiver, Redis, SHORT, eventually, ports::free_port,
};
use lapin::{
    BasicProperties, ExchangeKind,
    options::{BasicPublishOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::FieldTable,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

async fn declare(publisher: &Publisher, namespace: &str) -> lapin::Result<()> {
    let channel = publisher.channel();
    let (events, queue) = (format!("{namespace}.events"), format!("{namespace}.seen"));
    let exchange = ExchangeDeclareOptions {
        durable: true,
        ..Default::default()
    };
    let none = FieldTable::default;
    channel
        .exchange_declare(events.as_str().into(), ExchangeKind::Topic, exchange, none())
        .await?;
    let durable = QueueDeclareOptions {
        durable: true,
        ..Default::default()
    };
    channel
        .queue_declare(queue.as_str().into(), durable, none())
        .await?;
    let bind = QueueBindOptions::default();
    channel
        .queue_bind(
            queue.as_str().into(),
            events.as_str().into(),
            "#".into(),
            bind,
            none(),
        )
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_killed_and_restarted_is_the_same_broker_with_its_confirmed_messages() {
    let mut broker = Broker::start().await.unwrap();
    let publisher = Publisher::connect(broker.url(), "t").await.unwrap();
    declare(&publisher, "t").await.unwrap();
    let events =
        (0..100).map(|n| Event::new("app", "sync.user", format!("{{\"n\":{n}}}")).id(&n.to_string()));
    assert_eq!(publisher.publish_all(events).await.unwrap(), 100);

    let pid = broker.pid().unwrap();
    broker.kill().await.unwrap();
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    broker.restart().await.unwrap();

    let publisher = Publisher::connect(broker.url(), "t").await.unwrap();
    let first = eventually("the first message is back", SHORT, || async {
        publisher.take("seen").await.unwrap()
    });
    let first = first.await;
    assert_eq!(
        (first.body.as_ref(), first.routing_key.as_str()),
        (b"{\"n\":0}".as_slice(), "app.sync.user")
    );
    for _ in 1..100 {
        publisher.take("seen").await.unwrap().unwrap();
    }
    assert!(publisher.take("seen").await.unwrap().is_none());
    assert!(
        broker
            .ctl(&["list_queues", "name"])
            .await
            .unwrap()
            .contains("t.seen")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_broker_answers_nothing_until_thawed() {
    let broker = Broker::start().await.unwrap();
    let publisher = Publisher::connect(broker.url(), "t").await.unwrap();
    declare(&publisher, "t").await.unwrap();
    broker.freeze().unwrap();
    let event = Event::new("app", "sync.user", "{}");
    assert!(
        timeout(Duration::from_millis(500), publisher.publish(&event))
            .await
            .is_err()
    );
    broker.thaw().unwrap();
    timeout(SHORT, publisher.publish(&event)).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_server_leaves_neither_process_nor_directory() {
    let redis = Redis::start().await.unwrap();
    let pid = redis.pid().unwrap();
    let directory = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
    assert!(directory.exists());
    drop(redis);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    assert!(!directory.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_shut_down_in_order_keeps_its_data() {
    let mut redis = Redis::start().await.unwrap();
    redis.command(&["SET", "key", "value"]).await.unwrap();
    redis.stop().await.unwrap();
    redis.restart().await.unwrap();
    assert_eq!(
        redis.command(&["GET", "key"]).await.unwrap(),
        redis::Value::BulkString(b"value".to_vec())
    );
}

#[tokio::test]
async fn a_receiver_records_what_arrives_and_answers_in_turn() {
    let mut receiver = Receiver::start().await.unwrap();
    receiver.answer(
        "/a",
        [
            Answer::status(500),
            Answer::status(429).header("retry-after", "2"),
            Answer::ok(),
        ],
    );
    let client = reqwest_client();
    let mut statuses = Vec::new();
    for n in 0..4 {
        let sent = client
            .post(receiver.url("/a?q=1"))
            .header("webhook-id", "msg_1")
            .body(n.to_string())
            .send();
        let response = sent.await.unwrap();
        statuses.push((
            response.status().as_u16(),
            response.headers().get("retry-after").is_some(),
        ));
    }
    assert_eq!(statuses, [(500, false), (429, true), (200, false), (200, false)]);
    let requests = receiver.wait_for("/a", 4, SHORT).await;
    assert_eq!(
        requests.iter().map(|request| request.text()).collect::<String>(),
        "0123"
    );
    assert_eq!(receiver.times_by_id("/a"), [("msg_1".to_owned(), 4)].into());

    receiver.answer("/closed", [Answer::close()]);
    assert!(
        client
            .get(receiver.url("/closed"))
            .send()
            .await
            .unwrap_err()
            .is_request()
    );
    receiver.answer("/drip", [Answer::ok().endless(1, Duration::from_millis(1))]);
    let drip = client.get(receiver.url("/drip")).send().await.unwrap();
    assert!(timeout(Duration::from_millis(300), drip.bytes()).await.is_err());

    receiver.stop();
    let refused = || async {
        client
            .get(receiver.url("/a"))
            .send()
            .await
            .err()
            .filter(reqwest::Error::is_connect)
    };
    eventually("the connection is refused", SHORT, refused).await;
    receiver.resume().await.unwrap();
    assert_eq!(client.get(receiver.url("/a")).send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_passes_holds_cuts_and_resets() {
    let echo = TcpListener::bind(("127.0.0.1", free_port())).await.unwrap();
    let proxy = FaultProxy::to(echo.local_addr().unwrap()).await.unwrap();
    let tasks = tokio_util::task::TaskTracker::new();
    tasks.spawn(async move {
        loop {
            let (mut stream, _) = echo.accept().await.unwrap();
            let copies = tokio_util::task::TaskTracker::new();
            copies.spawn(async move {
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await.is_ok()
            });
        }
    });
    let mut buffer = [0; 64];

    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    assert_eq!(stream.read(&mut buffer).await.unwrap(), 5);

    proxy.set(Mode::Blackhole);
    stream.write_all(b"lost for now").await.unwrap();
    assert!(
        timeout(Duration::from_millis(200), stream.read(&mut buffer))
            .await
            .is_err()
    );
    proxy.set(Mode::Pass);
    assert_eq!(stream.read(&mut buffer).await.unwrap(), 12);

    proxy.half_close_all();
    assert_eq!(
        timeout(SHORT, stream.read(&mut buffer)).await.unwrap().unwrap(),
        0
    );

    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    proxy.cut_after(3);
    stream.write_all(b"abcdef").await.unwrap();
    let mut seen = Vec::new();
    let ended = timeout(SHORT, stream.read_to_end(&mut seen)).await.unwrap();
    assert!(
        ended.is_err() && b"abc".starts_with(&seen),
        "{ended:?} after {seen:?}"
    );

    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    assert_eq!(stream.read(&mut buffer).await.unwrap(), 1);
    proxy.reset_all();
    let error = timeout(SHORT, stream.read(&mut buffer))
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_message_that_no_queue_wants_is_not_taken_for_published() {
    let broker = Broker::start().await.unwrap();
    let publisher = Publisher::connect(broker.url(), "t").await.unwrap();
    let mandatory = BasicPublishOptions {
        mandatory: true,
        ..Default::default()
    };
    let sent = publisher.channel().basic_publish(
        "".into(),
        "nowhere".into(),
        mandatory,
        b"",
        BasicProperties::default(),
    );
    let confirmation = sent.await.unwrap().await.unwrap();
    assert!(
        matches!(confirmation, lapin::Confirmation::Ack(Some(_))),
        "{confirmation:?}"
    );
    let missing = Event {
        body: Bytes::new(),
        ..Event::new("app", "sync.user", "")
    };
    assert!(publisher.publish(&missing).await.is_err(), "there is no exchange");
}

fn reqwest_client() -> reqwest::Client {
    e2e::install_tls_provider();
    reqwest::Client::builder().no_proxy().build().expect("a client")
}
