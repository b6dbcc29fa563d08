//! Deliveries as Standard Webhooks 1.0 signs them, made before the clock runs.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::load::{Answer, Traffic};

/// What a provider might send.
pub(crate) const BODY: &str = r#"{"type":"ticket.created","ticket":{"id":48151,"subject":"Printer on fire","priority":"high","requester":{"name":"Ada","email":"ada@example.com"},"tags":["office","urgent"],"body":"It started this morning and has not stopped since."}}"#;

/// A number of deliveries to one hook, each with an id of its own.
pub(crate) struct Deliveries {
    head: String,
    series: u64,
    time: i64,
    signatures: Vec<[u8; 44]>,
    right: (u16, &'static str),
}

impl Deliveries {
    /// Signs `count` of them, now. An empty secret signs nothing, for doors that do not look.
    pub(crate) fn sign(path: &str, secret: &str, count: usize) -> Self {
        let (series, time) = (rand::random(), servicekit::token::unix_now());
        let key = STANDARD.decode(secret.trim_start_matches("whsec_")).unwrap_or_default();
        // A key of any length will do.
        let keyed = Hmac::<Sha256>::new_from_slice(&key).ok();
        let signature = |n: usize| {
            let mut text = [b'A'; 44];
            if let Some(keyed) = keyed.clone().filter(|_| !key.is_empty()) {
                let signed =
                    keyed.chain_update(id(series, n)).chain_update(format!(".{time}.{BODY}"));
                // 32 bytes are 44 letters.
                let _ = STANDARD.encode_slice(signed.finalize().into_bytes(), &mut text);
            }
            text
        };
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: bench\r\nuser-agent: bench\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n",
            BODY.len()
        );
        let (signatures, right) = ((0..count).map(signature).collect(), (202, ""));
        Self { head, series, time, signatures, right }
    }

    /// The same, for a hook that answers otherwise: with this status, and this text in the body.
    pub(crate) fn answered(self, status: u16, contains: &'static str) -> Self {
        Self { right: (status, contains), ..self }
    }
}

impl Traffic for Deliveries {
    fn write(&self, n: usize, request: &mut Vec<u8>) {
        use std::io::Write as _;
        let (id, time) = (id(self.series, n), self.time);
        request.extend_from_slice(self.head.as_bytes());
        // A Vec takes everything.
        let _ = write!(
            request,
            "webhook-id: {id}\r\nwebhook-timestamp: {time}\r\nwebhook-signature: v1,"
        );
        if let Some(signature) = self.signatures.get(n) {
            request.extend_from_slice(signature);
        }
        request.extend_from_slice(b"\r\n\r\n");
        request.extend_from_slice(BODY.as_bytes());
    }

    fn wrong(&self, answer: &Answer<'_>) -> Option<String> {
        answer.unless(self.right.0, self.right.1)
    }
}

fn id(series: u64, n: usize) -> String {
    format!("msg_{series:016x}_{n}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_covers_id_time_and_body() {
        let deliveries = Deliveries::sign("/v1/hooks/trg_1", "whsec_c2VjcmV0", 2);
        let mut request = Vec::new();
        deliveries.write(1, &mut request);
        let text = String::from_utf8(request).unwrap();
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_start_matches(": ").to_owned()
        };
        let (_, body) = text.split_once("\r\n\r\n").unwrap();

        let (id, time) = (field("webhook-id"), field("webhook-timestamp"));
        let mut mac = Hmac::<Sha256>::new_from_slice(b"secret").unwrap();
        mac.update(format!("{id}.{time}.{body}").as_bytes());

        let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        assert_eq!(field("webhook-signature"), expected);
        assert_eq!(field("content-length"), body.len().to_string());
    }
}
