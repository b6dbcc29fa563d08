//! Signing secrets of webhooks: made in the vault, granted to their endpoint, read from there.

use serde::Deserialize;
use serde_json::{Value, json};
use servicekit::peer::Ask;
use shared_models::{CredentialId, TenantId, UserId, WebhookEndpointId};

use super::credsvc::{Credsvc, Grantee, Secret, refused};
use crate::error::Error;

const PURPOSE: &str = "webhook.sign";

#[derive(Deserialize)]
struct Made {
    credential_id: CredentialId,
}

impl Credsvc {
    /// Stores what an endpoint's messages are signed with, with the token of an administrator, and lets the endpoint use it.
    /// The credential is the tenant's, so that it outlives its maker's membership.
    pub(crate) async fn keep_for_webhook(
        &self,
        tenant: TenantId,
        (token, owner): (&str, UserId),
        endpoint: WebhookEndpointId,
        fields: &Value,
    ) -> Result<CredentialId, Error> {
        let ask = Ask::new(tenant, "webhook.save").on_behalf(token);
        let mark = hex::encode(rand::random::<[u8; 4]>());
        let body = json!({
            "user_id": null,
            // Names are unique, and an endpoint may be given a new secret.
            "name": format!("Signing secret of {endpoint} ({mark})"),
            "meta": { "webhook_endpoint_id": endpoint },
            "credentials": fields,
        });
        let made: Made = self.0.post(ask, "/internal/credentials", &body).await.map_err(refused)?;
        self.record(ask, Grantee::Webhook(endpoint), owner, made.credential_id).await?;
        Ok(made.credential_id)
    }

    /// Fetches what an endpoint's messages are signed with.
    pub(crate) async fn resolve_for_webhook(
        &self,
        tenant: TenantId,
        endpoint: WebhookEndpointId,
        owner: UserId,
        credential: CredentialId,
    ) -> Result<Secret, Error> {
        let path = format!("/internal/credentials/{credential}/resolve");
        let grantee = Grantee::Webhook(endpoint);
        let body = json!({ "grantee": grantee, "owner": owner, "purpose": PURPOSE });
        self.0.post(Ask::new(tenant, PURPOSE), &path, &body).await.map_err(refused)
    }

    /// Deletes what nothing is signed with any more, and the grant of it.
    pub(crate) async fn drop_for_webhook(
        &self,
        tenant: TenantId,
        token: &str,
        credential: CredentialId,
    ) -> Result<(), Error> {
        let ask = Ask::new(tenant, "webhook.save").on_behalf(token);
        let path = format!("/tenant/{tenant}/credentials/{credential}?force=true");
        self.0.delete(ask, &path).await.map_err(refused)
    }
}
