//! Requests: their options, and which resource they are for.

use coap_lite::{CoapOption, MessageClass, Packet, RequestType, ResponseType};
use w3bstream_types::{EventType, MessageId, ProjectName};

use crate::answer::{Format, Reply};
use crate::codec::{Block, read_uint};

/// Content-Format of bytes (RFC 7252 §12.3).
const OCTETS: u32 = 42;
/// Content-Format of text.
const TEXT: u32 = 0;
/// Request-Tag (RFC 9175 §3.2), which the codec has no name for.
const REQUEST_TAG: u16 = 292;
/// Segments of a path. Ours have three.
const MAX_SEGMENTS: usize = 4;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// `POST /w3b/{project}/{type}`.
    Event { project: ProjectName, event_type: EventType },
    /// `GET /w3b/message/{id}`.
    Message(MessageId),
    /// `GET /.well-known/core`.
    Core,
}

/// What the options of a request say.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) route: Route,
    /// How the answer is to be written.
    pub(crate) answer: Format,
    /// True if the content is said to be text, so a JWS.
    pub(crate) text: bool,
    pub(crate) block1: Option<Block>,
    pub(crate) block2: Option<Block>,
    /// How large all blocks are together, by the sender's word.
    pub(crate) size1: Option<u32>,
    /// Tells uploads of one sender apart.
    pub(crate) request_tag: Vec<u8>,
    /// Classes of answers that are not wanted (RFC 7967).
    pub(crate) no_response: u8,
}

/// Why a request is not understood.
#[derive(Debug)]
pub(crate) enum Fault {
    /// A critical option that is unknown, stands twice, or is too long (RFC 7252 §5.4).
    BadOption(u16),
    /// Anything else, with its answer.
    Refused(Reply),
}

fn refused(code: ResponseType, why: &str) -> Fault {
    Fault::Refused(Reply::diagnostic(code, why))
}

/// Reads the options.
pub(crate) fn read(packet: &Packet) -> Result<Options, Fault> {
    check_critical(packet)?;
    let number = |option: CoapOption, most| {
        // Too long: as if it was not known, which critical ones were refused for already.
        packet.get_first_option(option).and_then(|bytes| read_uint(bytes, most))
    };
    let block = |option: CoapOption| match packet.get_first_option(option) {
        None => Ok(None),
        Some(bytes) => Block::read(bytes)
            .map(Some)
            .ok_or_else(|| refused(ResponseType::BadRequest, "the size of a block is 16 to 1024 bytes")),
    };
    let (route, post) = route(packet)?;
    let answer = match (number(CoapOption::Accept, 2), &route) {
        (None | Some(50), Route::Event { .. } | Route::Message(_)) => Format::Json,
        (Some(60), Route::Event { .. } | Route::Message(_)) => Format::Cbor,
        (None | Some(40), Route::Core) => Format::Links,
        _ => return Err(refused(ResponseType::NotAcceptable, "there is JSON (50) and CBOR (60)")),
    };
    let text = match number(CoapOption::ContentFormat, 2) {
        _ if !post => false,
        None | Some(OCTETS) => false,
        Some(TEXT) => true,
        Some(_) => {
            let why = "send an envelope or JWS as octet-stream (42), or a JWS as text (0)";
            return Err(refused(ResponseType::UnsupportedContentFormat, why));
        }
    };
    let no_response = number(CoapOption::NoResponse, 1).unwrap_or(0);
    Ok(Options {
        route,
        answer,
        text,
        block1: block(CoapOption::Block1)?,
        block2: block(CoapOption::Block2)?,
        size1: number(CoapOption::Size1, 4),
        request_tag: packet
            .get_first_option(CoapOption::Unknown(REQUEST_TAG))
            .filter(|tag| tag.len() <= 8)
            .cloned()
            .unwrap_or_default(),
        no_response: u8::try_from(no_response).unwrap_or(0),
    })
}

/// The shortest and longest value of the critical options that are known, and whether they may stand twice.
const fn critical(number: u16) -> Option<(usize, usize, bool)> {
    match number {
        // Uri-Host, Uri-Port: any name of this node will do.
        3 => Some((1, 255, false)),
        7 => Some((0, 2, false)),
        // Uri-Path, Uri-Query.
        11 | 15 => Some((0, 255, true)),
        // Accept.
        17 => Some((0, 2, false)),
        // Block2, Block1.
        23 | 27 => Some((0, 3, false)),
        _ => None,
    }
}

fn check_critical(packet: &Packet) -> Result<(), Fault> {
    for (number, values) in packet.options() {
        match *number {
            35 | 39 => {
                return Err(refused(ResponseType::ProxyingNotSupported, "this is no proxy"));
            }
            number if number % 2 == 1 => {
                let known = critical(number).is_some_and(|(least, most, repeatable)| {
                    values.iter().all(|v| (least..=most).contains(&v.len()))
                        && (repeatable || values.len() == 1)
                });
                if !known {
                    return Err(Fault::BadOption(number));
                }
            }
            // What is elective and not understood is as if it was not there.
            _ => {}
        }
    }
    Ok(())
}

