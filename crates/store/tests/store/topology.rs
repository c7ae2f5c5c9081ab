//! Sentinel and Cluster.

use std::process::Command;

use nuncio_domain::DeliveryStatus;
use nuncio_store::{Claimed, Directory, PageRequest, Recorded, Recorder, Store};

use crate::support::{
    self, Life, Redis, app, claim, delivery, eventually, kept_app, kept_endpoint, message, record, secret,
    state, version_with,
};

/// Walks through what each role does.
async fn works(store: &Store) {
    let life = Life::new();
    let directory = Directory::follow(store.clone(), &life.tracker, life.stop.clone(), true).await;
    let recorder = Recorder::start(store.clone(), &life.tracker, life.stop.clone());
    let mut claims = Vec::new();
    let mut sent = Vec::new();
    for n in 0..20 {
        let app = app(Some(&format!("app-{n}-{}", support::unique())));
        store.create_app(&app).await.unwrap();
        let endpoint = kept_endpoint(store, &app.id).await;
        let message = message(&app.id, Some("event"));
        claims.push(claim(&message, version_with(1), &[&endpoint]));
        sent.push((message, endpoint));
    }
    assert_eq!(store.claim(&claims).await.unwrap(), vec![Claimed::New; 20]);
    let routed: Vec<_> = sent
        .iter()
        .map(|(message, _)| (message.app_id.clone(), message.id.clone()))
        .collect();
    store.mark_routed(&routed).await.unwrap();
    assert_eq!(store.claim(&claims).await.unwrap(), vec![Claimed::Duplicate; 20]);
    let records = sent
        .iter()
        .map(|(message, endpoint)| recorder.record(record(message, endpoint, 1, 200)));
    for recorded in futures_util::future::join_all(records).await {
        assert_eq!(recorded, Recorded::Saved);
    }
    let asked: Vec<_> = sent
        .iter()
        .map(|(message, endpoint)| (message.app_id.clone(), delivery(message, endpoint)))
        .collect();
    let states = store.delivery_states(&asked).await.unwrap();
    assert!(
        states
            .iter()
            .all(|found| *found == Some(state(DeliveryStatus::Delivered, 0, 1)))
    );
    eventually("the directory has them all", || async {
        sent.iter()
            .all(|(_, endpoint)| directory.endpoint(&endpoint.id).is_some())
    })
    .await;
    assert_eq!(
        store
            .list_apps(&PageRequest::first(100))
            .await
            .unwrap()
            .items
            .len(),
        20
    );
    assert!(recorder.flush(std::time::Duration::from_secs(5)).await);
    for (message, _) in &sent {
        assert!(store.delete_app(&message.app_id).await.unwrap());
    }
    eventually("the directory has none", || async {
        directory.endpoint_count() == 0
    })
    .await;
    life.end().await;
}

#[tokio::test]
async fn one_server_serves_every_role() {
    works(&support::store().await).await;
}

#[tokio::test]
async fn a_cluster_of_three_serves_every_role() {
    let mut nodes = Vec::new();
    for _ in 0..3 {
        // The port of the cluster's own bus is the node's plus 10,000.
        let port = loop {
            let port = support::free_port();
            if port < 50_000 {
                break port;
            }
        };
        let mut node = Redis::prepare(
            port,
            &["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"],
        );
        node.resume().await;
        nodes.push(node);
    }
    let addresses: Vec<String> = nodes
        .iter()
        .map(|node| format!("127.0.0.1:{}", node.port))
        .collect();
    let created = Command::new("redis-cli")
        .args(["--cluster", "create"])
        .args(&addresses)
        .args(["--cluster-yes"])
        .output()
        .unwrap();
    assert!(
        created.status.success(),
        "{}",
        String::from_utf8_lossy(&created.stdout)
    );
    for node in &nodes {
        eventually("the cluster is up", || async {
            format!("{:?}", node.command(&["CLUSTER", "INFO"]).await).contains("cluster_state:ok")
        })
        .await;
    }
    let store = support::store_at(&format!("redis+cluster://{}", addresses.join(",")));
    works(&store).await;
}

#[tokio::test]
async fn a_failover_under_sentinel_is_followed() {
    let mut first = Redis::start().await;
    let mut second = Redis::prepare(support::free_port(), &[]);
    second.resume().await;
    second
        .command(&["REPLICAOF", "127.0.0.1", &first.port.to_string()])
        .await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("sentinel.conf");
    let text = format!(
        "sentinel monitor main 127.0.0.1 {} 1\nsentinel down-after-milliseconds main 500\n\
         sentinel failover-timeout main 3000\n",
        first.port
    );
    std::fs::write(&file, text).unwrap();
    let path = file.display().to_string();
    let sentinel = Redis::start_with(&[&path, "--sentinel", "--appendonly", "no"]).await;
    eventually("the sentinel knows the replica", || async {
        format!("{:?}", sentinel.command(&["SENTINEL", "REPLICAS", "main"]).await)
            .contains(&second.port.to_string())
    })
    .await;
    eventually("the replica is in step", || async {
        format!("{:?}", second.command(&["INFO", "replication"]).await).contains("master_link_status:up")
    })
    .await;
    let store = support::store_at(&format!("redis+sentinel://127.0.0.1:{}/main", sentinel.port));
    let before = kept_app(&store).await;
    eventually("the replica has it", || async {
        let keys = second.command(&["DBSIZE"]).await;
        keys != redis::Value::Int(0)
    })
    .await;
    first.kill();
    let after = app(None);
    eventually("the new master takes writes", || async {
        store.create_app(&after).await.is_ok()
    })
    .await;
    assert!(store.app(before.id.as_str()).await.unwrap().is_some());
    store
        .create_endpoint(&support::endpoint(&after.id, None), &secret())
        .await
        .unwrap();
}
