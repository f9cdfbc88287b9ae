//! The host functions as the module imports them. All of the SDK's unsafe code is here and in `bump.rs`.
#![allow(unsafe_code, reason = "host functions take addresses in this module's memory")]

use alloc::string::ToString;
use alloc::vec::Vec;
use core::panic::PanicInfo;
use core::ptr;

use crate::log::{self, Level};

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn ws_log(level: i32, line: *const u8, size: usize) -> i32;
    fn ws_get_data(rid: i32, out: *mut *mut u8, out_size: *mut usize) -> i32;
    fn ws_set_data(rid: i32, data: *const u8, size: usize) -> i32;
    fn ws_get_mqtt_msg(
        rid: i32,
        topic: *mut *mut u8,
        topic_size: *mut usize,
        payload: *mut *mut u8,
        payload_size: *mut usize,
    ) -> i32;
    fn ws_api_call(json: *const u8, size: usize, out: *mut *mut u8, out_size: *mut usize) -> i32;
    fn ws_send_event(name: *const u8, name_size: usize, payload: *const u8, payload_size: usize) -> i32;
    fn ws_send_answer(answer: *const u8, size: usize) -> i32;
    fn ws_get_event_type(rid: i32, out: *mut *mut u8, out_size: *mut usize) -> i32;
    fn ws_get_db(key: *const u8, key_size: usize, out: *mut *mut u8, out_size: *mut usize) -> i32;
    fn ws_set_db(key: *const u8, key_size: usize, value: *const u8, value_size: usize) -> i32;
    fn ws_get_env(key: *const u8, key_size: usize, out: *mut *mut u8, out_size: *mut usize) -> i32;
    fn ws_get_context(rid: i32, item: i32, out: *mut *mut u8, out_size: *mut usize) -> i32;
    fn ws_settle(name: *const u8, name_size: usize, statement: *const u8, statement_size: usize) -> i32;
    fn ws_call_contract(
        chain: i32,
        json: *const u8,
        size: usize,
        out: *mut *mut u8,
        out_size: *mut usize,
    ) -> i32;
    fn ws_send_tx(chain: i32, json: *const u8, size: usize, out: *mut *mut u8, out_size: *mut usize) -> i32;
    fn ws_send_tx_with_operator(
        chain: i32,
        json: *const u8,
        size: usize,
        out: *mut *mut u8,
        out_size: *mut usize,
    ) -> i32;
    fn ws_set_sql_db(json: *const u8, size: usize) -> i32;
    fn ws_get_sql_db(json: *const u8, size: usize, out: *mut *mut u8, out_size: *mut usize) -> i32;
    fn ws_send_mqtt_msg(topic: *const u8, topic_size: usize, payload: *const u8, payload_size: usize) -> i32;
}

#[link(wasm_import_module = "stat")]
unsafe extern "C" {
    fn ws_submit_metrics(object: *const u8, size: usize) -> i32;
}

/// Makes a call that answers with bytes. The host calls [`guest_alloc`], copies the bytes there, and stores
/// address and length into the two places that it was given.
fn answer(call: impl FnOnce(*mut *mut u8, *mut usize) -> i32) -> Result<Vec<u8>, i32> {
    let mut address = ptr::null_mut();
    let mut size = 0;
    match call(&raw mut address, &raw mut size) {
        0 if size == 0 || address.is_null() => Ok(Vec::new()),
        // SAFETY: `guest_alloc` made these bytes as a Vec of this capacity and gave them away; the host has
        // filled all of them.
        0 => Ok(unsafe { Vec::from_raw_parts(address, size, size) }),
        code => Err(code),
    }
}

pub(crate) fn log(level: i32, line: &[u8]) {
    // SAFETY: the host reads `line.len()` bytes and keeps no address.
    unsafe { ws_log(level, line.as_ptr(), line.len()) };
}

pub(crate) fn get_data(rid: i32) -> Result<Vec<u8>, i32> {
    // SAFETY: both places are valid for a write during the call.
    answer(|out, size| unsafe { ws_get_data(rid, out, size) })
}

pub(crate) fn get_event_type(rid: i32) -> Result<Vec<u8>, i32> {
    // SAFETY: as in `get_data`.
    answer(|out, size| unsafe { ws_get_event_type(rid, out, size) })
}

pub(crate) fn get_db(key: &[u8]) -> Result<Vec<u8>, i32> {
    // SAFETY: as in `get_data`; the key is only read.
    answer(|out, size| unsafe { ws_get_db(key.as_ptr(), key.len(), out, size) })
}

pub(crate) fn set_db(key: &[u8], value: &[u8]) -> i32 {
    // SAFETY: both are only read.
    unsafe { ws_set_db(key.as_ptr(), key.len(), value.as_ptr(), value.len()) }
}

