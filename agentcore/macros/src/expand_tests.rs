use super::*;

fn refused(attributes: TokenStream, item: TokenStream) -> String {
    tool(attributes, item).expect_err("it is refused").to_string()
}

fn none() -> TokenStream {
    TokenStream::new()
}

#[test]
fn what_cannot_be_a_tool_is_refused_with_the_reason() {
    let table = [
        (
            quote!(
                struct Search;
            ),
            "`#[tool]` goes on a function",
        ),
        (
            quote!(
                fn f(&self) {}
            ),
            "a tool is a free function; for one with a state implement `Tool`",
        ),
        (
            quote!(
                fn f<T>(x: T) {}
            ),
            "a tool has no generic parameters",
        ),
        (
            quote!(
                fn f((a, b): (u8, u8)) {}
            ),
            "an argument of a tool needs a name",
        ),
        (
            quote!(
                fn f(x: &Config) {}
            ),
            "a tool owns its arguments",
        ),
        (
            quote!(
                fn f(x: &mut str) {}
            ),
            "a tool owns its arguments",
        ),
        (
            quote!(
                fn f(x: impl Fn()) {}
            ),
            "an argument of a tool has one type",
        ),
        (
            quote!(
                unsafe fn f() {}
            ),
            "it is not `unsafe`",
        ),
        (
            quote!(
                const fn f() {}
            ),
            "a tool is not `const`",
        ),
        (
            quote!(
                extern "C" fn f() {}
            ),
            "no ABI",
        ),
        (
            quote!(
                fn f(#[tool(optional)] x: u8) {}
            ),
            "not `optional`",
        ),
        (
            quote! {
                #[doc = " # Arguments"]
                #[doc = " * `querry` - misspelled"]
                fn f(query: String) {}
            },
            "the doc comment describes `querry`, which is no argument",
        ),
        (
            quote!(
                fn größe() {}
            ),
            "a tool's name has 1 to 64 of",
        ),
    ];

    for (item, why) in table {
        let text = item.to_string();
        let error = refused(none(), item);
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn options_that_make_no_sense_are_refused_with_the_reason() {
    let table = [
        (
            quote!(color = "red"),
            "`#[tool]` knows `name`, `description`, `effect`, `timeout` and `crate`",
        ),
        (quote!(name = "a b"), "a tool's name has 1 to 64 of"),
        (quote!(name = "a", name = "b"), "`name` is said twice"),
        (quote!(effect = harmless), "an effect is `read`, `idempotent`, `keyed` or `unsafe`"),
        (quote!(timeout = "soon"), "a timeout is a number of seconds"),
        (quote!(timeout = 1.5), "a timeout is a number of seconds"),
        (quote!(timeout = 0), "a tool needs some time"),
        (quote!(name), "expected `=`"),
    ];

    for (options, why) in table {
        let text = options.to_string();
        let error = refused(
            options,
            quote!(
                fn f() {}
            ),
        );
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn a_function_of_any_sensible_shape_is_accepted() {
    for item in [
        quote!(
            fn f() {}
        ),
        quote!(
            pub(crate) async fn f(mut x: Vec<u8>, cx: &agentcore::ToolCx) -> Result<String, E> {}
        ),
        quote!(
            fn r#type(r#match: &str, #[serde(rename = "b")] a: Option<u8>) -> Value {}
        ),
    ] {
        let text = item.to_string();
        let options = quote!(timeout = "90s", effect = unsafe, crate = crate::agentcore);
        let written = tool(options, item).unwrap_or_else(|error| panic!("{text}: {error}"));
        syn::parse2::<syn::File>(written).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
}
