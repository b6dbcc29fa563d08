//! What is said in the brackets of `#[tool(…)]`.

use std::time::Duration;

use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Error, Ident, Lit, LitStr, Path, Result, Token};

#[derive(Default)]
pub(crate) struct Options {
    pub(crate) name: Option<LitStr>,
    pub(crate) description: Option<LitStr>,
    pub(crate) effect: Option<Ident>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) path: Option<Path>,
}

enum Said {
    Name(LitStr),
    Description(LitStr),
    Effect(Ident),
    Timeout(Duration),
    Crate(Path),
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut options = Self::default();
        for (key, said) in Punctuated::<Keyed, Token![,]>::parse_terminated(input)?
            .into_iter()
            .map(|keyed| (keyed.key, keyed.said))
        {
            let twice = match said {
                Said::Name(name) => options.name.replace(name).is_some(),
                Said::Description(text) => options.description.replace(text).is_some(),
                Said::Effect(effect) => options.effect.replace(effect).is_some(),
                Said::Timeout(timeout) => options.timeout.replace(timeout).is_some(),
                Said::Crate(path) => options.path.replace(path).is_some(),
            };
            if twice {
                return Err(Error::new(key.span(), format!("`{key}` is said twice")));
            }
        }
        Ok(options)
    }
}

struct Keyed {
    key: Ident,
    said: Said,
}

impl Parse for Keyed {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let key = input.call(Ident::parse_any)?;
        if !["name", "description", "effect", "timeout", "crate"].contains(&&*key.to_string()) {
            let known = "`name`, `description`, `effect`, `timeout` and `crate`";
            return Err(Error::new(key.span(), format!("`#[tool]` knows {known}, not `{key}`")));
        }
        input.parse::<Token![=]>()?;
        let said = match key.to_string().as_str() {
            "name" => Said::Name(tool_name(input.parse()?)?),
            "description" => Said::Description(input.parse()?),
            "effect" => Said::Effect(effect(input)?),
            "timeout" => Said::Timeout(timeout(&input.parse()?)?),
            _ => Said::Crate(input.call(Path::parse_mod_style)?),
        };
        Ok(Self { key, said })
    }
}

/// Providers take no other names.
pub(crate) fn tool_name(name: LitStr) -> Result<LitStr> {
    let text = name.value();
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if (1..=64).contains(&text.len()) && text.chars().all(allowed) {
        return Ok(name);
    }
    let why = "a tool's name has 1 to 64 of A-Z, a-z, 0-9, `_` and `-`";
    Err(Error::new(name.span(), why))
}

/// The name of a variant of `Effect`.
fn effect(input: ParseStream<'_>) -> Result<Ident> {
    let word = input.call(Ident::parse_any)?;
    let variant = match word.to_string().as_str() {
        "read" => "Read",
        "idempotent" => "Idempotent",
        "keyed" => "Keyed",
        "unsafe" => "Unsafe",
        _ => {
            let why = "an effect is `read`, `idempotent`, `keyed` or `unsafe`";
            return Err(Error::new(word.span(), why));
        }
    };
    Ok(Ident::new(variant, word.span()))
}

/// Seconds, or a text such as `"1500ms"`, `"30s"` and `"2m"`.
fn timeout(said: &Lit) -> Result<Duration> {
    let why = || {
        Error::new(
            said.span(),
            "a timeout is a number of seconds, or like \"500ms\", \"30s\", \"2m\"",
        )
    };
    let duration = match said {
        Lit::Int(seconds) => Duration::from_secs(seconds.base10_parse()?),
        Lit::Str(text) => {
            let text = text.value();
            let unit = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(why)?;
            let (number, unit) = text.split_at(unit);
            let number: u64 = number.parse().map_err(|_| why())?;
            match unit {
                "ms" => Duration::from_millis(number),
                "s" => Duration::from_secs(number),
                "m" => Duration::from_secs(number.saturating_mul(60)),
                _ => return Err(why()),
            }
        }
        _ => return Err(why()),
    };
    if duration.is_zero() {
        return Err(Error::new(said.span(), "a tool needs some time"));
    }
    Ok(duration)
}