pub(crate) fn get_env(key: &[u8]) -> Result<Vec<u8>, i32> {
    // SAFETY: as in `get_data`; the key is only read.
    answer(|out, size| unsafe { ws_get_env(key.as_ptr(), key.len(), out, size) })
}

pub(crate) fn send_mqtt(topic: &[u8], payload: &[u8]) -> i32 {
    // SAFETY: both are only read.
    unsafe { ws_send_mqtt_msg(topic.as_ptr(), topic.len(), payload.as_ptr(), payload.len()) }
}

pub(crate) fn get_context(rid: i32, item: i32) -> Result<Vec<u8>, i32> {
    // SAFETY: as in `get_data`.
    answer(|out, size| unsafe { ws_get_context(rid, item, out, size) })
}

pub(crate) fn settle(name: &[u8], statement: &[u8]) -> i32 {
    // SAFETY: both are only read.
    unsafe { ws_settle(name.as_ptr(), name.len(), statement.as_ptr(), statement.len()) }
}

pub(crate) fn call_contract(chain: i32, json: &[u8]) -> Result<Vec<u8>, i32> {
    // SAFETY: as in `get_data`; the JSON is only read.
    answer(|out, size| unsafe { ws_call_contract(chain, json.as_ptr(), json.len(), out, size) })
}

pub(crate) fn send_tx(chain: i32, json: &[u8]) -> Result<Vec<u8>, i32> {
    // SAFETY: as in `call_contract`.
    answer(|out, size| unsafe { ws_send_tx(chain, json.as_ptr(), json.len(), out, size) })
}

pub(crate) fn send_tx_with_operator(chain: i32, json: &[u8]) -> Result<Vec<u8>, i32> {
    // SAFETY: as in `call_contract`.
    answer(|out, size| unsafe { ws_send_tx_with_operator(chain, json.as_ptr(), json.len(), out, size) })
}

pub(crate) fn set_sql_db(json: &[u8]) -> i32 {
    // SAFETY: the JSON is only read.
    unsafe { ws_set_sql_db(json.as_ptr(), json.len()) }
}

pub(crate) fn get_sql_db(json: &[u8]) -> Result<Vec<u8>, i32> {
    // SAFETY: as in `get_data`; the JSON is only read.
    answer(|out, size| unsafe { ws_get_sql_db(json.as_ptr(), json.len(), out, size) })
}

pub(crate) fn set_data(rid: i32, data: &[u8]) -> i32 {
    // SAFETY: the bytes are only read.
    unsafe { ws_set_data(rid, data.as_ptr(), data.len()) }
}

pub(crate) fn get_mqtt(rid: i32) -> Result<(Vec<u8>, Vec<u8>), i32> {
    let mut topic = Ok(Vec::new());
    let payload = answer(|out, size| {
        let mut code = 0;
        // SAFETY: as in `get_data`, for two answers of one call.
        topic = answer(|topic, topic_size| {
            code = unsafe { ws_get_mqtt_msg(rid, topic, topic_size, out, size) };
            code
        });
        code
    })?;
    Ok((topic?, payload))
}

pub(crate) fn api_call(json: &[u8]) -> Result<Vec<u8>, i32> {
    // SAFETY: as in `get_data`; the JSON is only read.
    answer(|out, size| unsafe { ws_api_call(json.as_ptr(), json.len(), out, size) })
}

pub(crate) fn send_event(name: &[u8], payload: &[u8]) -> i32 {
    // SAFETY: both are only read.
    unsafe { ws_send_event(name.as_ptr(), name.len(), payload.as_ptr(), payload.len()) }
}

pub(crate) fn send_answer(bytes: &[u8]) -> i32 {
    // SAFETY: the bytes are only read.
    unsafe { ws_send_answer(bytes.as_ptr(), bytes.len()) }
}

pub(crate) fn submit_metrics(object: &[u8]) -> i32 {
    // SAFETY: the object is only read.
    unsafe { ws_submit_metrics(object.as_ptr(), object.len()) }
}

/// What the module exports as `alloc`: the address of `size` bytes that the host may fill, or 0.
#[must_use]
pub fn guest_alloc(size: i32) -> i32 {
    let Ok(size) = usize::try_from(size) else { return 0 };
    let mut bytes = Vec::<u8>::new();
    if bytes.try_reserve_exact(size).is_err() {
        return 0;
    }
    // Given away here, taken back in `answer`.
    core::mem::ManuallyDrop::new(bytes).as_mut_ptr() as i32
}

/// Logs a panic and traps, which makes the host drop all that the call wrote.
pub fn panicked(info: &PanicInfo<'_>) -> ! {
    log::write(Level::Error, &info.to_string());
    core::arch::wasm32::unreachable()
}