/// The resource, and whether it is posted to.
fn route(packet: &Packet) -> Result<(Route, bool), Fault> {
    let nothing =
        || refused(ResponseType::NotFound, "post to /w3b/{project}/{type}, with a-z, 0-9 and '-' in both");
    let segments = packet.get_option(CoapOption::UriPath).into_iter().flatten().take(MAX_SEGMENTS);
    let path: Vec<&str> = segments
        .map(|s| std::str::from_utf8(s))
        .collect::<Result<_, _>>()
        .map_err(|_| refused(ResponseType::BadRequest, "the path is not UTF-8"))?;
    let method = packet.header.code;
    let (get, post) = (RequestType::Get, RequestType::Post);
    match path.as_slice() {
        [".well-known", "core"] if method == MessageClass::Request(get) => Ok((Route::Core, false)),
        // A query could only be about something that we do not know, so it is not passed over.
        _ if packet.get_option(CoapOption::UriQuery).is_some() => {
            Err(refused(ResponseType::BadRequest, "no query is known here"))
        }
        ["w3b", "message", id] if method == MessageClass::Request(get) => {
            let why = "the id of a message is 64 hex digits";
            let id = id.parse().map_err(|_| refused(ResponseType::BadRequest, why))?;
            Ok((Route::Message(id), false))
        }
        ["w3b", project, event_type] if method == MessageClass::Request(post) => {
            match (project.parse(), event_type.parse()) {
                (Ok(project), Ok(event_type)) => Ok((Route::Event { project, event_type }, true)),
                _ => Err(nothing()),
            }
        }
        [".well-known", "core"] | ["w3b", _, _] => {
            Err(refused(ResponseType::MethodNotAllowed, "POST events, GET the rest"))
        }
        _ => Err(nothing()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(method: RequestType, path: &str, options: &[(u16, &[u8])]) -> Packet {
        let mut packet = Packet::new();
        packet.header.code = MessageClass::Request(method);
        for segment in path.split('/').filter(|s| !s.is_empty()) {
            packet.add_option(CoapOption::UriPath, segment.as_bytes().to_vec());
        }
        for (number, value) in options {
            packet.add_option(CoapOption::from(*number), value.to_vec());
        }
        packet
    }

    fn fault(method: RequestType, path: &str, options: &[(u16, &[u8])]) -> String {
        match read(&packet(method, path, options)) {
            Err(Fault::BadOption(number)) => format!("option {number}"),
            Err(Fault::Refused(reply)) => MessageClass::Response(reply.code).to_string(),
            Ok(options) => format!("{:?}", options.route),
        }
    }

    #[test]
    fn routes_are_as_the_topics() {
        let ok = read(&packet(RequestType::Post, "w3b/cold-chain/reading", &[])).unwrap();
        let names = ("cold-chain".parse().unwrap(), "reading".parse().unwrap());
        assert_eq!(ok.route, Route::Event { project: names.0, event_type: names.1 });
        let id = "0a".repeat(32);
        let asked = read(&packet(RequestType::Get, &format!("w3b/message/{id}"), &[])).unwrap();
        assert_eq!(asked.route, Route::Message(id.parse().unwrap()));
        // A project may be called so.
        assert!(read(&packet(RequestType::Post, "w3b/message/t", &[])).is_ok());
        let (get, post) = (RequestType::Get, RequestType::Post);
        assert_eq!(fault(get, ".well-known/core", &[(15, b"rt=x")]), "Core");
        for path in ["", "w3b", "w3b/p", "w3b/P/t", "w3b/p/t/x", "w3b/p/t_x", "a/b/c", "w3b/p/t/x/y"] {
            assert_eq!(fault(post, path, &[]), "4.04", "{path}");
        }
        assert_eq!(fault(get, "w3b/p/t", &[]), "4.05");
        assert_eq!(fault(RequestType::Delete, "w3b/p/t", &[]), "4.05");
        assert_eq!(fault(post, ".well-known/core", &[]), "4.05");
        assert_eq!(fault(get, "w3b/message/1", &[]), "4.00");
        assert_eq!(fault(post, "w3b/p/t", &[(15, b"x")]), "4.00");
        assert_eq!(fault(post, "", &[(11, b"\xff")]), "4.00");
    }

    #[test]
    fn options_are_judged_as_the_standard_says() {
        let post = |options: &[(u16, &[u8])]| fault(RequestType::Post, "w3b/p/t", options);
        assert_eq!(post(&[(9, b"")]), "option 9", "OSCORE is not spoken");
        assert_eq!(post(&[(1, b"")]), "option 1");
        assert_eq!(post(&[(65_001, b"x")]), "option 65001");
        assert_eq!(post(&[(17, b"2"), (17, b"2")]), "option 17", "may not stand twice");
        assert_eq!(post(&[(27, b"1234")]), "option 27", "too long");
        assert_eq!(post(&[(35, b"coap://x")]), "5.05");
        assert_eq!(post(&[(17, &[41])]), "4.06");
        assert_eq!(post(&[(12, &[50])]), "4.15");
        assert_eq!(post(&[(27, &[7])]), "4.00", "a reserved size");
        assert!(
            post(&[(2, b"x"), (6, b""), (3, b"h"), (7, &[1]), (17, &[60]), (12, &[])]).starts_with("Event")
        );
        let all = read(&packet(
            RequestType::Post,
            "w3b/p/t",
            &[(12, &[]), (258, &[26]), (292, b"tag"), (60, &[9])],
        ));
        let all = all.unwrap();
        assert!(all.text && all.no_response == 26 && all.request_tag == b"tag" && all.size1 == Some(9));
    }
}
