//! Images and documents by their URL.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::model::{ModelError, ModelErrorKind};

pub(super) enum Media<'a> {
    Elsewhere(&'a str),
    Here { kind: &'a str, base64: Cow<'a, str> },
}

impl<'a> Media<'a> {
    /// Takes `data:` URLs (RFC 2397) apart and leaves others as they are.
    pub(super) fn of(url: &'a str) -> Result<Self, ModelError> {
        let Some(data) = url.strip_prefix("data:") else { return Ok(Self::Elsewhere(url)) };
        let (head, data) = data.split_once(',').ok_or_else(|| bad("it has no comma"))?;
        let mut parts = head.split(';');
        let kind = parts.next().filter(|kind| !kind.is_empty()).unwrap_or("text/plain");
        if parts.any(|part| part.trim().eq_ignore_ascii_case("base64")) {
            return Ok(Self::Here { kind, base64: data.into() });
        }
        let bytes = percent_decoded(data);
        Ok(Self::Here { kind, base64: STANDARD.encode(bytes).into() })
    }
}

pub(super) fn text(base64: &str) -> Result<String, ModelError> {
    let bytes = STANDARD.decode(base64).map_err(|error| bad(&error.to_string()))?;
    String::from_utf8(bytes).map_err(|_| bad("its text is not UTF-8"))
}

/// What a file of this name most likely is.
pub(super) fn kind_by_name(name: &str) -> Option<&'static str> {
    let name = name.split(['?', '#']).next().unwrap_or_default();
    let (_, ending) = name.rsplit_once('.')?;
    Some(match ending.to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "pdf" => "application/pdf",
        "txt" | "md" => "text/plain",
        "csv" => "text/csv",
        "html" => "text/html",
        _ => return None,
    })
}

fn percent_decoded(text: &str) -> Vec<u8> {
    // Form decoding with the one thing undone in which it differs.
    let pair = format!("={}", text.replace('+', "%2B").replace('&', "%26"));
    let decoded = url::form_urlencoded::parse(pair.as_bytes()).next();
    decoded.map(|(_, value)| value.into_owned().into_bytes()).unwrap_or_default()
}

fn bad(why: &str) -> ModelError {
    ModelError::new(ModelErrorKind::Invalid, format!("a `data:` URL cannot be read: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(url: &str) -> (String, String) {
        match Media::of(url).unwrap() {
            Media::Here { kind, base64 } => (kind.to_owned(), base64.into_owned()),
            Media::Elsewhere(url) => panic!("{url} is elsewhere"),
        }
    }

    #[test]
    fn a_data_url_is_taken_apart() {
        assert_eq!(here("data:image/png;base64,AAEC"), ("image/png".into(), "AAEC".into()));
        let (kind, base64) = here("data:text/plain;charset=utf-8,a%20b+c=d&e");
        assert_eq!((kind.as_str(), text(&base64).unwrap().as_str()), ("text/plain", "a b+c=d&e"));
        assert_eq!(here("data:,x").0, "text/plain");
    }

    #[test]
    fn other_urls_are_left_alone_and_broken_ones_are_named() {
        assert!(matches!(Media::of("https://x.example/a.png"), Ok(Media::Elsewhere(_))));
        assert!(Media::of("data:image/png;base64").is_err());
        assert!(text("!").is_err());
    }
}
