//! Who may pass: whoever shows an API key that is good now, for the tenant it belongs to, not too often.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use servicekit::{Problem, codes};
use shared_models::TenantId;

use super::{Edge, clean::ClientIp};
use crate::{
    identity::Identity,
    key::{self, KeyHash},
};

const TENANT: &str = "x-tenant-id";

pub(super) async fn admit(State(edge): State<Edge>, mut request: Request, next: Next) -> Response {
    let address = request.extensions().get::<ClientIp>().map(|client| client.0);
    let address = address.unwrap_or(IpAddr::from([0, 0, 0, 0]));
    let identity = match identify(&edge, request.headers(), address).await {
        Ok(identity) => identity,
        Err(problem) => return problem.into_response(),
    };
    tracing::Span::current().record("tenant.id", tracing::field::display(identity.tenant));
    let told = match edge.rates.count(identity.key) {
        Ok(told) => told,
        Err((problem, told)) => {
            let mut response = problem.into_response();
            told.write(response.headers_mut());
            return response;
        }
    };
    // The key goes no further, whatever comes next.
    request.headers_mut().remove(header::AUTHORIZATION);
    request.headers_mut().remove(TENANT);
    request.extensions_mut().insert(identity);
    let mut response = next.run(request).await;
    told.write(response.headers_mut());
    response
}

async fn identify(
    edge: &Edge,
    headers: &HeaderMap,
    address: IpAddr,
) -> Result<Arc<Identity>, Problem> {
    let unauthenticated = |detail| Problem::new(&codes::UNAUTHENTICATED, detail);
    let shown = bearer(headers)
        .ok_or_else(|| unauthenticated("send `Authorization: Bearer sy_…` with an API key"))?;
    // What is not even shaped like a key costs nothing to refuse, so it is not counted.
    let hash = key::parse(shown).ok_or_else(|| unauthenticated("this is no API key"))?;
    let identity = known(edge, hash, address).await?;
    check_tenant(headers, identity.tenant)?;
    Ok(identity)
}

async fn known(edge: &Edge, hash: KeyHash, address: IpAddr) -> Result<Arc<Identity>, Problem> {
    if let Some(identity) = edge.keys.remembered(hash).await {
        return Ok(identity);
    }
    edge.rates.check_address(address)?;
    edge.keys.find(hash).await?.ok_or_else(|| edge.rates.failed(address))
}

/// A key belongs to one tenant; for it there are no others.
fn check_tenant(headers: &HeaderMap, tenant: TenantId) -> Result<(), Problem> {
    let Some(asked) = headers.get(TENANT) else { return Ok(()) };
    let asked = asked.to_str().ok().and_then(|text| text.parse::<TenantId>().ok());
    if asked == Some(tenant) {
        Ok(())
    } else {
        Err(Problem::new(&codes::NOT_FOUND, "there is no such tenant for this API key"))
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
