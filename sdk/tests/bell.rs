
/// Sends a message on as an event, and answers; of an event it keeps how many led to it. scripts/test-kits puts it behind an applet.
#[handler]
pub fn bell(event: Event) -> Result<&'static str, Error> {
    let depth = event.source().depth()?;
    if depth > 0 {
        kv::set_i64("depth", depth.cast_signed())?;
        return Ok("kept");
    }
    w3bstream_sdk::events::send("bell", event.data())?;
    Ok("sent")
}
