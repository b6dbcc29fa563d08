//! Texts with `{field}` in them, filled from a credential's fields.

use secrecy::{ExposeSecret as _, SecretString};

use crate::fields::Fields;

/// A field that a template names and the credential does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the credential has no field `{0}`")]
pub(crate) struct Unfilled(pub(crate) String);

/// The text with each `{field}` replaced. What is not closed stands for itself.
pub(crate) fn fill(template: &str, fields: &Fields) -> Result<SecretString, Unfilled> {
    let (mut filled, mut rest) = (String::new(), template);
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let Some((name, tail)) = after.split_once('}') else {
            filled.push('{');
            rest = after;
            continue;
        };
        let value = fields.text(name).ok_or_else(|| Unfilled(name.to_owned()))?;
        filled.push_str(value.expose_secret());
        rest = tail;
    }
    filled.push_str(rest);
    Ok(filled.into())
}
