//! What `up` and `demo` tell the person at the terminal, and leave in the home's `env`.

use std::{io::Write as _, path::Path};

use secrecy::ExposeSecret as _;

use super::Demo;
use crate::first_tenant::FirstTenant;

/// One line of progress.
pub(crate) fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "switchyard: {what}");
}

/// The environment file, to be sourced.
pub(crate) fn env_file(url: &str, tenant: &FirstTenant, demo: Option<&Demo>) -> String {
    let mut lines = vec![
        format!("export SWITCHYARD_URL={url}"),
        format!("export SWITCHYARD_API_KEY={}", tenant.api_key.expose_secret()),
        format!("export SWITCHYARD_TENANT={}", tenant.id),
    ];
    if let Some(demo) = demo {
        lines.push(format!("export SWITCHYARD_DEMO_HOOK={url}{}", demo.hook));
        lines.push(format!("export SWITCHYARD_DEMO_SECRET={}", demo.secret));
    }
    lines.join("\n") + "\n"
}

/// The address, the key, and commands to paste; to stdout, since this is what was asked for.
pub(crate) fn print_up(url: &str, home: &Path, tenant: &FirstTenant, demo: Option<&Demo>) {
    let (address, env) = (address(url, tenant), home.join("env"));
    let commands = demo.map(|demo| commands(url, tenant, demo)).unwrap_or_default();
    let text = format!(
        "{address}  environment            . {}\n{commands}\nCtrl-C stops everything; the data stays.\n",
        env.display()
    );
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// The same of a platform that runs elsewhere.
pub(crate) fn print_demo(url: &str, tenant: &FirstTenant, demo: &Demo) {
    let text = address(url, tenant) + &commands(url, tenant, demo);
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn address(url: &str, tenant: &FirstTenant) -> String {
    format!(
        "\nSwitchyard is ready at {url}\n  API and documentation  {url}/docs\n  API key                {}\n  tenant                 {}\n",
        tenant.api_key.expose_secret(),
        tenant.id,
    )
}

/// The two commands: fire the webhook (signed as Standard Webhooks 1.0 says), follow the run it starts.
fn commands(url: &str, tenant: &FirstTenant, demo: &Demo) -> String {
    let model = if demo.model.starts_with("sim:") {
        "The demo agent runs on `sim`, a SIMULATED model: it answers by script, not by thinking.\nSet OPENAI_API_KEY and start again for a real one.".to_owned()
    } else {
        format!("The demo agent runs on {}.", demo.model)
    };
    let (hook, secret, key) = (&demo.hook, &demo.secret, tenant.api_key.expose_secret());
    format!(
        r#"
{model}

1. Fire the demo webhook:

  body='{{"subject":"Hello","from":"ada@example.com"}}'; id=msg_$(date +%s%N); ts=$(date +%s); \
  hex=$(printf %s '{secret}' | sed 's/^whsec_//' | base64 -d | od -An -tx1 | tr -d ' \n'); \
  sig=$(printf %s "$id.$ts.$body" | openssl dgst -sha256 -mac HMAC -macopt hexkey:$hex -binary | base64); \
  curl -si {url}{hook} -H "webhook-id: $id" -H "webhook-timestamp: $ts" -H "webhook-signature: v1,$sig" \
  -H 'content-type: application/json' -d "$body"

2. Follow the latest run:

  run=$(curl -s '{url}/v1/runs?limit=1' -H 'authorization: Bearer {key}' | grep -o 'run_[0-9a-f]\{{32\}}' | head -n 1); \
  curl -sN {url}/v1/runs/$run/events -H 'authorization: Bearer {key}'
"#
    )
}
