//! Cuts a secret out of what comes back, in every form in which a server might echo it.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
};
use secrecy::{ExposeSecret, SecretString};

/// What stands in a secret's place.
pub const REDACTED: &str = "[redacted]";

/// Anything shorter would be found in half of all texts, and protects nothing.
const SHORTEST: usize = 4;
/// A base64 needle without its ends must still be too long to be met by chance.
const SHORTEST_ENCODED: usize = 8;

/// Replaces secrets in text and bytes. Cheap to ask when there is nothing to hide.
#[derive(Clone, Default)]
pub struct Redactor {
    /// Longest first, so that no shorter form leaves the rest of a longer one standing.
    needles: Vec<Vec<u8>>,
    /// The bytes that needles start with: most of a text is passed over by these alone.
    starts: Vec<u8>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({} forms)", self.needles.len())
    }
}

impl Redactor {
    /// Looks for the secret as it is, in base64 (alone or inside something longer), percent-encoded, in hex and as in a
    /// JSON string.
    pub fn new(secrets: &[&SecretString]) -> Self {
        let mut needles: Vec<Vec<u8>> = secrets
            .iter()
            .map(|secret| secret.expose_secret())
            .filter(|secret| secret.len() >= SHORTEST)
            .flat_map(forms)
            .collect();
        needles.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        needles.dedup();
        let mut starts: Vec<u8> =
            needles.iter().filter_map(|needle| needle.first().copied()).collect();
        starts.sort_unstable();
        starts.dedup();
        Self { needles, starts }
    }

    /// The text without the secrets.
    pub fn text(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.bytes(text.as_bytes().to_vec())).into_owned()
    }

    /// The bytes without the secrets.
    pub fn bytes(&self, bytes: Vec<u8>) -> Vec<u8> {
        if self.needles.is_empty() {
            return bytes;
        }
        let mut clean = Vec::with_capacity(bytes.len());
        let mut rest = bytes.as_slice();
        while let [first, tail @ ..] = rest {
            if !self.starts.contains(first) {
                clean.push(*first);
                rest = tail;
            } else if let Some(after) =
                self.needles.iter().find_map(|needle| rest.strip_prefix(&**needle))
            {
                clean.extend_from_slice(REDACTED.as_bytes());
                rest = after;
            } else {
                clean.push(*first);
                rest = tail;
            }
        }
        clean
    }

    /// Like [`Redactor::bytes`] for bytes that were cut off: a secret that the cut went through is taken off the end.
    pub fn cut_bytes(&self, bytes: Vec<u8>) -> Vec<u8> {
        let mut clean = self.bytes(bytes);
        let begun = self.needles.iter().filter_map(|needle| {
            (SHORTEST..needle.len())
                .rev()
                .find(|length| needle.get(..*length).is_some_and(|start| clean.ends_with(start)))
        });
        if let Some(length) = begun.max() {
            clean.truncate(clean.len() - length);
            clean.extend_from_slice(REDACTED.as_bytes());
        }
        clean
    }

    /// Whether a secret is in the text.
    pub fn finds(&self, text: &str) -> bool {
        self.text(text) != text
    }
}

fn forms(secret: &str) -> Vec<Vec<u8>> {
    let bytes = secret.as_bytes();
    let json = serde_json::Value::from(secret).to_string();
    let inner = json.get(1..json.len() - 1).unwrap_or_default();
    let mut forms = vec![
        secret.to_owned(),
        inner.to_owned(),
        inner.replace('/', "\\/"),
        ascii(inner),
        percent(bytes, false, true),
        percent(bytes, true, true),
        percent(bytes, false, false),
        percent(bytes, true, false),
        percent(bytes, false, true).replace("%20", "+"),
        url::form_urlencoded::byte_serialize(bytes).collect(),
        STANDARD.encode(bytes),
        STANDARD_NO_PAD.encode(bytes),
        URL_SAFE.encode(bytes),
        URL_SAFE_NO_PAD.encode(bytes),
        hex(bytes),
        hex(bytes).to_ascii_uppercase(),
    ];
    for before in 0..3 {
        forms.extend(
            [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD].map(|engine| inside(engine, bytes, before)),
        );
    }
    let long_enough = |form: &String| form.len() >= SHORTEST;
    forms.into_iter().filter(long_enough).map(String::into_bytes).collect()
}

