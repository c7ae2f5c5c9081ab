//! The guard, switched on: nothing but public addresses is dialled, whatever a name or a redirect says.
//!
//! The test runs itself again in a network of its own (`unshare`), where public and private addresses alike lie on the
//! loopback interface and one listener takes whatever is dialled. There it needs no network and can reach none.

#![expect(clippy::unwrap_used, reason = "what only tests call fails as they do")]

use std::{net::IpAddr, process::Stdio};

use e2e::{
    Broker, Deployment, Event, Hostile, LONG, Manner, Redis,
    dns::{Dns, Record},
    eventually,
    process::{AtParentsDeath, mortal},
};

use crate::delivery_stage::{QUIET, stays, user};

/// Set for the second run of this test, inside.
const INSIDE: &str = "NUNCIO_TEST_INSIDE_NAMESPACE";
/// Says that this machine forbids namespaces and that this test is missed knowingly.
const EXCUSED: &str = "NUNCIO_TEST_WITHOUT_NAMESPACES";
/// Public addresses that lie on the loopback interface inside.
const PUBLIC: [&str; 2] = ["93.184.215.14", "1.1.1.1"];
/// Addresses inside that must never be dialled, beside all of 127.0.0.0/8.
const PRIVATE: [&str; 7] = [
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "168.63.129.16",
    "198.18.0.1",
];
/// The port of the listener that takes everything.
const PORT: u16 = 8_080;
const PRINTED: &str = "nothing private was dialled";

