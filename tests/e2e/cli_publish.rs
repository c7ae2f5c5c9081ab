//! `nuncio publish`: what is confirmed, what is told, and the exit code.

use e2e::{Deployment, LONG};

use crate::delivery_stage::Stage;

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("output is text")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_six_changes_arrive_with_exactly_their_bodies() {
    let stage = Stage::set(&[]).await;
    stage.endpoint("/a").await;
    let (user, organization) = ("user_2Ab", "org_a-much-longer-suffix-0123456789");
    let mut ids = Vec::new();
    for (change, subject) in [
        ("user-created", user),
        ("user-updated", user),
        ("user-deleted", user),
        ("organization-created", organization),
        ("organization-updated", organization),
        ("organization-deleted", organization),
    ] {
        let output = stage
            .deployment
            .run(&["publish", "--app", &stage.app, change, subject])
            .await
            .unwrap();
        assert!(output.status.success(), "{change}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains("published 1, confirmed 1"));
        ids.push(text(&output.stdout).trim().to_owned());
    }
    let received = stage.receiver.wait_for("/a", 6, LONG).await;
    let mut found: Vec<_> = received
        .iter()
        .map(|request| (request.id().to_owned(), request.text().to_owned()))
        .collect();
    let mut expected: Vec<_> = ids
        .into_iter()
        .enumerate()
        .map(|(nth, id)| {
            let body = if nth < 3 {
                format!(r#"{{"type":"sync.user","userId":"{user}"}}"#)
            } else {
                format!(r#"{{"type":"sync.organization","organizationId":"{organization}"}}"#)
            };
            (id, body)
        })
        .collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_lines_are_told_by_number_and_the_others_are_published() {
    let stage = Stage::set(&[("NUNCIO_MAX_PAYLOAD", "1KiB")]).await;
    stage.endpoint("/a").await;
    let too_large = format!(r#"{{"type":"t","payload":"{}"}}"#, "x".repeat(2_000));
    let lines = [
        r#"{"type":"sync.user","payload":{"n" : 1},"id":"first"}"#,
        "no JSON",
        "",
        r#"{"type":"t"}"#,
        &too_large,
        r#"{"type":"bad type","payload":1}"#,
        r#"{"type":"sync.user","payload":{"n":2}}"#,
    ]
    .join("\n");
    let output = stage
        .deployment
        .run_with_input(&["publish", "--app", &stage.app], &lines)
        .await
        .unwrap();
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    for number in [2, 4, 5, 6] {
        assert!(told.contains(&format!("line {number}: ")), "{told}");
    }
    assert!(
        !told.contains("line 1:") && !told.contains("line 3:") && !told.contains("line 7:"),
        "{told}"
    );
    assert!(
        told.contains("published 2, confirmed 2") && told.contains("4 unreadable"),
        "{told}"
    );
    let ids: Vec<_> = text(&output.stdout).lines().map(str::to_owned).collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(ids[0], "first");

    let received = stage.receiver.wait_for("/a", 2, LONG).await;
    let mut bodies: Vec<_> = received.iter().map(|request| request.text()).collect();
    bodies.sort_unstable();
    assert_eq!(bodies, [r#"{"n" : 1}"#, r#"{"n":2}"#]);
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_lines_are_confirmed_and_delivered_each_once() {
    const LINES: usize = 3_000;
    let stage = Stage::set(&[]).await;
    stage.endpoint("/a").await;
    let lines: String = (0..LINES)
        .map(|n| {
            format!(
                "{{\"app\":\"{}\",\"type\":\"sync.user\",\"payload\":{{\"n\":{n}}}}}\n",
                stage.app
            )
        })
        .collect();
    let output = stage
        .deployment
        .run_with_input(&["publish"], &lines)
        .await
        .unwrap();
    let told = text(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert!(
        told.contains(&format!("published {LINES}, confirmed {LINES}")),
        "{told}"
    );
    let ids: Vec<_> = text(&output.stdout).lines().map(str::to_owned).collect();
    assert_eq!(ids.len(), LINES);

    stage.receiver.wait_for("/a", LINES, LONG).await;
    let times = stage.receiver.times_by_id("/a");
    assert!(
        ids.iter().all(|id| times.get(id) == Some(&1)),
        "each id arrives once"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_claimed_where_no_router_ever_ran() {
    let deployment = Deployment::shared().await.unwrap();
    let output = deployment
        .run(&["publish", "--app", "acme", "user-created", "user_1"])
        .await
        .unwrap();
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(output.stdout.is_empty());
    let exchange = format!("{}.events does not exist", deployment.namespace());
    assert!(
        told.contains(&exchange) && told.contains("1 NOT CONFIRMED"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_with_an_id_is_delivered_once_however_often_it_is_published() {
    let stage = Stage::set(&[]).await;
    stage.endpoint("/a").await;
    let publish = [
        "publish", "--app", &stage.app, "--type", "t", "--data", "{}", "--id", "same",
    ];
    for _ in 0..3 {
        let output = stage.deployment.run(&publish).await.unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "same\n");
    }
    let marker = stage
        .deployment
        .run(&["publish", "--app", &stage.app, "--type", "t", "--data", "[]"])
        .await
        .unwrap();
    assert!(marker.status.success());
    stage.receiver.wait_for("/a", 2, LONG).await;
    let mut bodies: Vec<_> = stage
        .receiver
        .requests("/a")
        .iter()
        .map(|r| r.text().to_owned())
        .collect();
    bodies.sort();
    assert_eq!(bodies, ["[]", "{}"]);
}
