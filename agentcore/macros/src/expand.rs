//! From a function to a tool: a unit struct of the function's name that implements `Tool`.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Error, FnArg, Ident, ItemFn, LitStr, Result, ReturnType, Signature, Type, Visibility};

use crate::docs;
use crate::options::{Options, tool_name};
use crate::parameter::{Argument, Parameter};

pub(crate) fn tool(attributes: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let options: Options = syn::parse2(attributes)?;
    let span = item.span();
    let mut function: ItemFn = syn::parse2(item).map_err(|error| {
        Error::new(error_span(&error, span), format!("`#[tool]` goes on a function: {error}"))
    })?;
    refuse(&function.sig)?;
    let (lines, attributes) = docs::take(std::mem::take(&mut function.attrs));
    function.attrs = attributes;
    let said = docs::parse(&lines);
    let mut parameters = parameters(&mut function.sig)?;
    describe(&mut parameters, said.arguments, function.sig.ident.span())?;

    let name = match options.name {
        Some(name) => name,
        None => tool_name(LitStr::new(
            &function.sig.ident.unraw().to_string(),
            function.sig.ident.span(),
        ))?,
    };
    let description = options.description.map_or(said.description, |text| text.value());
    let effect = options.effect.unwrap_or_else(|| Ident::new("Unsafe", Span::call_site()));
    let krate = options.path.map_or_else(|| quote!(::agentcore), ToTokens::into_token_stream);
    let millis = options.timeout.map(|timeout| timeout.as_millis() as u64);
    let timeout = millis.map_or_else(
        || quote!(#krate::ToolSpec::DEFAULT_TIMEOUT),
        |millis| quote!(::std::time::Duration::from_millis(#millis)),
    );
    let spec = quote! {
        static SPEC: ::std::sync::LazyLock<#krate::ToolSpec> = ::std::sync::LazyLock::new(|| {
            #krate::__private::spec::<__Arguments>(#name, #description, #krate::Effect::#effect, #timeout)
        });
        &SPEC
    };
    Ok(write(&function, &lines, &parameters, &spec, &krate))
}

fn write(
    function: &ItemFn,
    docs: &[String],
    parameters: &[Parameter],
    spec: &TokenStream,
    krate: &TokenStream,
) -> TokenStream {
    let (vis, sig) = (&function.vis, &function.sig);
    let function = ItemFn { vis: Visibility::Inherited, ..function.clone() };
    let ident = &sig.ident;
    let arguments = arguments(parameters, krate);
    let call = call(sig, parameters, krate);
    let (inputs, output, is_async) = (&sig.inputs, &sig.output, &sig.asyncness);
    let names = parameters.iter().map(Parameter::name);
    let wait = is_async.map(|_| quote!(.await));
    // Written here rather than copied, so that the function's own errors point into it.
    quote_spanned! {ident.span()=>
        #(#[doc = #docs])*
        #[allow(non_camel_case_types)]
        #[derive(Clone, Copy, Debug)]
        #vis struct #ident;

        const _: () = {
            #arguments

            // What the lints would change is what the model sees or the program needs.
            #[allow(
                clippy::needless_pass_by_value, clippy::unnecessary_wraps, clippy::unused_async
            )]
            #function

            #[allow(dead_code, unused_mut, clippy::too_many_arguments)]
            impl #ident {
                /// The function itself.
                #vis #is_async fn invoke(#inputs) #output {
                    #ident(#(#names),*) #wait
                }
            }

            impl #krate::Tool for #ident {
                fn spec(&self) -> &#krate::ToolSpec {
                    #spec
                }

                fn call<'a>(
                    &'a self,
                    __cx: &'a #krate::ToolCx,
                    __arguments: #krate::__private::Value,
                ) -> #krate::__private::BoxFuture<
                    'a,
                    ::std::result::Result<#krate::ToolOutput, #krate::ToolError>,
                > {
                    ::std::boxed::Box::pin(async move {
                        let __arguments: __Arguments = #krate::__private::arguments(__arguments)?;
                        #call
                    })
                }
            }
        };
    }
}