/// The characters of base64 that depend on the secret alone when `before` (modulo 3) bytes precede it and anything
/// follows; empty when they are too few.
fn inside(engine: &impl base64::Engine, secret: &[u8], before: usize) -> String {
    let padded = [vec![0; before].as_slice(), secret].concat();
    let encoded = engine.encode(&padded);
    let start = (before * 8).div_ceil(6);
    let end = padded.len() * 8 / 6;
    match encoded.get(start..end) {
        Some(needle) if needle.len() >= SHORTEST_ENCODED => needle.to_owned(),
        _ => String::new(),
    }
}

/// Percent-encodes everything but letters and digits, or everything but the unreserved characters.
fn percent(bytes: &[u8], all: bool, upper: bool) -> String {
    let mut text = String::new();
    for byte in bytes {
        let kept = byte.is_ascii_alphanumeric() || (!all && b"-._~".contains(byte));
        if kept {
            text.push(char::from(*byte));
        } else {
            let [high, low] = digits(*byte);
            text.push('%');
            text.extend(
                [high, low].map(|digit| if upper { digit.to_ascii_uppercase() } else { digit }),
            );
        }
    }
    text
}

/// A JSON string as those write it who escape everything beyond ASCII.
fn ascii(json: &str) -> String {
    let mut text = String::new();
    for character in json.chars() {
        if character.is_ascii() {
            text.push(character);
        } else {
            let units = character.encode_utf16(&mut [0; 2]).to_vec();
            text.extend(units.iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| digits(*byte)).collect()
}

fn digits(byte: u8) -> [char; 2] {
    [byte >> 4, byte & 15].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "s3cr&t/with+\"quotes\" é";

    fn redactor() -> Redactor {
        Redactor::new(&[&SecretString::from(SECRET)])
    }

    #[test]
    fn a_secret_is_found_in_every_form() {
        let basic = STANDARD.encode(format!("user:{SECRET}"));
        let longer = URL_SAFE.encode(format!("{{\"a\":\"{SECRET}\",\"b\":1}}"));
        let query: String = url::form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
        let url = url::Url::parse_with_params("http://x/", [("key", SECRET)]).unwrap();
        let forms = [
            SECRET.to_owned(),
            serde_json::json!({ "echo": SECRET }).to_string(),
            STANDARD.encode(SECRET),
            URL_SAFE_NO_PAD.encode(SECRET),
            percent(SECRET.as_bytes(), false, false),
            hex(SECRET.as_bytes()),
            "s3cr&t\\/with+\\\"quotes\\\" \\u00e9".replace("\\/", "/"),
            query,
            url.to_string(),
        ];
        for form in forms {
            let clean = redactor().text(&format!("before {form} after"));
            assert!(clean.contains(REDACTED), "{form}: {clean}");
            assert!(clean.starts_with("before ") && clean.ends_with(" after"), "{clean}");
        }
        for encoded in [basic, longer] {
            let clean = redactor().text(&encoded);
            assert!(clean.contains(REDACTED) && clean.len() < encoded.len(), "{clean}");
        }
    }

    #[test]
    fn a_cut_secret_is_taken_off_the_end() {
        for length in SHORTEST..SECRET.len() {
            let bytes = [b"before ", &SECRET.as_bytes()[..length]].concat();
            let clean = redactor().cut_bytes(bytes);
            assert_eq!(String::from_utf8_lossy(&clean), "before [redacted]", "{length}");
        }
    }

    #[test]
    fn other_text_is_left_alone() {
        let text = "s3cr and é, \"quotes\"";
        assert_eq!(redactor().text(text), text);
        assert_eq!(Redactor::new(&[&SecretString::from("ab")]).text("abba"), "abba");
        assert_eq!(Redactor::default().text(text), text);
        assert!(!format!("{:?}", redactor()).contains("s3cr"));
    }
}
