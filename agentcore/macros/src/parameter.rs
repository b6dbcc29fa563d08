//! The parameters of a tool's function.

use proc_macro2::TokenStream;
use quote::quote;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Attribute, Error, Expr, Ident, LitStr, Pat, PatType, Result, Token, Type};

use crate::docs;

pub(crate) enum Parameter {
    /// What the model does not say; as a reference or by value.
    Cx {
        name: Ident,
        by_reference: bool,
    },
    Argument(Box<Argument>),
}

/// Something the model says.
pub(crate) struct Argument {
    pub(crate) name: Ident,
    /// As it is read from JSON.
    pub(crate) owned: TokenStream,
    /// The function borrows it.
    pub(crate) by_reference: bool,
    is_text: bool,
    pub(crate) description: String,
    default: Default,
    renamed: Option<LitStr>,
    /// `serde` and `schemars` say more about it.
    passed_on: Vec<Attribute>,
}

enum Default {
    None,
    OfType,
    Value(Box<Expr>),
}

impl Parameter {
    /// Takes what is ours out of the parameter.
    pub(crate) fn parse(parameter: &mut PatType) -> Result<Self> {
        let Pat::Ident(pattern) = &*parameter.pat else {
            return Err(Error::new(parameter.pat.span(), "an argument of a tool needs a name"));
        };
        let name = pattern.ident.clone();
        let attributes = std::mem::take(&mut parameter.attrs);
        if let Some(by_reference) = cx(&parameter.ty) {
            return Ok(Self::Cx { name, by_reference });
        }
        let (owned, by_reference, is_text) = owned(&parameter.ty)?;
        let (lines, attributes) = docs::take(attributes);
        let mut argument = Argument {
            name,
            owned,
            by_reference,
            is_text,
            description: docs::paragraph(&lines),
            default: Default::None,
            renamed: None,
            passed_on: Vec::new(),
        };
        for attribute in attributes {
            argument.read(attribute, parameter)?;
        }
        Ok(Self::Argument(Box::new(argument)))
    }

    pub(crate) fn name(&self) -> &Ident {
        match self {
            Self::Cx { name, .. } => name,
            Self::Argument(argument) => &argument.name,
        }
    }
}

impl Argument {
    fn read(&mut self, attribute: Attribute, parameter: &mut PatType) -> Result<()> {
        if attribute.path().is_ident("serde") || attribute.path().is_ident("schemars") {
            self.passed_on.push(attribute);
            return Ok(());
        }
        if !attribute.path().is_ident("tool") {
            parameter.attrs.push(attribute);
            return Ok(());
        }
        let all = Punctuated::<Said, Token![,]>::parse_terminated;
        for said in attribute.parse_args_with(all)? {
            match said {
                Said::Default(default) => self.default = default,
                Said::Name(name) => self.renamed = Some(name),
                Said::Description(text) => self.description = text.value(),
            }
        }
        Ok(())
    }

    /// The field of the struct that is read from JSON, and the function that makes its default.
    pub(crate) fn field(&self, serde: &TokenStream) -> (TokenStream, TokenStream) {
        let Self { name, owned, passed_on, .. } = self;
        let description = Some(&self.description).filter(|text| !text.is_empty());
        let description = description.map(|text| quote!(#[schemars(description = #text)]));
        let renamed = self.renamed.as_ref().map(|name| quote!(#[#serde(rename = #name)]));
        let (default, made) = match &self.default {
            Default::None => (TokenStream::new(), TokenStream::new()),
            Default::OfType => (quote!(#[#serde(default)]), TokenStream::new()),
            Default::Value(value) => {
                let function = quote::format_ident!("__default_{}", name.unraw());
                let path = function.to_string();
                let value = if self.is_text {
                    quote!(::std::convert::Into::into(#value))
                } else {
                    quote!(#value)
                };
                let made = quote!(fn #function() -> #owned { #value });
                (quote!(#[#serde(default = #path)]), made)
            }
        };
        let field = quote!(#(#passed_on)* #description #renamed #default #name: #owned);
        (field, made)
    }
}

/// Whether this is the context of a call, and by reference.
fn cx(ty: &Type) -> Option<bool> {
    let (ty, by_reference) = match ty {
        Type::Reference(reference) => (&*reference.elem, true),
        ty => (ty, false),
    };
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    (last.ident == "ToolCx").then_some(by_reference)
}

/// The type an argument is read as, whether the function borrows it, and whether it is a text.
fn owned(ty: &Type) -> Result<(TokenStream, bool, bool)> {
    match ty {
        Type::Reference(reference) if reference.mutability.is_none() => match &*reference.elem {
            Type::Path(path) if path.path.is_ident("str") => {
                Ok((quote!(::std::string::String), true, true))
            }
            Type::Slice(slice) => {
                let item = &slice.elem;
                Ok((quote!(::std::vec::Vec<#item>), true, false))
            }
            _ => Err(borrowed(ty)),
        },
        Type::Reference(_) => Err(borrowed(ty)),
        Type::ImplTrait(_) => Err(Error::new(
            ty.span(),
            "an argument of a tool has one type: the model must know what to write",
        )),
        _ => Ok((quote!(#ty), false, false)),
    }
}

fn borrowed(ty: &Type) -> Error {
    let why = "a tool owns its arguments; only `&str`, `&[T]` and `&ToolCx` are borrowed";
    Error::new(ty.span(), why)
}

enum Said {
    Default(Default),
    Name(LitStr),
    Description(LitStr),
}

impl Parse for Said {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let key = input.call(Ident::parse_any)?;
        if key == "default" && !input.peek(Token![=]) {
            return Ok(Self::Default(Default::OfType));
        }
        if !["default", "name", "description"].contains(&&*key.to_string()) {
            let why = format!("an argument knows `default`, `name` and `description`, not `{key}`");
            return Err(Error::new(key.span(), why));
        }
        input.parse::<Token![=]>()?;
        Ok(match key.to_string().as_str() {
            "default" => Self::Default(Default::Value(input.parse()?)),
            "name" => Self::Name(input.parse()?),
            _ => Self::Description(input.parse()?),
        })
    }
}
