//! RabbitMQ as a client sees it: version, permissions, topology, queues without a leader.

use nuncio_broker::{BrokerConfig, BrokerError, Found, Surveyor};
use nuncio_runtime::lifecycle::chain;

use super::Role;
use super::finding::Finding;

/// The oldest version that is supported, and the first that was never tried.
const OLDEST: (u32, u32) = (3, 10);
const UNTRIED: (u32, u32) = (5, 0);

pub(super) async fn examine(config: &BrokerConfig, role: Role) -> Vec<Finding> {
    let surveyor = match Surveyor::connect(config).await {
        Ok(surveyor) => surveyor,
        Err(error) => {
            let advice = "start RabbitMQ, or correct NUNCIO_AMQP_URL: address, user, password, virtual host";
            return vec![Finding::bad("amqp", "connection", chain(&error), advice)];
        }
    };
    let mut found = vec![Finding::good(
        "amqp",
        "connection",
        format!("{} answers", surveyor.address),
    )];
    found.push(judge_version(surveyor.version().await.as_deref()));
    match survey(&surveyor, role, &config.namespace).await {
        Ok(mut surveyed) => found.append(&mut surveyed),
        Err(error) => found.push(Finding::bad(
            "amqp",
            "topology",
            chain(&error),
            "see RabbitMQ's log",
        )),
    }
    surveyor.close().await;
    found
}

async fn survey(surveyor: &Surveyor, role: Role, namespace: &str) -> Result<Vec<Finding>, BrokerError> {
    let mut objects = surveyor.exchanges().await?;
    if !role.publishes_events() {
        let events = format!("{namespace}.events");
        objects.retain(|(name, found)| *name != events || !matches!(found, Found::Refused(_)));
    }
    objects.push((
        "the default exchange".to_owned(),
        surveyor.default_exchange().await?,
    ));
    let exchanges = judge("exchanges", objects);
    let queues = judge("queues", surveyor.queues().await?);
    Ok(exchanges.into_iter().chain(queues).collect())
}

fn judge_version(version: Option<&str>) -> Finding {
    const CHECK: &str = "version";
    let Some(version) = version else {
        return Finding::doubt(
            "amqp",
            CHECK,
            "cannot be read through TLS".to_owned(),
            "it must be 3.10 or newer",
        );
    };
    let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
    let told = format!("RabbitMQ {version}");
    match (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) {
        old if old < OLDEST => Finding::bad(
            "amqp",
            CHECK,
            told,
            "RabbitMQ 3.10 or newer is needed: older ones lose retries when a node stops",
        ),
        new if new >= UNTRIED => Finding::doubt("amqp", CHECK, told, "3.10 to 4.x were tried"),
        _ => Finding::good("amqp", CHECK, told),
    }
}

/// One line when all are sound, and one for each that is not; those that are missing share one.
fn judge(what: &'static str, objects: Vec<(String, Found)>) -> Vec<Finding> {
    let (mut sound, mut missing, mut findings) = (0_usize, Vec::new(), Vec::new());
    for (name, found) in objects {
        match found {
            Found::Sound => sound += 1,
            Found::Missing => missing.push(name),
            Found::Different(difference) => findings.push(Finding::bad(
                "amqp",
                name,
                format!("is not as Nuncio declares it: {difference}"),
                "empty it, delete it, and let a router or sender declare it anew; look for policies that change it",
            )),
            Found::Refused(reason) => findings.push(Finding::bad(
                "amqp",
                name,
                reason,
                "give the user configure, write and read on this namespace, as docs/self-hosting.md says",
            )),
            Found::Silent(waited) => findings.push(Finding::bad(
                "amqp",
                name,
                format!("no answer within {waited:?}: a quorum queue without a leader, or a node that hangs"),
                "rabbitmqctl list_queues name state leader; restart the node that was its leader",
            )),
        }
    }
    if !missing.is_empty() {
        let some = if sound == 0 {
            "none is there".to_owned()
        } else {
            missing.join(", ") + " missing"
        };
        findings.push(Finding::doubt(
            "amqp",
            what,
            some,
            "start a router, which declares them",
        ));
    } else if findings.is_empty() {
        findings.push(Finding::good("amqp", what, format!("{sound} as they should be")));
    }
    findings
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::command::doctor::finding::Level::{Bad, Doubt, Good};

    #[test]
    fn versions_are_judged() {
        let cases = [
            (Some("3.9.27"), Bad),
            (Some("3.10.8"), Good),
            (Some("3.13.7"), Good),
            (Some("4.2.1"), Good),
            (Some("5.0.0"), Doubt),
            (None, Doubt),
        ];
        for (version, level) in cases {
            assert_eq!(judge_version(version).level, level, "{version:?}");
        }
    }

    #[test]
    fn each_unsound_object_is_told_by_name() {
        let named = |found| ("a".to_owned(), found);
        let levels = |objects| {
            judge("queues", objects)
                .iter()
                .map(|finding| finding.level)
                .collect::<Vec<_>>()
        };
        assert_eq!(levels(vec![named(Found::Sound), named(Found::Sound)]), [Good]);
        assert_eq!(levels(vec![named(Found::Missing), named(Found::Sound)]), [Doubt]);
        let wrong = [
            Found::Different("x".into()),
            Found::Refused("x".into()),
            Found::Silent(Duration::from_secs(5)),
        ];
        assert_eq!(levels(wrong.map(named).to_vec()), [Bad, Bad, Bad]);
    }
}
