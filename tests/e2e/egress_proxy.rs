//! The operator's proxy, and those that an environment may name.

use e2e::{Deployment, LONG, Receiver};

use crate::delivery_stage::{Stage, user};

#[tokio::test(flavor = "multi_thread")]
async fn requests_go_through_the_operators_proxy_and_never_through_the_environments() {
    let (proxy, evil) = tokio::try_join!(Receiver::start(), Receiver::start()).unwrap();
    let tempted = async || {
        let environment = ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];
        let deployment = Deployment::shared().await.unwrap();
        let names = environment.iter();
        names.fold(deployment, |deployment, name| {
            deployment.with(name, &evil.url(""))
        })
    };
    let proxied = tempted().await.with("NUNCIO_EGRESS_PROXY", &proxy.url(""));
    let proxied = Stage::on(proxied).await;
    // A name that nobody has to know but the proxy.
    let url = "http://hooks.example.com/hook?a=1";
    proxied.api.create_endpoint(&proxied.app, url).await.unwrap();
    proxied.publish_user(1).await;
    let arrived = proxy.wait_for("/hook", 1, LONG).await.remove(0);
    assert_eq!(arrived.header("host"), "hooks.example.com");
    assert_eq!(arrived.text(), user(1));

    let direct = Stage::on(tempted().await).await;
    direct.endpoint("/a").await;
    direct.publish_user(2).await;
    direct.receiver.wait_for("/a", 1, LONG).await;
    assert_eq!((evil.count("/a"), evil.count("/hook")), (0, 0));
}
