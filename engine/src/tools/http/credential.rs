//! From a resolved credential to the place on the request where it goes.

use http::HeaderName;
use secrecy::{ExposeSecret, SecretString};
use servicekit::egress::Injection;

use super::{CredentialPlace, Place};
use crate::clients::credsvc::Secret;

const USUAL: [&str; 5] = ["api_key", "access_token", "token", "secret", "password"];

/// The error names fields, never values.
pub(crate) fn injection(place: &CredentialPlace, secret: &Secret) -> Result<Injection, String> {
    let value = match &place.field {
        Some(field) => {
            secret.field(field).ok_or_else(|| format!("the credential has no field `{field}`"))?
        }
        None => guess(secret)?,
    };
    let name = || place.name.clone().unwrap_or_default();
    Ok(match place.place {
        Place::Bearer => Injection::Bearer(value),
        Place::Query => Injection::Query { name: name(), secret: value },
        Place::Header => Injection::Header {
            name: HeaderName::from_bytes(name().as_bytes())
                .map_err(|_| "the tool names no header for the credential".to_owned())?,
            prefix: place.prefix.clone(),
            secret: value,
        },
        Place::Basic => {
            let field = place.username_field.as_deref().unwrap_or("username");
            let username = secret.field(field).map(|name| name.expose_secret().to_owned());
            Injection::Basic { username: username.unwrap_or_default(), password: value }
        }
    })
}

fn guess(secret: &Secret) -> Result<SecretString, String> {
    let usual = USUAL.iter().find_map(|field| secret.field(field));
    secret
        .only_field()
        .or(usual)
        .ok_or_else(|| "the tool must say which field of the credential it sends".to_owned())
}
