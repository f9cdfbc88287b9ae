//! Compresses answers for clients that ask for it.

use std::io::Write as _;

use axum::body::{Body, Bytes};
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    HeaderMap, HeaderValue, VARY,
};
use axum::response::Response;
use http_body_util::BodyExt as _;

use crate::coding::Coding;

/// Smaller answers fit into a packet or two anyway.
const LEAST_BYTES: u64 = 1024;
/// Larger ones would take long on a thread that others wait for.
const MOST_BYTES: u64 = 4 * 1024 * 1024;

/// Compresses `response` if the request's headers ask for it, if that is of use, and if its length is known: streams
/// stay as they are.
pub(crate) async fn compress(asked: Option<Coding>, response: Response) -> Response {
    let size = hyper::body::Body::size_hint(response.body()).exact();
    if !size.is_some_and(|s| (LEAST_BYTES..=MOST_BYTES).contains(&s)) || !worth(response.headers()) {
        return response;
    }
    let (mut head, body) = response.into_parts();
    head.headers.append(VARY, HeaderValue::from_static("accept-encoding"));
    let Some(coding) = asked else { return Response::from_parts(head, body) };
    let Ok(whole) = body.collect().await else { return Response::from_parts(head, Body::empty()) };
    let whole = whole.to_bytes();
    let Some(packed) = pack(coding, &whole).filter(|p| p.len() < whole.len()) else {
        return Response::from_parts(head, Body::from(whole));
    };
    let name = match coding {
        Coding::Gzip => "gzip",
        Coding::Zstd => "zstd",
    };
    head.headers.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
    head.headers.remove(CONTENT_LENGTH);
    Response::from_parts(head, Body::from(packed))
}

fn pack(coding: Coding, bytes: &Bytes) -> Option<Vec<u8>> {
    match coding {
        Coding::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).ok()?;
            encoder.finish().ok()
        }
        Coding::Zstd => zstd::bulk::compress(bytes, 1).ok(),
    }
}

fn worth(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok()).unwrap_or_default();
    let media_type = text(CONTENT_TYPE);
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    let texty = essence.starts_with("text/")
        || essence.ends_with("json")
        || ["application/javascript", "image/svg+xml"].contains(&essence);
    // A strong ETag names exact bytes.
    let fixed = [CONTENT_ENCODING, CONTENT_RANGE, ETAG].iter().any(|h| headers.contains_key(h));
    texty && !fixed && !text(CACHE_CONTROL).contains("no-transform")
}

/// The coding that a client prefers (RFC 9110 §12.5.3); at equal weight zstd.
pub(crate) fn asked(headers: &HeaderMap) -> Option<Coding> {
    let mut all: Option<f32> = None;
    let (mut gzip, mut zstd, mut plain) = (None, None, None);
    let lines = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|v| v.to_str().ok());
    for item in lines.flat_map(|l| l.split(',')) {
        let mut parts = item.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let weight = parts.find_map(|p| p.strip_prefix("q=").or_else(|| p.strip_prefix("Q=")));
        let weight = weight.map_or(1.0, |w| w.parse().unwrap_or(0.0));
        match &*name {
            "gzip" | "x-gzip" => gzip = Some(weight),
            "zstd" => zstd = Some(weight),
            "identity" => plain = Some(weight),
            "*" => all = Some(weight),
            _ => {}
        }
    }
    let weigh = |named: Option<f32>| named.or(all).unwrap_or(0.0);
    let (gzip, zstd) = (weigh(gzip), weigh(zstd));
    let best = if zstd >= gzip { (Coding::Zstd, zstd) } else { (Coding::Gzip, gzip) };
    (best.1 > 0.0 && best.1 >= plain.unwrap_or(0.0)).then_some(best.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preferred_coding_is_taken() {
        for (header, wanted) in [
            ("gzip", Some(Coding::Gzip)),
            ("gzip, deflate, br, zstd", Some(Coding::Zstd)),
            ("GZIP;q=0.8, zstd;q=0.5", Some(Coding::Gzip)),
            ("*", Some(Coding::Zstd)),
            ("*, zstd;q=0", Some(Coding::Gzip)),
            ("identity, gzip;q=0.5", None),
            ("gzip;q=0", None),
            ("gzip;q=x", None),
            ("br", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(header));
            assert_eq!(asked(&headers), wanted, "{header}");
        }
        assert_eq!(asked(&HeaderMap::new()), None);
    }
}
