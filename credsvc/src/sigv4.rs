//! AWS' signature of a request, version 4: for its key service and for trying credentials.

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use url::Url;

/// Who signs.
#[derive(Clone)]
pub(crate) struct Keys {
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: SecretString,
    pub(crate) session_token: Option<SecretString>,
}

/// For what the signature is good.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'a> {
    pub(crate) region: &'a str,
    pub(crate) service: &'a str,
}

/// This machine's time: AWS allows it to be wrong by minutes.
pub(crate) fn now() -> DateTime<Utc> {
    std::time::SystemTime::now().into()
}

/// The headers of a signed POST: those given, and what signing adds.
pub(crate) fn sign(
    keys: &Keys,
    scope: &Scope<'_>,
    url: &Url,
    headers: &[(&'static str, &str)],
    body: &[u8],
    at: DateTime<Utc>,
) -> anyhow::Result<HeaderMap> {
    let time = at.format("%Y%m%dT%H%M%SZ").to_string();
    let day = at.format("%Y%m%d").to_string();
    let mut signed: Vec<(String, String)> =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    signed.push(("host".into(), host(url)));
    signed.push(("x-amz-date".into(), time.clone()));
    if let Some(token) = &keys.session_token {
        signed.push(("x-amz-security-token".into(), token.expose_secret().to_owned()));
    }
    signed.sort();
    let names: Vec<&str> = signed.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(";");
    let lines: Vec<String> =
        signed.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let lines = lines.concat();
    let hashed = hex::encode(Sha256::digest(body));
    let request =
        format!("POST\n{}\n{}\n{lines}\n{names}\n{hashed}", url.path(), url.query().unwrap_or(""));
    let place = format!("{day}/{}/{}/aws4_request", scope.region, scope.service);
    let request = hex::encode(Sha256::digest(request));
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{place}\n{request}");
    let key = [&day, scope.region, scope.service, "aws4_request"].iter().fold(
        mac(format!("AWS4{}", keys.secret_access_key.expose_secret()).as_bytes(), None),
        |key, part| mac(&key, Some(part.as_bytes())),
    );
    let signature = hex::encode(mac(&key, Some(to_sign.as_bytes())));
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={}/{place}, SignedHeaders={names}, Signature={signature}",
        keys.access_key_id
    );
    let mut map = HeaderMap::new();
    for (name, value) in signed.iter().filter(|(name, _)| name != "host") {
        let mut value = HeaderValue::from_str(value)?;
        value.set_sensitive(name == "x-amz-security-token");
        map.insert(HeaderName::try_from(name.as_str())?, value);
    }
    let mut authorization = HeaderValue::from_str(&authorization)?;
    authorization.set_sensitive(true);
    map.insert(header::AUTHORIZATION, authorization);
    Ok(map)
}

fn host(url: &Url) -> String {
    let name = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| name.to_owned(), |port| format!("{name}:{port}"))
}

/// Without a message the key is given back, as a beginning.
fn mac(key: &[u8], message: Option<&[u8]>) -> Vec<u8> {
    let Some(message) = message else { return key.to_vec() };
    match Hmac::<Sha256>::new_from_slice(key) {
        Ok(mut mac) => {
            mac.update(message);
            mac.finalize().into_bytes().to_vec()
        }
        // A key of any length is one.
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// AWS' own example of a derived key and a signature, with a POST without headers of its own.
    #[test]
    fn the_signature_is_the_one_of_the_published_test_suite() {
        let keys = Keys {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            session_token: None,
        };
        let scope = Scope { region: "us-east-1", service: "service" };
        let url = "https://example.amazonaws.com/".parse().unwrap();
        let at = "2015-08-30T12:36:00Z".parse().unwrap();

        let headers = sign(&keys, &scope, &url, &[], b"", at).unwrap();

        assert_eq!(
            headers["authorization"].to_str().unwrap(),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date, \
             Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
        );
        assert_eq!(headers["x-amz-date"], "20150830T123600Z");
    }
}
