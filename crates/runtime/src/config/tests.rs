use std::io::Write as _;

use clap::Parser;
use secrecy::ExposeSecret;

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    args: ConfigArgs,
}

fn args(line: &[&str]) -> ConfigArgs {
    let line = std::iter::once("nuncio").chain(line.iter().copied());
    CommandLine::try_parse_from(line).unwrap().args
}

fn load(line: &[&str], environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let environment = environment
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Config::from_layers(Layers::read(&args(line), environment), MainSecret::Required)
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn mistakes(result: Result<Config, ConfigError>) -> Vec<String> {
    let error = result.expect_err("a configuration with mistakes");
    error.mistakes.iter().map(ToString::to_string).collect()
}

#[test]
fn the_defaults_are_the_documented_ones() {
    let config = load(&[], &[("NUNCIO_MAIN_SECRET", SECRET)]).unwrap();
    assert_eq!(
        config.amqp_urls[0].expose(),
        "amqp://guest:guest@127.0.0.1:5672/%2f"
    );
    assert_eq!(config.redis_url.expose(), "redis://127.0.0.1:6379/0");
    assert_eq!(config.namespace, "nuncio");
    assert_eq!(config.listen, "127.0.0.1:8071".parse().unwrap());
    assert_eq!(config.public_url_at(config.listen), "http://127.0.0.1:8071");
    assert_eq!(config.metrics_listen, "127.0.0.1:9464".parse().unwrap());
    assert_eq!(config.endpoint_queue_type, EndpointQueueType::Classic);
    assert_eq!(config.retry_first, Duration::from_secs(5));
    assert!((config.retry_factor - 4.0).abs() < f64::EPSILON);
    assert_eq!(config.retry_ceiling, Duration::from_secs(86_400));
    assert_eq!(config.retry_attempts, 11);
    assert!((config.retry_jitter - 0.2).abs() < f64::EPSILON);
    assert_eq!(config.request_timeout, Duration::from_secs(15));
    assert_eq!(config.connect_timeout, Duration::from_secs(5));
    assert_eq!(config.endpoint_concurrency, 16);
    assert_eq!(config.sender_concurrency, 4_096);
    assert_eq!(config.disable_after, Duration::from_secs(120 * 3_600));
    assert_eq!(config.retention, Duration::from_secs(7 * 86_400));
    assert!(
        config.egress_allow.is_empty() && config.egress_proxy.is_none() && config.extra_root_ca.is_none()
    );
    assert!(!config.https_only);
    assert_eq!(config.signature_headers, SignatureHeaders::Both);
    assert_eq!(config.max_payload, 262_144);
    assert_eq!(config.endpoints_per_app_max, 100);
    assert_eq!(
        (config.log.as_str(), config.log_format),
        ("info", LogFormat::Auto)
    );
    assert!(config.otlp_endpoint.is_none());
    assert_eq!(config.main_secrets.len(), 1);
}

#[test]
fn every_key_of_the_table_is_read_once() {
    let config = load(&[], &[("NUNCIO_MAIN_SECRET", SECRET)]).unwrap();
    let mut read: Vec<_> = config.settings.iter().map(|setting| setting.key.name).collect();
    let mut table: Vec<_> = KEYS.iter().map(|key| key.name).collect();
    read.sort_unstable();
    table.sort_unstable();
    assert_eq!(read, table);
}

#[test]
fn flag_goes_before_environment_before_file_before_default() {
    let file =
        file("namespace = \"file\"\nlisten = \"127.0.0.1:1\"\nretry_attempts = 3\nhttps_only = true\n");
    let path = file.path().to_str().unwrap();
    let config = load(
        &["--config", path, "--namespace", "flag"],
        &[
            ("NUNCIO_MAIN_SECRET", SECRET),
            ("NUNCIO_NAMESPACE", "environment"),
            ("NUNCIO_LISTEN", "127.0.0.1:2"),
        ],
    )
    .unwrap();
    assert_eq!(config.namespace, "flag");
    assert_eq!(config.listen.port(), 2);
    assert_eq!(config.retry_attempts, 3);
    assert!(config.https_only);
    assert_eq!(config.max_payload, 262_144);
    let origin = |name: &str| {
        let settings = config.settings();
        settings.iter().find(|s| s.key.name == name).unwrap().origin
    };
    assert_eq!(origin("namespace"), Origin::Flag);
    assert_eq!(origin("listen"), Origin::Environment);
    assert_eq!(origin("retry_attempts"), Origin::File);
    assert_eq!(origin("max_payload"), Origin::Default);
}

#[test]
fn lists_in_the_file_may_be_arrays() {
    let file = file("amqp_url = [\"amqp://a\", \"amqp://b\"]\negress_allow = [\"127.0.0.0/8\"]\n");
    let config = load(
        &["--config", file.path().to_str().unwrap()],
        &[("NUNCIO_MAIN_SECRET", SECRET)],
    )
    .unwrap();
    assert_eq!(config.amqp_urls.len(), 2);
    assert_eq!(config.egress_allow.len(), 1);
}

#[test]
fn all_mistakes_are_told_at_once_with_key_and_expectation() {
    let file = file("retry_frist = \"5s\"\nretention = 7\n[table]\nx = 1\n");
    let path = file.path().to_str().unwrap();
    let mut found = mistakes(load(
        &["--config", path, "--max-payload", "much"],
        &[
            ("NUNCIO_NAMESPACE", "a b"),
            ("NUNCIO_RETRY_FIRST", "10h"),
            ("NUNCIO_RETRY_CEILING", "1h"),
            ("NUNCIO_AMPQ_URL", "amqp://x"),
            ("NUNCIO_WHATEVER_THIS_IS", "1"),
        ],
    ));
    found.sort();
    let expected = [
        "--max-payload (flag): expected a size from 1KiB to 16MiB, such as 256KiB, found \"much\"",
        "NUNCIO_AMPQ_URL (environment): unknown key; did you mean NUNCIO_AMQP_URL?",
        "NUNCIO_MAIN_SECRET (required): expected a text of at least 32 bytes, such as `openssl rand -base64 33` prints",
        "NUNCIO_NAMESPACE (environment): expected 1 to 64 of a-z A-Z 0-9 _ . -, found \"a b\"",
        "NUNCIO_RETRY_CEILING (environment): expected a duration not shorter than the first delay, found \"1h\"",
        "NUNCIO_WHATEVER_THIS_IS (environment): unknown key; `nuncio config reference` lists all",
        "retention (file): expected a duration from 1m to 366d, such as 7d, found \"7\"",
    ];
    for line in expected {
        assert!(
            found.iter().any(|f| f == line),
            "{line}\nis not among\n{}",
            found.join("\n")
        );
    }
    assert!(found.contains(&format!(
        "retry_frist ({path}): unknown key; did you mean retry_first?"
    )));
    assert!(found.contains(&format!(
        "table ({path}): unknown key; `nuncio config reference` lists all"
    )));
    assert_eq!(found.len(), expected.len() + 2);
}

#[test]
fn names_of_tests_scripts_and_kubernetes_services_are_not_ours() {
    let foreign = [
        ("NUNCIO_TEST_SEED", "1"),
        ("NUNCIO_BIN", "target/debug/nuncio"),
        ("NUNCIO_CONFIG", "nuncio.toml"),
        ("NUNCIO_SERVICE_HOST", "10.0.0.1"),
        ("NUNCIO_API_SERVICE_PORT_HTTP", "8071"),
        ("NUNCIO_API_PORT", "tcp://10.0.0.1:8071"),
        ("NUNCIO_API_PORT_8071_TCP_ADDR", "10.0.0.1"),
        ("OTHER_KEY", "1"),
        ("NUNCIO_MAIN_SECRET", SECRET),
    ];
    load(&[], &foreign).unwrap();
    let ours = mistakes(load(
        &[],
        &[("NUNCIO_MAIN_SECRET", SECRET), ("NUNCIO_LISTEN_PORT", "8071")],
    ));
    assert_eq!(ours.len(), 1);
}

#[test]
fn a_missing_file_and_a_broken_one_are_mistakes_that_repeat_no_text() {
    let missing = mistakes(load(
        &["--config", "/nowhere/nuncio.toml"],
        &[("NUNCIO_MAIN_SECRET", SECRET)],
    ));
    assert_eq!(missing.len(), 1);
    assert!(missing[0].starts_with("/nowhere/nuncio.toml (file): expected a readable TOML file"));

    let broken = file("main_secret = \"hunter2hunter2hunter2hunter2hunter2\noops");
    let broken = mistakes(load(
        &["--config", broken.path().to_str().unwrap()],
        &[("NUNCIO_MAIN_SECRET", SECRET)],
    ));
    assert!(!broken[0].contains("hunter2"), "{}", broken[0]);
}

#[test]
fn the_main_secret_is_required_and_long_and_has_no_flag() {
    let short = mistakes(load(&[], &[("NUNCIO_MAIN_SECRET", "hunter2")]));
    assert_eq!(
        short,
        [
            "NUNCIO_MAIN_SECRET (environment): expected a text of at least 32 bytes, such as `openssl rand -base64 33` prints"
        ]
    );
    assert!(CommandLine::try_parse_from(["nuncio", "--main-secret", SECRET]).is_err());
    Config::from_environment([("NUNCIO_NAMESPACE", "n")], MainSecret::Optional).unwrap();
}

#[test]
fn earlier_main_secrets_come_after_the_current_one() {
    let earlier = format!("{SECRET}1,{SECRET}2");
    let config = load(
        &[],
        &[
            ("NUNCIO_MAIN_SECRET", SECRET),
            ("NUNCIO_MAIN_SECRET_EARLIER", &earlier),
        ],
    )
    .unwrap();
    let secrets: Vec<_> = config
        .main_secrets
        .iter()
        .map(|s| s.expose_secret().to_owned())
        .collect();
    assert_eq!(
        secrets,
        [SECRET.to_owned(), format!("{SECRET}1"), format!("{SECRET}2")]
    );
}

#[test]
fn tokens_have_the_main_secret_for_their_key_or_one_of_their_own() {
    let token = format!("{SECRET}-token");
    let earlier = format!("{SECRET}-earlier");
    for (pairs, expected) in [
        (vec![], vec![SECRET.to_owned()]),
        (vec![("NUNCIO_TOKEN_SECRET", &token)], vec![token.clone()]),
        (
            vec![
                ("NUNCIO_TOKEN_SECRET", &token),
                ("NUNCIO_TOKEN_SECRET_EARLIER", &earlier),
            ],
            vec![token.clone(), earlier.clone()],
        ),
    ] {
        let mut environment = vec![("NUNCIO_MAIN_SECRET", SECRET)];
        environment.extend(pairs.iter().map(|(key, value)| (*key, value.as_str())));
        let config = load(&[], &environment).unwrap();
        let secrets: Vec<_> = config
            .token_secrets
            .iter()
            .map(|s| s.expose_secret().to_owned())
            .collect();
        assert_eq!(secrets, expected);
        assert_eq!(config.main_secrets.len(), 1);
    }
}

#[test]
fn no_secret_is_shown_anywhere() {
    let environment = [
        ("NUNCIO_MAIN_SECRET", "hunter2-hunter2-hunter2-hunter2-hunter2"),
        (
            "NUNCIO_MAIN_SECRET_EARLIER",
            "hunter2-hunter2-hunter2-hunter2-before",
        ),
        ("NUNCIO_AMQP_URL", "amqp://u:hunter2@a/%2f,amqp://u:hunter2@b/%2f"),
        ("NUNCIO_REDIS_URL", "redis+sentinel://u:hunter2@a:1,b:2/main/0"),
        ("NUNCIO_EGRESS_PROXY", "http://u:hunter2@proxy:3128"),
    ];
    let config = load(&[], &environment).unwrap();
    for text in [config.show(), format!("{config:?}"), format!("{config:#?}")] {
        assert!(!text.contains("hunter2"), "{text}");
    }
    let show = config.show();
    assert!(
        show.contains("amqp_url = \"amqp://u:***@a/%2f,amqp://u:***@b/%2f\""),
        "{show}"
    );
    assert!(
        show.contains("redis_url = \"redis+sentinel://u:***@a:1,b:2/main/0\""),
        "{show}"
    );
    assert!(show.contains("main_secret = \"***\""), "{show}");

    let wrong = load(
        &[],
        &[
            ("NUNCIO_MAIN_SECRET", "hunter2"),
            ("NUNCIO_AMQP_URL", "http://u:hunter2@a"),
            ("NUNCIO_REDIS_URL", "hunter2"),
            ("NUNCIO_EGRESS_PROXY", "ftp://u:hunter2@a"),
        ],
    );
    let wrong = wrong.unwrap_err();
    assert_eq!(wrong.mistakes.len(), 4);
    assert!(!wrong.to_string().contains("hunter2"), "{wrong}");
}

#[test]
fn what_is_shown_is_a_valid_file() {
    let config = load(&[], &[("NUNCIO_MAIN_SECRET", SECRET), ("NUNCIO_LOG", "info")]).unwrap();
    let file = file(&config.show().replace("\"***\"", &format!("\"{SECRET}\"")));
    let again = load(&["--config", file.path().to_str().unwrap()], &[]).unwrap();
    assert_eq!(again.namespace, config.namespace);
    assert_eq!(again.amqp_urls[0].to_string(), config.amqp_urls[0].to_string());
}

#[test]
fn an_empty_value_unsets_what_is_optional_and_is_a_mistake_elsewhere() {
    let file = file("egress_proxy = \"http://proxy:3128\"\negress_allow = \"127.0.0.0/8\"\n");
    let path = file.path().to_str().unwrap();
    let unset = [
        ("NUNCIO_MAIN_SECRET", SECRET),
        ("NUNCIO_EGRESS_PROXY", ""),
        ("NUNCIO_EGRESS_ALLOW", ""),
    ];
    let config = load(&["--config", path], &unset).unwrap();
    assert!(config.egress_proxy.is_none() && config.egress_allow.is_empty());
    let found = mistakes(load(&[], &[("NUNCIO_MAIN_SECRET", ""), ("NUNCIO_RETENTION", "")]));
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn the_reference_has_a_row_for_every_key() {
    let reference = Config::reference();
    assert_eq!(reference.lines().count(), KEYS.len() + 2);
    assert!(reference.contains("| `NUNCIO_RETRY_FIRST` | `5s` | delay after the first failed attempt |"));
    assert!(reference.contains("| `NUNCIO_MAIN_SECRET` | none: required |"));
    assert!(reference.contains("| `OTEL_EXPORTER_OTLP_ENDPOINT` | none |"));
}

#[test]
fn portal_links_start_with_the_public_url() {
    let config = load(
        &[],
        &[
            ("NUNCIO_MAIN_SECRET", SECRET),
            ("NUNCIO_PUBLIC_URL", "https://hooks.example/nuncio/"),
        ],
    )
    .unwrap();
    assert_eq!(
        config.public_url_at(config.listen),
        "https://hooks.example/nuncio"
    );
}
