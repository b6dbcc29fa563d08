//! The public address, as commands ask it, and how they say what it has answered.

use std::fmt;
use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use reqwest::{Method, StatusCode, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// For one request.
const PATIENCE: Duration = Duration::from_secs(30);

/// What was said on the command line cannot be meant so.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Where the platform is, and who asks.
#[derive(clap::Args)]
pub(crate) struct Door {
    /// The gateway.
    #[arg(long, env = "SWITCHYARD_URL", default_value = "http://127.0.0.1:8080")]
    url: Url,
    /// An API key that may do this.
    #[arg(long, env = "SWITCHYARD_API_KEY", hide_env_values = true)]
    api_key: SecretString,
}

/// How answers are said.
#[derive(clap::Args)]
pub(crate) struct Form {
    /// How to say it.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// The same as `--output json`.
    #[arg(long, conflicts_with = "output")]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    Text,
    Json,
}

impl Form {
    pub(crate) fn is_json(&self) -> bool {
        self.json || self.output == Output::Json
    }

    /// Writes a document as it is, or as a person reads it.
    pub(crate) fn say(&self, value: &Value, text: impl FnOnce() -> String) -> anyhow::Result<()> {
        let mut out = std::io::stdout();
        if self.is_json() {
            writeln!(out, "{value:#}")?;
        } else {
            out.write_all(text().as_bytes())?;
        }
        Ok(())
    }
}

/// The platform, asked with a key.
pub(crate) struct Api {
    url: Url,
    key: SecretString,
    http: reqwest::Client,
}

impl Api {
    pub(crate) fn new(door: Door) -> anyhow::Result<Self> {
        Ok(Self { url: door.url, key: door.api_key, http: servicekit::peer::internal_http()? })
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let base = self.url.as_str().trim_end_matches('/');
        let mut request = self.http.request(method, format!("{base}/{path}")).timeout(PATIENCE);
        request = request.bearer_auth(self.key.expose_secret());
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.with_context(|| format!("{base} does not answer"))?;
        let status = answer.status();
        Ok((status, answer.json().await.unwrap_or_default()))
    }

    /// What is answered; an error that says why not, in the platform's own words.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let (status, answer) = self.send(method, path, body).await?;
        if !status.is_success() {
            bail!("{}", problem(status, &answer));
        }
        Ok(answer)
    }

    /// What is at a path, once it is as it shall be; none when it is too late. A gateway that is away for a moment is asked
    /// again.
    pub(crate) async fn once(
        &self,
        path: &str,
        until: Instant,
        shall: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Option<Value>> {
        loop {
            match self.send(Method::GET, path, None).await {
                Ok((status, found)) if status.is_success() => {
                    if shall(&found) {
                        return Ok(Some(found));
                    }
                }
                Ok((status, answer)) if status.is_client_error() && status.as_u16() != 429 => {
                    bail!("{}", problem(status, &answer));
                }
                Ok(_) | Err(_) => {}
            }
            if Instant::now() + LOOK > until {
                return Ok(None);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// A field of a document, as text; nothing where there is none.
pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Why the platform refuses.
fn problem(status: StatusCode, answer: &Value) -> String {
    let errors = answer["errors"].as_array().into_iter().flatten();
    let errors: Vec<String> = errors
        .map(|error| format!("{} {}", text(&error["pointer"]), text(&error["message"])))
        .collect();
    let code = answer["code"].as_str().unwrap_or("no problem document");
    // Of one field alone the detail tells.
    let errors = if errors.len() > 1 { errors.join("; ") } else { String::new() };
    let detail = [text(&answer["detail"]), &errors].join(" ");
    let said = format!("{} {code}: {}", status.as_u16(), detail.trim());
    said.trim_end_matches([':', ' ']).to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_refusal_is_told_with_its_code_and_every_field() {
        let answer = json!({ "code": "validation_failed", "detail": "2 fields are wrong", "errors": [
            { "pointer": "/from/seq", "message": "from 2 to 9" },
            { "pointer": "/unmatched", "message": "only of a \"dry\" run" }] });

        assert_eq!(
            problem(StatusCode::UNPROCESSABLE_ENTITY, &answer),
            "422 validation_failed: 2 fields are wrong /from/seq from 2 to 9; /unmatched only of a \"dry\" run"
        );
        assert_eq!(problem(StatusCode::BAD_GATEWAY, &Value::Null), "502 no problem document");
    }
}
