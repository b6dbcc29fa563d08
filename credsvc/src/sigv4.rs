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

    /// A name, then query, headers, body and session token of the request, then its signature.
    type Row<'a> =
        (&'a str, &'a str, &'a [(&'static str, &'a str)], &'a str, Option<&'a str>, &'a str);

    /// The requests of AWS' published test suite for this signature, and the signatures that it gives for them.
    #[test]
    fn signatures_are_those_of_the_published_test_suite() {
        let at = "2015-08-30T12:36:00Z".parse().unwrap();
        let token = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";
        let form = [("content-type", "application/x-www-form-urlencoded")];
        let table: [Row<'_>; 5] = [
            (
                "post-vanilla",
                "",
                &[],
                "",
                None,
                "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            ),
            (
                "post-vanilla-query",
                "?Param1=value1",
                &[],
                "",
                None,
                "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
            ),
            (
                "post-header-key-sort",
                "",
                &[("my-header1", "value1")],
                "",
                None,
                "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
            ),
            (
                "post-x-www-form-urlencoded",
                "",
                &form,
                "Param1=value1",
                None,
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
            (
                "post-sts-header-before",
                "",
                &[],
                "",
                Some(token),
                "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
            ),
        ];
        for (name, query, headers, body, session, expected) in table {
            let keys = Keys {
                access_key_id: "AKIDEXAMPLE".into(),
                secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
                session_token: session.map(Into::into),
            };
            let scope = Scope { region: "us-east-1", service: "service" };
            let url = format!("https://example.amazonaws.com/{query}").parse().unwrap();

            let signed = sign(&keys, &scope, &url, headers, body.as_bytes(), at).unwrap();

            let authorization = signed["authorization"].to_str().unwrap();
            let (_, signature) = authorization.split_once("Signature=").unwrap();
            assert_eq!(signature, expected, "{name}");
            assert_eq!(signed["x-amz-date"], "20150830T123600Z", "{name}");
        }
    }
}
