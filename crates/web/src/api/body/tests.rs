use serde_json::json;
use serde_json::value::RawValue;

use super::*;
use crate::json::check_json_object;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sample {
    name: String,
    #[serde(default)]
    tags: Vec<u8>,
    inner: Option<Object<Inner>>,
    #[serde(default)]
    metadata: Entries<String>,
    payload: Option<Box<RawValue>>,
}

#[derive(Debug, Deserialize)]
struct Inner {
    #[expect(dead_code, reason = "only whether it can be read matters")]
    x: u8,
}

fn mistake(text: impl AsRef<[u8]>) -> serde_json::Value {
    let response = parse::<Sample>(text.as_ref()).unwrap_err().into_response();
    assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let body = futures_util::FutureExt::now_or_never(axum::body::to_bytes(response.into_body(), 10_000))
        .unwrap()
        .unwrap();
    let mut body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    body["detail"][0].take()
}

#[test]
fn mistakes_are_told_with_their_place() {
    let deep = format!(r#"{{"name":"a","inner":{}"#, "[".repeat(10_000));
    let cases: [(&str, serde_json::Value, &str); 15] = [
        ("{", json!(["body"]), "value_error.jsondecode"),
        ("nonsense", json!(["body"]), "value_error.jsondecode"),
        ("[]", json!(["body"]), "type_error"),
        (r#"["a",[1]]"#, json!(["body"]), "type_error"),
        ("{}", json!(["body", "name"]), "value_error.missing"),
        ("", json!(["body", "name"]), "value_error.missing"),
        (r#"{"name":"a"}x"#, json!(["body"]), "value_error.jsondecode"),
        (r#"{"name":null}"#, json!(["body", "name"]), "type_error"),
        (r#"{"name":1}"#, json!(["body", "name"]), "type_error"),
        (r#"{"name":"a","name":"b"}"#, json!(["body"]), "type_error"),
        (
            r#"{"name":"a","tags":[1,"2"]}"#,
            json!(["body", "tags", "1"]),
            "type_error",
        ),
        (
            r#"{"name":"a","inner":[1]}"#,
            json!(["body", "inner"]),
            "type_error",
        ),
        (
            r#"{"name":"a","inner":{"x":300}}"#,
            json!(["body", "inner", "x"]),
            "type_error",
        ),
        (
            r#"{"name":"a","metadata":{"k":"1","k":"2"}}"#,
            json!(["body", "metadata"]),
            "type_error",
        ),
        (&deep, json!(["body", "inner"]), "type_error"),
    ];
    for (text, loc, kind) in cases {
        let shown: String = text.chars().take(40).collect();
        let told = mistake(text);
        assert_eq!(told["loc"], loc, "{shown}: {told}");
        assert_eq!(told["type"], kind, "{shown}: {told}");
        assert!(!told["msg"].as_str().unwrap().is_empty());
    }
    assert_eq!(mistake(b"{\"name\":\"\xff\"}")["type"], "value_error.jsondecode");
    assert_eq!(mistake(r#"{"name":"\ud800"}"#)["type"], "value_error.jsondecode");
}

#[test]
fn unknown_fields_are_ignored_and_raw_values_keep_their_bytes() {
    let text = r#"{ "name":"a", "unknown":{"a":[1,2]}, "payload": {"b" : 1.0,"a":[ ]} }"#;
    let sample: Sample = parse(text.as_bytes()).unwrap_or_else(|_| panic!("{text}"));
    assert_eq!(sample.name, "a");
    assert_eq!(sample.payload.unwrap().get(), r#"{"b" : 1.0,"a":[ ]}"#);
    assert!(sample.tags.is_empty() && sample.inner.is_none() && sample.metadata.0.is_empty());
}

#[test]
fn payloads_are_objects_that_every_receiver_can_read() {
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let cases = [
        (r#"{}"#, true),
        (r#"{"a":{"b":[1,-2,3.5,true,null,"x"]},"c":{"b":1}}"#, true),
        (r#"{"a":"\ud83d\ude00"}"#, true),
        ("[]", false),
        ("\"text\"", false),
        ("1", false),
        ("null", false),
        (r#"{"a":1,"a":2}"#, false),
        (r#"{"x":{"a":1,"\u0061":2}}"#, false),
        (r#"{"a":1e400}"#, false),
        (r#"{"a":"\ud800"}"#, false),
        (&deep, false),
    ];
    for (json, fits) in cases {
        let shown: String = json.chars().take(40).collect();
        assert_eq!(check_json_object(json).is_ok(), fits, "{shown}");
    }
}
