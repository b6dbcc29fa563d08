//! Where calls with a credential go, and how its secret goes along.

use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret as _;
use servicekit::egress::Injection;
use url::Url;

use crate::{
    Error,
    fields::Fields,
    types::{CredentialType, Inject, Unfilled, fill},
};

/// An API, and how one is let in.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) base: Url,
    pub(crate) injection: Option<Injection>,
    pub(crate) headers: HeaderMap,
}

/// The API of a credential: what its type says, at the address it has itself if it has one.
pub(crate) fn target(kind: &CredentialType, fields: &Fields) -> Result<Target, Error> {
    let not = |why: &str| Error::NotCallable(why.to_owned());
    let missing = |error: Unfilled| Error::NotCallable(error.to_string());
    let call = kind.call.as_ref().ok_or_else(|| not("its type does not say how"))?;
    let base = match (fields.text("base_url"), &call.base_url) {
        (Some(own), _) => own,
        (None, Some(usual)) => fill(usual, fields).map_err(missing)?,
        (None, None) => return Err(not("it has no field `base_url`")),
    };
    let base: Url = base.expose_secret().parse().map_err(|_| not("its `base_url` is no URL"))?;
    let text = |template: &String| fill(template, fields).map_err(missing);
    let injection = match &call.inject {
        Inject::Bearer { value } => Some(Injection::Bearer(text(value)?)),
        Inject::Header { name, value } => Some(Injection::Header {
            name: HeaderName::try_from(name).map_err(|_| not("its type names no header"))?,
            prefix: String::new(),
            secret: text(value)?,
        }),
        Inject::Query { name, value } => {
            Some(Injection::Query { name: name.clone(), secret: text(value)? })
        }
        Inject::Basic { username, password } => Some(Injection::Basic {
            username: text(username)?.expose_secret().to_owned(),
            password: text(password)?,
        }),
        Inject::Nowhere {} => None,
    };
    let mut headers = HeaderMap::new();
    for (name, value) in &call.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
            headers.insert(name, value);
        }
    }
    Ok(Target { base, injection, headers })
}

/// A path, with its query, behind a base URL; never another host, nor above the base.
pub(crate) fn join(base: &Url, path: &str) -> Result<Url, Error> {
    if path.is_empty() {
        return Ok(base.clone());
    }
    let (path, query) =
        path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let odd = |segment: &str| {
        let plain = segment.to_ascii_lowercase().replace("%2e", ".");
        plain == "." || plain == ".."
    };
    if path.split(['/', '\\']).any(odd) {
        return Err(Error::NotCallable("the path must not have dots for segments".into()));
    }
    let mut url = base.clone();
    let before = base.path().trim_end_matches('/');
    url.set_path(&format!("{before}/{}", path.trim_start_matches('/')));
    url.set_query(query.or(base.query()));
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_behind_its_base() {
        let base: Url = "https://api.example.com/v2/".parse().unwrap();
        let table = [
            ("/users?limit=1", Some("https://api.example.com/v2/users?limit=1")),
            ("users", Some("https://api.example.com/v2/users")),
            ("", Some("https://api.example.com/v2/")),
            ("//evil.example/x", Some("https://api.example.com/v2/evil.example/x")),
            ("https://evil.example", Some("https://api.example.com/v2/https://evil.example")),
            ("../admin", None),
            ("a/%2E%2e/b", None),
            ("a\\..\\b", None),
        ];
        for (path, expected) in table {
            let joined = join(&base, path).ok();
            assert_eq!(joined.as_ref().map(Url::as_str), expected, "{path}");
        }
    }
}
