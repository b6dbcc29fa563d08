//! Enumerations that are one lowercase word in JSON, in the database and in URLs alike.

/// A word that is not one of the enumeration's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not one of {known}", known = .1.trim_end().replace(' ', ", "))]
pub struct UnknownWord(pub String, pub &'static str);

/// Declares an enumeration whose every variant has exactly one spelling, used by serde, `Display`, `FromStr`,
/// OpenAPI and (as `text`) the database.
#[macro_export]
macro_rules! text_enum {
    ($(#[$doc:meta])* $vis:vis enum $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
                 serde::Serialize, serde::Deserialize, utoipa::ToSchema, schemars::JsonSchema)]
        $vis enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant,)+ }

        impl $name {
            /// Every variant, in order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The one spelling of this variant.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::text_enum::UnknownWord;

            fn from_str(word: &str) -> Result<Self, Self::Err> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::text_enum::UnknownWord(word.into(), concat!($($word, " ",)+))),
                }
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self { value.as_str().into() }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::text_enum::UnknownWord;

            fn try_from(word: String) -> Result<Self, $crate::text_enum::UnknownWord> { word.parse() }
        }
    };
}
