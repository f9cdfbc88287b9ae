//! The shape of a handler.

use proc_macro::{Delimiter, Ident, Literal, Span, TokenStream, TokenTree};

/// Where it is wrong, and what to write.
pub(crate) struct Wrong(pub(crate) Span, pub(crate) String);

/// What every error ends with.
const EXPECTED: &str = "a handler is `fn name(event: Event) -> Result<(), Error>`";

fn wrong<T>(span: Span, why: &str) -> Result<T, Wrong> {
    Err(Wrong(span, format!("{why}; {EXPECTED}")))
}

/// The name that the attribute gives: nothing, or one text.
pub(crate) fn export_name(arguments: TokenStream) -> Result<Option<Literal>, Wrong> {
    let mut arguments = arguments.into_iter();
    let Some(first) = arguments.next() else { return Ok(None) };
    let help = "the attribute takes the name of the export as a text and nothing else, such as #[handler(\"default\")]";
    let refuse = |span| Err(Wrong(span, help.to_owned()));
    let TokenTree::Literal(name) = first else { return refuse(first.span()) };
    let text = name.to_string();
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    if text.is_none_or(|text| text.is_empty() || text.contains('\\')) {
        return refuse(name.span());
    }
    match arguments.next() {
        Some(more) => refuse(more.span()),
        None => Ok(Some(name)),
    }
}

/// The name of the function, if its shape is a handler's.
pub(crate) fn function_name(item: &TokenStream) -> Result<Ident, Wrong> {
    let mut tokens = item.clone().into_iter().peekable();
    let mut last = Span::call_site();
    // Attributes, visibility and qualifiers, up to `fn`.
    loop {
        let Some(token) = tokens.next() else { return wrong(last, "this is no function") };
        last = token.span();
        match &token {
            TokenTree::Ident(word) => match word.to_string().as_str() {
                "fn" => break,
                "pub" | "crate" | "in" => {}
                "async" => return wrong(last, "a handler cannot be async: nothing is waited for in a guest"),
                "unsafe" | "extern" | "const" => {
                    return wrong(
                        last,
                        &format!("a handler cannot be `{word}`: the attribute makes the export"),
                    );
                }
                _ => return wrong(last, "this is no function"),
            },
            // `#[…]` and `(crate)`.
            TokenTree::Punct(mark) if mark.as_char() == '#' => {}
            TokenTree::Group(group) if group.delimiter() != Delimiter::Brace => {}
            _ => return wrong(last, "this is no function"),
        }
    }
    let Some(TokenTree::Ident(name)) = tokens.next() else { return wrong(last, "this function has no name") };
    match tokens.next() {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis => {
            parameters(group.stream(), name.span())?;
        }
        Some(other) => {
            let why = "a handler has no generic parameters: the node calls one function";
            return wrong(other.span(), why);
        }
        None => return wrong(name.span(), "this is no function"),
    }
    match tokens.next() {
        Some(TokenTree::Punct(mark)) if mark.as_char() == '-' => Ok(name),
        _ => wrong(name.span(), &format!("`{name}` returns nothing, and could not say that it failed")),
    }
}

/// One parameter, which is not `self`.
fn parameters(list: TokenStream, at: Span) -> Result<(), Wrong> {
    // Commas inside of `<…>` are no ends of parameters; those inside of brackets are tokens of their groups.
    let (mut parameters, mut open, mut depth) = (0, false, 0_i32);
    let mut before = ' ';
    for token in list {
        let mark = match &token {
            TokenTree::Punct(mark) => mark.as_char(),
            TokenTree::Ident(word) if word.to_string() == "self" => {
                return wrong(token.span(), "a handler is no method: `self` is nothing that the node has");
            }
            _ => ' ',
        };
        match mark {
            '<' => depth += 1,
            // Not that of `->`.
            '>' if before != '-' => depth -= 1,
            _ => {}
        }
        before = mark;
        if mark == ',' && depth == 0 {
            open = false;
        } else if !open {
            open = true;
            parameters += 1;
            if parameters > 1 {
                return wrong(token.span(), "a handler takes one parameter");
            }
        }
    }
    if parameters == 0 {
        return wrong(at, "a handler takes the event, as its only parameter");
    }
    Ok(())
}
