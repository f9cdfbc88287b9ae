//! A small reader and writer for JSON objects, without floating point.
//!
//! Payloads of devices are mostly one flat object. The reader checks the whole text, refuses a name that
//! stands twice (readers differ on which one counts), and gives numbers with a fraction or an exponent as
//! text, because whole units (milli-degrees, cents) give the same result everywhere.
//!
//! ```
//! use w3bstream_sdk::json::{Object, Writer};
//!
//! let object = Object::parse(br#"{"device":"truck-7","c":-1250}"#).unwrap();
//! assert_eq!(object.str("device"), Ok("truck-7"));
//! assert_eq!(object.i64("c"), Ok(-1250));
//! assert_eq!(Writer::new().str("device", "truck-7").i64("c", -1250).finish(), r#"{"device":"truck-7","c":-1250}"#);
//! ```

mod reader;
mod writer;

pub use reader::{Object, Value};
pub use writer::Writer;
pub(crate) use writer::{push_i64, push_text};