#[tokio::test(flavor = "multi_thread")]
async fn with_the_guard_on_only_public_addresses_are_dialled_whatever_names_say() {
    if std::env::var_os(INSIDE).is_some() {
        return inside().await;
    }
    if std::env::var_os(EXCUSED).is_some() {
        eprintln!(
            "NOT TESTED, as {EXCUSED} is set: the guard against private addresses, in a network of its own"
        );
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let addresses: String = PUBLIC
        .iter()
        .chain(&PRIVATE)
        .map(|address| format!("ip address add {address}/32 dev lo\n"))
        .collect();
    let script = format!(
        "ip link set lo up\n{addresses}mount --bind {} /etc/resolv.conf\nmount --bind {} /etc/nsswitch.conf\nexec \"$@\"",
        file(
            "resolv.conf",
            "nameserver 127.0.0.1\noptions timeout:2 attempts:3\n"
        ),
        file("nsswitch.conf", "hosts: files dns\npasswd: files\ngroup: files\n"),
    );
    let mut command = mortal("unshare", AtParentsDeath::Kill);
    command
        .args(["--map-root-user", "--net", "--mount", "--kill-child", "--fork"])
        .args(["sh", "-euc", &script, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("ssrf_namespace::with_the_guard_on_only_public_addresses_are_dialled_whatever_names_say")
        .env(INSIDE, "1")
        .env_remove("NUNCIO_TEST_AMQP_URL")
        .env_remove("NUNCIO_TEST_REDIS_URL")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // The binary must be there before the network is gone: cargo may want it.
    drop(
        Deployment::at("amqp://127.0.0.1:1", "redis://127.0.0.1:1")
            .await
            .unwrap(),
    );
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        output.status.success() && said.contains(PRINTED),
        "the test inside its own network failed, or `unshare -rnm` or `ip` (iproute2) is missing or forbidden here; \
         set {EXCUSED}=1 to do without this test knowingly:\n{said}"
    );
}

/// What is dialled, and how it should end.
struct Case {
    host: &'static str,
    records: Vec<Record>,
    /// Status of the first attempt, or none where the address must be refused.
    first: Option<u64>,
}

fn cases() -> Vec<Case> {
    let case = |host, records: &[Record], first| Case {
        host,
        records: records.to_vec(),
        first,
    };
    let private = |host, addresses: &[&str]| case(host, &[Record::of(addresses)], None);
    vec![
        case("public.test", &[Record::of(&["93.184.215.14"])], Some(200)),
        case(
            "alias.test",
            &[Record::alias("edge.test", &["1.1.1.1"])],
            Some(200),
        ),
        private("ten.test", &["10.0.0.1"]),
        private("loopback.test", &["127.0.0.1"]),
        private("loopback-six.test", &["::1"]),
        private("metadata.test", &["169.254.169.254"]),
        private("azure.test", &["168.63.129.16"]),
        private("carrier.test", &["100.64.0.1"]),
        private("home.test", &["192.168.1.1"]),
        private("office.test", &["172.16.0.1"]),
        private("lab.test", &["198.18.0.1"]),
        private("mapped.test", &["::ffff:10.0.0.1"]),
        private("nat64.test", &["64:ff9b::a00:1"]),
        private("mixed.test", &["93.184.215.14", "10.0.0.1"]),
        private("dual.test", &["93.184.215.14", "::1"]),
        case(
            "inner-alias.test",
            &[Record::alias("db.internal", &["10.0.0.1"])],
            None,
        ),
        // Public at first, loopback from the second look-up on.
        case(
            "rebinding.test",
            &[Record::of(&["93.184.215.14"]), Record::of(&["127.0.0.1"])],
            Some(200),
        ),
    ]
}

async fn inside() {
    let cases = cases();
    let names: Vec<(&str, &[Record])> = cases
        .iter()
        .map(|case| (case.host, case.records.as_slice()))
        .collect();
    let _dns = Dns::start("127.0.0.1:53".parse().unwrap(), &names).await.unwrap();
    let everywhere = Hostile::listen(([0, 0, 0, 0], PORT).into(), Manner::FineOnce, None)
        .await
        .unwrap();
    let redirecting = Manner::Redirect(307, format!("http://10.0.0.1:{PORT}/inside"));
    let redirecting = Hostile::listen(([93, 184, 215, 14], 8_081).into(), redirecting, None)
        .await
        .unwrap();

    let (broker, redis) = tokio::try_join!(Broker::start(), Redis::start()).unwrap();
    let proxy = format!("http://10.0.0.1:{PORT}");
    let mut deployment = Deployment::on(&broker, &redis)
        .await
        .unwrap()
        .with("NUNCIO_EGRESS_ALLOW", "")
        .with("NUNCIO_RETRY_ATTEMPTS", "2");
    for name in [
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "all_proxy",
    ] {
        deployment = deployment.with(name, &proxy);
    }
    let nuncio = deployment.start("all").await.unwrap();
    let api = nuncio.client().await.unwrap();
    let publisher = deployment.publisher().await.unwrap();
    let app = api.create_app("Guarded").await.unwrap();
    let mut endpoints = Vec::new();
    for case in &cases {
        let url = format!("http://{}:{PORT}/{}", case.host, case.host);
        endpoints.push(api.create_endpoint(&app, &url).await.unwrap());
    }
    let redirected = api
        .create_endpoint(&app, &format!("http://{}/", redirecting.address()))
        .await
        .unwrap();
    for round in 1..=2 {
        publisher
            .publish(&Event::new(&app, "sync.user", user(round)))
            .await
            .unwrap();
        for (case, endpoint) in cases.iter().zip(&endpoints) {
            // A refused address is tried again, as names change; what was delivered is not.
            let rebound = round == 2 && case.host == "rebinding.test";
            let refused = case.first.is_none() || rebound;
            let expected = match (case.first, rebound) {
                (Some(_), false) => round,
                (Some(_), true) => 3,
                (None, _) => 2 * round,
            };
            let attempts = eventually(case.host, LONG, || async {
                let attempts = api.attempts_by_endpoint(&app, endpoint).await.unwrap();
                (attempts.len() == expected).then_some(attempts)
            })
            .await;
            // The newest comes first.
            let newest = &attempts[0];
            if refused {
                assert_eq!(newest["responseStatusCode"], 0, "{}: {newest}", case.host);
                let reason = newest["response"].as_str().unwrap();
                assert!(reason.contains("not a public one"), "{}: {newest}", case.host);
            } else {
                assert_eq!(newest["responseStatusCode"], 200, "{}: {newest}", case.host);
            }
        }
    }
    let redirects = api.attempts_by_endpoint(&app, &redirected).await.unwrap();
    assert!(
        redirects
            .iter()
            .all(|attempt| attempt["responseStatusCode"] == 307)
    );
    let public: Vec<IpAddr> = PUBLIC.iter().map(|text| text.parse().unwrap()).collect();
    stays("only public addresses are dialled", QUIET, || {
        everywhere
            .connected_to()
            .iter()
            .all(|at| public.contains(&at.ip()))
    })
    .await;
    // Twice each of the two public names, once the one that was public at first.
    assert_eq!(everywhere.requests().len(), 5);
    eprintln!("{PRINTED}");
}
