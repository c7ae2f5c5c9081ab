//! A client of the REST API.
//!
//! Owns requests and bodies as JSON values, in the shapes that any HTTP client sees. Refuses to know the server's
//! types, so that a changed field name breaks a test.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};

use crate::install_tls_provider;

const TIMEOUT: Duration = Duration::from_secs(30);
/// How often bytes are sent where the server says that it cannot answer now.
const SENDS_MAX: usize = 10;

/// Whatever the server said.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status line.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; null when it was empty, a string when it was not JSON.
    pub body: Value,
}

impl Reply {
    /// The body of a success.
    ///
    /// # Errors
    /// When the status is not 2xx, with the body.
    pub fn success(self) -> Result<Value> {
        ensure!(self.status.is_success(), "{}: {}", self.status, self.body);
        Ok(self.body)
    }
}

/// Speaks to one API with one bearer token.
#[derive(Debug, Clone)]
pub struct ApiClient {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl ApiClient {
    /// `base` is the server's address without `/api/v1`.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(base: impl Into<String>, token: impl Into<String>) -> Result<Self> {
        install_tls_provider();
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIMEOUT)
            .build()?;
        Ok(Self {
            http,
            base: base.into(),
            token: token.into(),
        })
    }

    /// The same server with another token.
    #[must_use]
    pub fn with_token(&self, token: impl Into<String>) -> Self {
        Self {
            token: token.into(),
            ..self.clone()
        }
    }

    /// Where the server is.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// One request, with any status as its answer. `path` starts with `/`, e.g. `/api/v1/app`.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Reply> {
        self.call_with(method, path, body, &[]).await
    }

    /// Like [`ApiClient::call`], with headers of one's own.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn call_with(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Result<Reply> {
        let what = format!("{method} {path}");
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.base))
            .bearer_auth(&self.token);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(serde_json::to_vec(body)?);
        }
        let response = request.send().await.with_context(|| what.clone())?;
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.bytes().await.with_context(|| what)?;
        let body = match bytes.as_ref() {
            [] => Value::Null,
            bytes => serde_json::from_slice(bytes)
                .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned())),
        };
        Ok(Reply {
            status,
            headers,
            body,
        })
    }

    /// One request with any bytes as its body, and any status as its answer.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn send(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Reply> {
        let mut tries = SENDS_MAX;
        loop {
            let request = self
                .http
                .request(method.clone(), format!("{}{path}", self.base))
                .bearer_auth(&self.token)
                .header("content-type", "application/json")
                .body(body.clone());
            let response = request.send().await.with_context(|| path.to_owned())?;
            let (status, headers) = (response.status(), response.headers().clone());
            let bytes = response.bytes().await?;
            tries -= 1;
            // What every SDK does: a store that is slow on a busy machine is asked again.
            if status == StatusCode::SERVICE_UNAVAILABLE && tries > 0 {
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
            return Ok(Reply {
                status,
                headers,
                body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
            });
        }
    }

    /// `GET`, and the body of a success.
    ///
    /// # Errors
    /// When there is no answer or it is not 2xx.
    pub async fn read(&self, path: &str) -> Result<Value> {
        self.call(Method::GET, path, None)
            .await?
            .success()
            .with_context(|| format!("GET {path}"))
    }

    /// `POST`, and the body of a success.
    ///
    /// # Errors
    /// When there is no answer or it is not 2xx.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.call(Method::POST, path, Some(body))
            .await?
            .success()
            .with_context(|| format!("POST {path}"))
    }

    /// `PATCH`, and the body of a success.
    ///
    /// # Errors
    /// When there is no answer or it is not 2xx.
    pub async fn patch(&self, path: &str, body: &Value) -> Result<Value> {
        self.call(Method::PATCH, path, Some(body))
            .await?
            .success()
            .with_context(|| format!("PATCH {path}"))
    }

    /// `DELETE`, expecting success.
    ///
    /// # Errors
    /// When there is no answer or it is not 2xx.
    pub async fn delete(&self, path: &str) -> Result<()> {
        self.call(Method::DELETE, path, None)
            .await?
            .success()
            .with_context(|| format!("DELETE {path}"))?;
        Ok(())
    }

    /// Creates an app and returns its id.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn create_app(&self, name: &str) -> Result<String> {
        text(&self.post("/api/v1/app", &json!({ "name": name })).await?, "id")
    }

    /// Creates an endpoint for all event types and returns its id.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn create_endpoint(&self, app: &str, url: &str) -> Result<String> {
        self.create_endpoint_with(app, &json!({ "url": url })).await
    }

    /// Creates an endpoint from a whole body and returns its id.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn create_endpoint_with(&self, app: &str, body: &Value) -> Result<String> {
        text(
            &self.post(&format!("/api/v1/app/{app}/endpoint"), body).await?,
            "id",
        )
    }

    /// The endpoint's current secret, `whsec_…`.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn endpoint_secret(&self, app: &str, endpoint: &str) -> Result<String> {
        text(
            &self
                .read(&format!("/api/v1/app/{app}/endpoint/{endpoint}/secret"))
                .await?,
            "key",
        )
    }

    /// Publishes through the API and returns the message's id.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn create_message(&self, app: &str, event_type: &str, payload: &Value) -> Result<String> {
        let body = json!({ "eventType": event_type, "payload": payload });
        text(&self.post(&format!("/api/v1/app/{app}/msg"), &body).await?, "id")
    }

    /// Every attempt at this endpoint, newest first, through all pages.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn attempts_by_endpoint(&self, app: &str, endpoint: &str) -> Result<Vec<Value>> {
        self.list(&format!("/api/v1/app/{app}/attempt/endpoint/{endpoint}"))
            .await
    }

    /// Every attempt at this message, through all pages.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn attempts_by_message(&self, app: &str, message: &str) -> Result<Vec<Value>> {
        self.list(&format!("/api/v1/app/{app}/attempt/msg/{message}"))
            .await
    }

    /// All items of a list, page by page.
    ///
    /// # Errors
    /// When the server refuses, or its pages do not end.
    pub async fn list(&self, path: &str) -> Result<Vec<Value>> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let (mut items, mut iterator) = (Vec::new(), None::<String>);
        for _ in 0..10_000 {
            let mut page_path = format!("{path}{separator}limit=250");
            if let Some(iterator) = &iterator {
                let encoded: String = url::form_urlencoded::byte_serialize(iterator.as_bytes()).collect();
                page_path.push_str(&format!("&iterator={encoded}"));
            }
            let page = self.read(&page_path).await?;
            items.extend(
                page["data"]
                    .as_array()
                    .context("a list has data")?
                    .iter()
                    .cloned(),
            );
            if page["done"].as_bool().context("a list says whether it is done")? {
                return Ok(items);
            }
            iterator = Some(text(&page, "iterator")?);
        }
        bail!("the pages of {path} do not end")
    }
}

/// A field that must be a string.
///
/// # Errors
/// When it is missing or something else.
pub fn text(value: &Value, field: &str) -> Result<String> {
    value[field]
        .as_str()
        .map(str::to_owned)
        .with_context(|| format!("no {field} in {value}"))
}
