//! Standard Webhooks 1.0: HMAC-SHA256 over `id.timestamp.body`, one signature for each secret that is valid.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

/// What stands before the base64 of a secret.
const PREFIX: &str = "whsec_";

/// A secret is not one that can be signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be `whsec_` and the base64 of 24 to 64 bytes")]
pub(crate) struct BadSecret;

/// A new secret.
pub(crate) fn make_secret() -> SecretString {
    format!("{PREFIX}{}", STANDARD.encode(rand::random::<[u8; 32]>())).into()
}

/// Refuses what the specification does not allow as a secret.
pub(crate) fn check_secret(secret: &SecretString) -> Result<(), BadSecret> {
    key(secret).map(drop)
}

/// The value of `webhook-signature`.
pub(super) fn signatures<'a>(
    secrets: impl IntoIterator<Item = &'a SecretString>,
    (id, timestamp, body): (&str, i64, &str),
) -> Result<String, BadSecret> {
    let sign = |secret| {
        let mac = Hmac::<Sha256>::new_from_slice(&key(secret)?).map_err(|_| BadSecret)?;
        let mac = mac.chain_update(format!("{id}.{timestamp}.")).chain_update(body).finalize();
        Ok(format!("v1,{}", STANDARD.encode(mac.into_bytes())))
    };
    let signatures: Result<Vec<_>, BadSecret> = secrets.into_iter().map(sign).collect();
    Ok(signatures?.join(" "))
}

fn key(secret: &SecretString) -> Result<Vec<u8>, BadSecret> {
    let encoded = secret.expose_secret().strip_prefix(PREFIX).ok_or(BadSecret)?;
    let key = STANDARD.decode(encoded).map_err(|_| BadSecret)?;
    if (24..=64).contains(&key.len()) { Ok(key) } else { Err(BadSecret) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by another program's HMAC.
    const MESSAGE: (&str, i64, &str) =
        ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
    const SIGNED: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn published() -> SecretString {
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into()
    }

    #[test]
    fn the_published_example_is_signed_as_published() {
        assert_eq!(signatures([&published()], MESSAGE).as_deref(), Ok(SIGNED));
    }

    #[test]
    fn two_secrets_give_two_signatures() {
        let other = make_secret();

        let both = signatures([&other, &published()], MESSAGE).unwrap();

        let (first, second) = both.split_once(' ').unwrap();
        assert_eq!(second, SIGNED);
        assert_ne!(first, second);
        assert_eq!(signatures([&other], MESSAGE).as_deref(), Ok(first));
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        let short = format!("{PREFIX}{}", STANDARD.encode([1; 23]));
        let long = format!("{PREFIX}{}", STANDARD.encode([1; 65]));
        for bad in ["", "whsec_", "whsec_!", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", &short, &long] {
            assert_eq!(check_secret(&bad.to_owned().into()), Err(BadSecret), "{bad}");
        }
        assert_eq!(check_secret(&make_secret()), Ok(()));
    }
}
