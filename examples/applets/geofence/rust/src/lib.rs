//! Says when a device enters or leaves an area.
//!
//! A position is `{"device":"cat","lat":47376887,"lon":8541694}`, in millionths of a degree. The setting `fence` of the manifest is
//! the area: its corners as `lat,lon`, separated by `;`. Whole numbers decide the same on every machine. The area must not
//! reach over the 180th meridian.
//!
//! The key `in/<device>` is 1 or 0. When it changes, or is 1 at first, `fence/<device>` gets
//! `{"device":…,"event":"entered" or "left","lat":…,"lon":…}`.
#![cfg_attr(target_arch = "wasm32", no_std)]

extern crate alloc;

use alloc::format;
use alloc::vec::Vec;

use w3bstream_sdk::json::{Object, Writer};
use w3bstream_sdk::{Error, Event, env, handler, kv, mqtt};

w3bstream_sdk::runtime!();

/// Code of a position that is nowhere on earth.
pub const NOWHERE: i32 = 3;

#[derive(Clone, Copy)]
struct Point {
    lat: i64,
    lon: i64,
}

impl Point {
    fn new(lat: i64, lon: i64) -> Option<Self> {
        (lat.abs() <= 90_000_000 && lon.abs() <= 180_000_000).then_some(Self { lat, lon })
    }

    fn parse(text: &str) -> Option<Self> {
        let (lat, lon) = text.split_once(',')?;
        Self::new(lat.parse().ok()?, lon.parse().ok()?)
    }
}

/// Whether a ray from the point towards the east crosses the border an odd number of times.
fn inside(corners: &[Point], p: Point) -> bool {
    let behind = corners.iter().cycle().skip(1);
    let crossings = corners.iter().zip(behind).filter(|(a, b)| {
        // At most 3.6e8 * 1.8e8 * 2: far from the end of 64 bits.
        let side = (b.lon - a.lon) * (p.lat - a.lat) - (p.lon - a.lon) * (b.lat - a.lat);
        (a.lat > p.lat) != (b.lat > p.lat) && (side > 0) == (b.lat > a.lat) && side != 0
    });
    crossings.count() % 2 == 1
}

/// Handles one position.
///
/// # Errors
/// [`Error::JSON`] or [`NOWHERE`] for a payload that is no position; [`Error::GENERAL`] for a setting that is no area.
#[handler]
pub fn position(event: Event) -> Result<(), Error> {
    let object = Object::parse(event.data())?;
    let device = object.str("device")?;
    let here = Point::new(object.i64("lat")?, object.i64("lon")?)
        .ok_or(Error::new(NOWHERE, "lat must be at most 90000000, lon at most 180000000"))?;
    let fence = env::get("fence")?.unwrap_or_default();
    let corners: Option<Vec<Point>> = fence.split(';').map(Point::parse).collect();
    let corners =
        corners.filter(|c| c.len() > 2).ok_or("the setting fence must be lat,lon;lat,lon;lat,lon")?;
    let now = inside(&corners, here);
    let key = format!("in/{device}");
    let before = kv::get(&key)?.is_some_and(|value| value == b"1");
    if now != before {
        let change = Writer::new()
            .str("device", device)
            .str("event", if now { "entered" } else { "left" })
            .i64("lat", here.lat)
            .i64("lon", here.lon);
        mqtt::publish(&format!("fence/{device}"), change.finish())?;
    }
    kv::set(&key, if now { "1" } else { "0" })
}

#[cfg(test)]
mod tests {
    use w3bstream_sdk::Error;
    use w3bstream_sdk::mock::Host;

    /// A square of a degree with a bay that reaches into it from the east.
    const FENCE: &str = "0,0;0,1000000;400000,1000000;500000,500000;600000,1000000;1000000,1000000;1000000,0";

    #[test]
    fn what_is_in_the_bay_is_outside() {
        let mut host = Host::new().env("fence", FENCE);
        for (lat, lon, said) in [
            (500_000, 900_000, None),
            (500_000, 400_000, Some("entered")),
            (300_000, 900_000, None),
            (500_000, 600_000, Some("left")),
            (700_000, 900_000, Some("entered")),
            (1_500_000, 400_000, Some("left")),
            (500_000, -400_000, None),
        ] {
            let position = format!(r#"{{"device":"cat","lat":{lat},"lon":{lon}}}"#);
            let outcome = host.deliver(super::position, "position", position.as_bytes());
            let found = outcome.published.first().map(event_of);
            assert_eq!((outcome.code, found.as_deref()), (0, said), "{position}");
        }
    }

    fn event_of(message: &w3bstream_sdk::mock::Published) -> String {
        let text = message.text();
        let object = w3bstream_sdk::json::Object::parse(text.as_bytes()).unwrap();
        object.str("event").unwrap().to_owned()
    }

    #[test]
    fn bad_positions_and_areas_are_refused() {
        let deliver = |fence: &str, payload: &[u8]| {
            Host::new().env("fence", fence).deliver(super::position, "position", payload).code
        };
        let good = br#"{"device":"cat","lat":1,"lon":1}"#;
        assert_eq!(deliver(FENCE, good), 0);
        assert_eq!(deliver(FENCE, br#"{"device":"cat","lat":90000001,"lon":1}"#), super::NOWHERE);
        assert_eq!(deliver(FENCE, br#"{"lat":1,"lon":1}"#), Error::JSON);
        for fence in ["", "0,0;1,1", "0,0;1,1;2", "0,0;1,1;x,2"] {
            assert_eq!(deliver(fence, good), Error::GENERAL, "{fence}");
        }
    }
}
