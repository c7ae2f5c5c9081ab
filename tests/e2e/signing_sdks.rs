//! What we sign, the official libraries verify: `standardwebhooks` and `svix` of PyPI and npm, in both generations of
//! the Python client, with either family of headers. And what was tampered with, they refuse: so this can fail.

use std::io::Write;
use std::process::{Command, Stdio};

use e2e::tools;
use nuncio_signing::{Secret, SigningKeys};
use serde_json::{Value, json};

const WEBHOOK: &str = "webhook";
const SVIX: &str = "svix";
const ID: &str = "msg_2vKQf0xXyZ1aBcDeFgHiJkLmNoP";
/// Bodies whose bytes a verifier that parses and prints again would change.
const BODIES: &[&str] = &[
    r#"{"type":"sync.user","userId":"user_123"}"#,
    r#"{"type":"sync.organization","organizationId":"org_456"}"#,
    "{}",
    "{ \"b\" : 1.0,\n\t\"a\" : 1e2, \"a\" : \"\\u00e9\" }",
    r#"{"name":"Zoë 🦀 مرحبا","dots":"a.b.c"}"#,
];

/// One question to a library, and whether it should say yes.
struct Case {
    what: String,
    question: Value,
    valid: bool,
}

#[test]
fn the_official_python_and_node_libraries_verify_what_we_sign_and_refuse_the_rest() {
    let sdks = tools::install("libraries");
    for (name, python, script) in [
        ("python-svix-1", true, "verify.py"),
        ("python-svix-2", true, "verify.py"),
        ("node", false, "verify.mjs"),
    ] {
        let directory = &sdks[name];
        let mut command = if python {
            Command::new(directory.join("bin/python"))
        } else {
            Command::new("node")
        };
        command
            .arg(tools::root().join("tests/sdk-verify").join(script))
            .arg(directory);
        let cases = cases();
        let answers = ask(command, &cases);
        assert_eq!(answers.len(), cases.len(), "{name}: an answer for each question");
        for (case, answer) in cases.iter().zip(answers) {
            assert_eq!(answer["ok"], case.valid, "{name}, {}: {answer}", case.what);
        }
    }
}

fn cases() -> Vec<Case> {
    let now = now();
    let mut cases = Vec::new();
    for (library, family) in [("svix", SVIX), ("svix", WEBHOOK), ("standardwebhooks", WEBHOOK)] {
        let of = |what: &str, body: &str, valid: bool, secret: &Secret, headers: Value| Case {
            what: format!("{library} with {family}-* headers, {what}"),
            question: json!({ "library": library, "secret": *secret.expose(), "headers": headers, "body": body }),
            valid,
        };
        for length in [24, 25, 32, 63, 64] {
            let secret = secret_of(length);
            for body in BODIES {
                let headers = headers(family, now, &signature(&[&secret], now, body));
                cases.push(of(
                    &format!("{length} bytes of secret, {body}"),
                    body,
                    true,
                    &secret,
                    headers,
                ));
            }
        }
        let body = BODIES[0];
        let (old, new) = (
            Secret::generate(&mut rand::rng()),
            Secret::generate(&mut rand::rng()),
        );
        let asymmetric = Secret::generate_ed25519(&mut rand::rng());
        let rotating = headers(family, now, &signature(&[&asymmetric, &new, &old], now, body));
        for (what, valid, secret) in [
            ("the new secret of a rotation", true, &new),
            ("the old secret of a rotation", true, &old),
            ("a secret that never signed", false, &secret_of(32)),
        ] {
            cases.push(of(what, body, valid, secret, rotating.clone()));
        }
        cases.push(of(
            "another body",
            r#"{"type":"sync.user","userId":"user_124"}"#,
            false,
            &new,
            rotating,
        ));
        for (what, sent, valid) in [
            ("sent 200 s ago", now - 200, true),
            ("sent 400 s ago", now - 400, false),
            ("sent 400 s from now", now + 400, false),
        ] {
            let headers = headers(family, sent, &signature(&[&new], sent, body));
            cases.push(of(what, body, valid, &new, headers));
        }
        let mut other_id = headers(family, now, &signature(&[&new], now, body));
        other_id[format!("{family}-id")] = json!("msg_other");
        cases.push(of("another message id", body, false, &new, other_id));
    }
    cases
}

fn headers(family: &str, sent: i64, signature: &str) -> Value {
    json!({
        format!("{family}-id"): ID,
        format!("{family}-timestamp"): sent.to_string(),
        format!("{family}-signature"): signature,
    })
}

fn signature(secrets: &[&Secret], sent: i64, body: &str) -> String {
    let mut value = String::new();
    SigningKeys::new(secrets.iter().copied()).write_header(ID, sent, body.as_bytes(), &mut value);
    value
}

fn secret_of(length: usize) -> Secret {
    use base64::Engine;
    let bytes: Vec<u8> = (0..length).map(|_| rand::random()).collect();
    let text = format!(
        "whsec_{}",
        base64::engine::general_purpose::STANDARD.encode(bytes)
    );
    Secret::parse(&text).expect("a secret of a length that is allowed")
}

fn now() -> i64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "the libraries under comparison read the system's clock"
    )]
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(now.expect("after 1970").as_secs()).expect("before the end of time")
}

/// Runs a verifier over all cases.
fn ask(mut command: Command, cases: &[Case]) -> Vec<Value> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the verifier starts");
    let questions: String = cases.iter().map(|case| format!("{}\n", case.question)).collect();
    let mut stdin = child.stdin.take().expect("a pipe");
    // Both pipes at once, as neither holds everything. A verifier that dies early says why on stderr; the broken pipe
    // would only hide it.
    let writing = std::thread::spawn(move || stdin.write_all(questions.as_bytes()).ok());
    let output = child.wait_with_output().expect("the verifier runs to its end");
    writing.join().expect("no panic while writing");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout)
        .expect("UTF-8")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a JSON line"))
        .collect()
}
