//! What only a node of RabbitMQ knows: its timeouts and its alarms, asked of `rabbitmqctl`.

use std::path::Path;
use std::time::Duration;

use std::process::{Command, Stdio};

use super::finding::Finding;

/// How long rabbitmqctl may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// What is asked: consumer timeout, confirm timeout of dead letters, alarms, parted by `;`.
const QUESTION: &str = "lists:flatten(io_lib:format(\"~p;~p;~p\",[\
    application:get_env(rabbit,consumer_timeout,undefined),\
    application:get_env(rabbit,dead_letter_worker_publisher_confirm_timeout,180000),\
    rabbit_alarm:get_alarms()])).";
/// Above this, retries that were due while a node restarted are noticeably late.
const CONFIRM_TIMEOUT_MAX: Duration = Duration::from_secs(30);

pub(super) async fn examine(program: &Path, request_timeout: Duration) -> Vec<Finding> {
    let mut command = Command::new(program);
    command.args(["eval", QUESTION]).stdin(Stdio::null());
    let asking = tokio::task::spawn_blocking(move || command.output());
    let failed = |problem: String| {
        vec![Finding::doubt(
            "node",
            "rabbitmqctl",
            problem,
            "run the doctor where rabbitmqctl may reach the node",
        )]
    };
    match tokio::time::timeout(DEADLINE, asking).await {
        Err(_) => failed(format!("no answer within {DEADLINE:?}")),
        Ok(Err(error)) => failed(error.to_string()),
        Ok(Ok(Err(error))) => failed(error.to_string()),
        Ok(Ok(Ok(output))) if !output.status.success() => {
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            failed(
                told.lines()
                    .next()
                    .unwrap_or("it failed without a word")
                    .to_owned(),
            )
        }
        Ok(Ok(Ok(output))) => judge(&String::from_utf8_lossy(&output.stdout), request_timeout),
    }
}

fn judge(answer: &str, request_timeout: Duration) -> Vec<Finding> {
    let answer = answer.trim().trim_matches('"');
    let mut parts = answer.splitn(3, ';');
    let (Some(consumer), Some(confirm), Some(alarms)) = (parts.next(), parts.next(), parts.next()) else {
        return vec![Finding::doubt(
            "node",
            "rabbitmqctl",
            format!("answered {answer:?}"),
            "is this rabbitmqctl?",
        )];
    };
    vec![
        judge_consumer_timeout(millis(consumer), request_timeout),
        judge_confirm_timeout(millis(confirm)),
        if alarms == "[]" {
            Finding::good("node", "alarms", "none".to_owned())
        } else {
            Finding::bad(
                "node",
                "alarms",
                alarms.to_owned(),
                "free memory or disk on that node: nothing can be published until then",
            )
        },
    ]
}

fn millis(text: &str) -> Option<Duration> {
    text.parse().ok().map(Duration::from_millis)
}

fn judge_consumer_timeout(timeout: Option<Duration>, request_timeout: Duration) -> Finding {
    const CHECK: &str = "consumer timeout";
    match timeout {
        None => Finding::good("node", CHECK, "off".to_owned()),
        Some(timeout) if timeout <= request_timeout => Finding::bad(
            "node",
            CHECK,
            format!(
                "{timeout:?}, while a request may take {request_timeout:?}: deliveries are taken away before their requests end"
            ),
            "raise consumer_timeout in rabbitmq.conf; its default is 30 minutes",
        ),
        Some(timeout) if timeout < request_timeout * 4 => Finding::doubt(
            "node",
            CHECK,
            format!("{timeout:?}, close to the request timeout of {request_timeout:?}"),
            "deliveries also wait for their turn: leave consumer_timeout at its default of 30 minutes",
        ),
        Some(timeout) => Finding::good("node", CHECK, format!("{timeout:?}")),
    }
}

fn judge_confirm_timeout(timeout: Option<Duration>) -> Finding {
    const CHECK: &str = "dead letters' confirm timeout";
    match timeout {
        Some(timeout) if timeout <= CONFIRM_TIMEOUT_MAX => {
            Finding::good("node", CHECK, format!("{timeout:?}"))
        }
        timeout => Finding::doubt(
            "node",
            CHECK,
            timeout.map_or_else(
                || "unknown".to_owned(),
                |timeout| format!("{timeout:?}: retries are so late after a node restarted"),
            ),
            "advanced.config: [{rabbit,[{dead_letter_worker_publisher_confirm_timeout,5000}]}].",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::doctor::finding::Level;

    #[test]
    fn timeouts_and_alarms_are_judged() {
        use Level::{Bad, Doubt, Good};
        let cases = [
            ("\"1800000;5000;[]\"\n", [Good, Good, Good]),
            ("\"undefined;180000;[]\"\n", [Good, Doubt, Good]),
            ("\"15000;5000;[]\"", [Bad, Good, Good]),
            (
                "\"59000;5000;[{{resource_limit,memory,rabbit@a},[]}]\"",
                [Doubt, Good, Bad],
            ),
        ];
        for (answer, expected) in cases {
            let found = judge(answer, Duration::from_secs(15));
            let levels: Vec<_> = found.iter().map(|finding| finding.level).collect();
            assert_eq!(levels, expected, "{answer}: {found:?}");
        }
        assert_eq!(judge("Error: no", Duration::from_secs(15))[0].level, Doubt);
    }
}
