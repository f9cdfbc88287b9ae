//! The attribute `#[handler]` of `w3bstream-sdk`, which re-exports it: use it from there.
//!
//! **Takes** the tokens of a function; **gives** them back with an export beside them, or an error that says what a handler
//! looks like.
//!
//! # Invariants
//! - The function itself is not changed.
//! - What the types must be, the compiler checks with the SDK's traits; here only the shape is looked at, so that nothing but
//!   the compiler's own token reader is needed.

mod signature;

use proc_macro::{Delimiter, Group, Ident, Literal, Punct, Spacing, Span, TokenStream, TokenTree};

use signature::Wrong;

/// Exports a function as a handler, under its own name or under the one that is given: `#[handler]`,
/// `#[handler("default")]`.
///
/// The function is `fn(T) -> Result<R, E>` with `T: FromEvent` (such as `Event`), `R: Reply` (such as `()`), and `E` that becomes the SDK's
/// `Error`. Natively nothing is exported, and the types are checked.
#[proc_macro_attribute]
pub fn handler(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let exported = signature::export_name(arguments)
        .and_then(|name| signature::function_name(&item).map(|function| (name, function)));
    let more = match exported {
        Ok((name, function)) => export(name, function),
        Err(Wrong(span, why)) => compile_error(span, &why),
    };
    item.into_iter().chain(more).collect()
}

/// `::w3bstream_sdk::__handler! { "name" => function }`
fn export(name: Option<Literal>, function: Ident) -> TokenStream {
    let span = function.span();
    let name = name.unwrap_or_else(|| {
        let text = function.to_string();
        let mut name = Literal::string(text.strip_prefix("r#").unwrap_or(&text));
        name.set_span(span);
        name
    });
    let body = [
        TokenTree::from(name),
        Punct::new('=', Spacing::Joint).into(),
        Punct::new('>', Spacing::Alone).into(),
        function.into(),
    ];
    let mut macro_path = path(&["w3bstream_sdk", "__handler"], span);
    macro_path.extend(bang(body.into_iter().collect(), span));
    macro_path.into_iter().collect()
}

fn compile_error(span: Span, why: &str) -> TokenStream {
    let mut text = Literal::string(why);
    text.set_span(span);
    let mut macro_path = path(&["core", "compile_error"], span);
    macro_path.extend(bang(TokenTree::from(text).into(), span));
    macro_path.into_iter().collect()
}

/// `::a::b`, all of it at one place of the source.
fn path(segments: &[&str], span: Span) -> Vec<TokenTree> {
    let mut path = Vec::new();
    for segment in segments {
        for spacing in [Spacing::Joint, Spacing::Alone] {
            let mut colon = Punct::new(':', spacing);
            colon.set_span(span);
            path.push(colon.into());
        }
        path.push(Ident::new(segment, span).into());
    }
    path
}

/// `! { body }`
fn bang(body: TokenStream, span: Span) -> [TokenTree; 2] {
    let mut bang = Punct::new('!', Spacing::Alone);
    bang.set_span(span);
    let mut group = Group::new(Delimiter::Brace, body);
    group.set_span(span);
    [bang.into(), group.into()]
}