/// The struct that the arguments are read into, whose schema the model sees.
fn arguments(parameters: &[Parameter], krate: &TokenStream) -> TokenStream {
    let serde = quote!(serde);
    let all = parameters.iter().filter_map(|parameter| match parameter {
        Parameter::Argument(argument) => Some(argument),
        Parameter::Cx { .. } => None,
    });
    let (fields, defaults): (Vec<_>, Vec<_>) = all.map(|argument| argument.field(&serde)).unzip();
    let path = |module: &str| {
        let path = krate.to_string().replace(' ', "");
        format!("{path}::__private::{module}")
    };
    let (serde, schemars) = (path("serde"), path("schemars"));
    quote! {
        #(#defaults)*
        #[derive(#krate::__private::serde::Deserialize, #krate::__private::schemars::JsonSchema)]
        #[serde(crate = #serde)]
        #[schemars(crate = #schemars)]
        struct __Arguments { #(#fields),* }
    }
}

fn call(sig: &Signature, parameters: &[Parameter], krate: &TokenStream) -> TokenStream {
    let ident = &sig.ident;
    let passed = parameters.iter().map(|parameter| match parameter {
        Parameter::Cx { by_reference: true, .. } => quote!(&__cx),
        Parameter::Cx { by_reference: false, .. } => quote!(__cx.clone()),
        Parameter::Argument(argument) => {
            let Argument { name, by_reference, .. } = &**argument;
            if *by_reference { quote!(&__arguments.#name) } else { quote!(__arguments.#name) }
        }
    });
    let called = quote!(#ident(#(#passed),*));
    let result = if sig.asyncness.is_some() {
        quote!(#called.await)
    } else {
        quote! {{
            let __cx = ::std::clone::Clone::clone(__cx);
            #krate::__private::blocking(move || #called).await
        }}
    };
    let finish = if is_result(&sig.output) { quote!(fallible) } else { quote!(finished) };
    let span = match &sig.output {
        ReturnType::Type(_, ty) => ty.span(),
        ReturnType::Default => sig.ident.span(),
    };
    quote_spanned!(span=> #krate::__private::#finish(#result))
}

fn is_result(output: &ReturnType) -> bool {
    let ReturnType::Type(_, ty) = output else { return false };
    let Type::Path(path) = &**ty else { return false };
    path.path.segments.last().is_some_and(|last| last.ident == "Result")
}

fn parameters(sig: &mut Signature) -> Result<Vec<Parameter>> {
    let mut parameters = Vec::new();
    for input in &mut sig.inputs {
        match input {
            FnArg::Typed(parameter) => parameters.push(Parameter::parse(parameter)?),
            FnArg::Receiver(receiver) => {
                let why = "a tool is a free function; for one with a state implement `Tool`, or use `FnTool`";
                return Err(Error::new(receiver.span(), why));
            }
        }
    }
    Ok(parameters)
}

/// Gives the descriptions of the doc comment to the arguments that have none of their own.
fn describe(
    parameters: &mut [Parameter],
    described: Vec<(String, String)>,
    span: Span,
) -> Result<()> {
    for (name, text) in described {
        let found = parameters.iter_mut().find(|parameter| parameter.name().unraw() == name);
        match found {
            Some(Parameter::Argument(argument)) if argument.description.is_empty() => {
                argument.description = text;
            }
            Some(_) => {}
            None => {
                let why = format!("the doc comment describes `{name}`, which is no argument");
                return Err(Error::new(span, why));
            }
        }
    }
    Ok(())
}

fn refuse(sig: &Signature) -> Result<()> {
    if !sig.generics.params.is_empty() {
        let why = "a tool has no generic parameters: the model must know what to write";
        return Err(Error::new(sig.generics.span(), why));
    }
    if let Some(word) = &sig.unsafety {
        return Err(Error::new(
            word.span(),
            "a tool can be called by anybody, so it is not `unsafe`",
        ));
    }
    if let Some(word) = &sig.constness {
        return Err(Error::new(word.span(), "a tool is not `const`"));
    }
    if let Some(abi) = &sig.abi {
        return Err(Error::new(abi.span(), "a tool has no ABI of its own"));
    }
    Ok(())
}

fn error_span(error: &Error, item: Span) -> Span {
    if error.to_string().starts_with("expected") { error.span() } else { item }
}

#[cfg(test)]
#[path = "expand_tests.rs"]
mod tests;
