//! Contracts of a chain: read them, and send them transactions. The manifest's `[[chains]]` says which chains.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::{Error, host};

/// What a contract returns to a call that changes nothing. Every node gets the same answer: the one that the block has.
///
/// `to` is the contract's address as `0x…`, `data` the ABI-encoded call.
///
/// # Errors
/// [`Error::HOST`] if the manifest does not let this chain be read, `to` is no address, the call reverts, or the chain did
/// not answer in time.
pub fn call(chain: u32, to: &str, data: &[u8]) -> Result<Vec<u8>, Error> {
    let json = request(to, None, data, None);
    host::call_contract(chain.cast_signed(), json.as_bytes())
        .map_err(|code| Error::host("ws_call_contract", code))
}

/// Asks for a transaction from the project's own account, once the block is attested. `value` is in wei.
///
/// Gives the request's id, `0x` and 64 hex digits: by it the transaction is looked up, and the events of a trigger on
/// `sent` name it. The transaction's hash does not exist yet.
///
/// # Errors
/// [`Error::HOST`] if the manifest does not let be sent to this chain, or `to` is no address.
pub fn send(chain: u32, to: &str, value: u128, data: &[u8]) -> Result<String, Error> {
    let json = request(to, Some(value), data, None);
    let id = host::send_tx(chain.cast_signed(), json.as_bytes())
        .map_err(|code| Error::host("ws_send_tx", code))?;
    Ok(String::from_utf8_lossy(&id).into_owned())
}

/// As [`send`], from the account of one of the project's operators.
///
/// # Errors
/// As [`send`], and if `operator` is no name: `[a-z0-9-]{1,63}`.
pub fn send_as(operator: &str, chain: u32, to: &str, value: u128, data: &[u8]) -> Result<String, Error> {
    let json = request(to, Some(value), data, Some(operator));
    let id = host::send_tx_with_operator(chain.cast_signed(), json.as_bytes())
        .map_err(|code| Error::host("ws_send_tx_with_operator", code))?;
    Ok(String::from_utf8_lossy(&id).into_owned())
}

fn request(to: &str, value: Option<u128>, data: &[u8], operator: Option<&str>) -> String {
    // Quotes would end the text; no address and no name has any.
    let clean =
        |text: &str| text.chars().filter(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\\')).collect();
    let clean_to: String = clean(to);
    let mut json = format!("{{\"to\":\"{clean_to}\",\"data\":\"");
    for byte in data {
        json.push_str(&format!("{byte:02x}"));
    }
    json.push('"');
    if let Some(value) = value {
        json.push_str(",\"value\":\"");
        json.push_str(&value.to_string());
        json.push('"');
    }
    if let Some(operator) = operator {
        let operator: String = clean(operator);
        json.push_str(",\"operatorName\":\"");
        json.push_str(&operator);
        json.push('"');
    }
    json.push('}');
    json
}

#[cfg(test)]
mod tests {
    use super::request;

    #[test]
    fn requests_are_json_whatever_is_put_into_them() {
        assert_eq!(request("0xab", None, &[1, 255], None), r#"{"to":"0xab","data":"01ff"}"#);
        assert_eq!(
            request("0xab", Some(7), &[], Some("pay")),
            r#"{"to":"0xab","data":"","value":"7","operatorName":"pay"}"#
        );
        assert_eq!(request("\"},{\\", None, &[], None), r#"{"to":"},{","data":""}"#);
    }
}
