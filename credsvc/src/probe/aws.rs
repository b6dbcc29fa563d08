//! Asking AWS who one is: a signed `GetCallerIdentity`, which everybody may call.

use bytes::Bytes;
use secrecy::ExposeSecret as _;
use servicekit::egress::{Call, Egress};
use url::Url;

use super::{Said, TIMEOUT, allowed, told};
use crate::{Error, fields::Fields, sigv4};

const BODY: &str = "Action=GetCallerIdentity&Version=2011-06-15";

pub(super) async fn who_am_i(
    egress: &Egress,
    fields: &Fields,
    hosts: &[String],
) -> Result<Said, Error> {
    let missing = |name: &str| Error::NotTestable(format!("the credential has no field `{name}`"));
    let text = |name: &str| fields.text(name);
    let region = text("region").map_or("us-east-1".into(), |r| r.expose_secret().to_owned());
    let url = match text("base_url") {
        Some(base) => base.expose_secret().to_owned(),
        None => format!("https://sts.{region}.amazonaws.com/"),
    };
    let url: Url = url.parse().map_err(|_| Error::NotTestable("`base_url` is no URL".into()))?;
    let keys = sigv4::Keys {
        access_key_id: text("access_key_id")
            .ok_or_else(|| missing("access_key_id"))?
            .expose_secret()
            .to_owned(),
        secret_access_key: text("secret_access_key").ok_or_else(|| missing("secret_access_key"))?,
        session_token: text("session_token"),
    };
    let scope = sigv4::Scope { region: &region, service: "sts" };
    let kind = [("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
    let headers = sigv4::sign(&keys, &scope, &url, &kind, BODY.as_bytes(), sigv4::now())?;
    let call = Call {
        method: http::Method::POST,
        allowed_hosts: allowed(&url, hosts)?,
        url,
        headers,
        body: Bytes::from_static(BODY.as_bytes()),
        injection: None,
        timeout: TIMEOUT,
        max_response_bytes: 64 * 1024,
    };
    Ok(match egress.send(call).await {
        Ok(answer) => {
            let body = String::from_utf8_lossy(&answer.body);
            let status = answer.status.as_u16();
            match (answer.status.is_success(), between(&body, "Arn"), between(&body, "Code")) {
                (true, Some(arn), _) => Ok(arn.to_owned()),
                (true, None, _) => Ok(format!("HTTP {status}")),
                (false, _, Some(code)) => Err(format!("HTTP {status}: {code}")),
                (false, ..) => Err(format!("HTTP {status}")),
            }
        }
        Err(error) => Err(told(error)),
    })
}

/// The text of the first element of a name; the answers are small and flat.
fn between<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}
