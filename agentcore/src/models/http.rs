//! A client as the providers want it.

use std::time::Duration;

use reqwest::{Client, redirect};

/// Follows no redirects, so that no key goes anywhere but to the host it is for; makes each call once, and keeps its
/// connections. Make one and clone it.
///
/// Whom it may reach is not its business: a program that lets strangers choose base URLs needs a client of its own.
///
/// ```
/// use agentcore::models::http_client;
///
/// let http = http_client()?;
/// let same_connections = http.clone();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn http_client() -> Result<Client, reqwest::Error> {
    // Whoever installed a provider first wins.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(Duration::from_secs(10))
        .pool_idle_timeout(Duration::from_secs(60))
        .tcp_nodelay(true)
        .user_agent("agentcore")
        .build()
}
