//! `switchyard demo`: the demo in a platform that runs elsewhere, such as in containers.

use std::path::PathBuf;

use anyhow::Context as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use servicekit::Lifecycle;
use shared_models::TenantId;

use super::{Demo, guide};
use crate::{
    first_tenant::{self, FirstTenant},
    healthcheck,
    secrets::write_private,
};

/// Where things are.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// The gateway, as it is reached from here.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// The gateway, as the person who pastes the commands reaches it; the same unless said.
    #[arg(long)]
    public_url: Option<String>,
    /// The demo's outside world, as the engine reaches it: `switchyard demo-receiver`, and `/notes`.
    #[arg(long)]
    receiver: String,
    /// The folder with the first API key, as `switchyard bootstrap --home` left it; what is made is remembered here.
    #[arg(long, default_value = ".switchyard")]
    home: PathBuf,
}

/// Waits until the platform is ready, makes the demo or finds it, and prints how to use it.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let life = Lifecycle::new();
    life.stop_on_signals()?;
    let url = options.url.trim_end_matches('/');
    let public = options.public_url.as_deref().map_or(url, |url| url.trim_end_matches('/'));
    healthcheck::until_ready(url, &life.soft()).await?;

    let api_key = first_tenant::kept_key(&options.home)?;
    let tenant = FirstTenant { id: whose(url, &api_key).await?, api_key };
    let demo = Demo::ensure(&options.home, url, &tenant, &options.receiver)
        .await
        .context("cannot make the demo")?;
    let kept = guide::env_file(public, &tenant, Some(&demo));
    write_private(&options.home.join("env"), &kept)?;
    guide::print_demo(public, &tenant, &demo);
    Ok(())
}

/// The tenant an API key belongs to.
async fn whose(url: &str, key: &SecretString) -> anyhow::Result<TenantId> {
    let http = servicekit::peer::internal_http()?;
    let request = http.get(format!("{url}/v1/me")).bearer_auth(key.expose_secret());
    let answer =
        request.send().await?.error_for_status().context("the first API key is refused")?;
    let me: Value = answer.json().await?;
    let id = me["tenant"]["id"].as_str().context("the API key belongs to no tenant")?;
    Ok(id.parse()?)
}
