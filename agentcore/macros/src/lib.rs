//! `#[tool]`, re-exported and explained by `agentcore`.

mod docs;
mod expand;
mod options;
mod parameter;

use proc_macro::TokenStream;

/// Makes a tool of a function. See `agentcore::tool`.
#[proc_macro_attribute]
pub fn tool(attributes: TokenStream, item: TokenStream) -> TokenStream {
    expand::tool(attributes.into(), item.into())
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
