//! Resources of a call: bytes under a number, until the call ends. The event is the first of them.

use alloc::vec::Vec;

use crate::{Error, host};

/// The bytes of a resource.
///
/// # Errors
/// [`Error::HOST`] if there is none of this number.
pub fn get(rid: i32) -> Result<Vec<u8>, Error> {
    host::get_data(rid).map_err(|code| Error::host("ws_get_data", code))
}

/// Sets a resource for this call; also the event's own payload, as a later [`get`] gives it.
///
/// # Errors
/// [`Error::HOST`] if the host refuses.
pub fn set(rid: i32, data: impl AsRef<[u8]>) -> Result<(), Error> {
    match host::set_data(rid, data.as_ref()) {
        0 => Ok(()),
        code => Err(Error::host("ws_set_data", code)),
    }
}

#[cfg(test)]
mod tests {
    use crate::mock::Host;

    #[test]
    fn a_resource_lasts_as_long_as_its_call() {
        let mut host = Host::new();
        let outcome = host.deliver(
            |event| {
                super::set(99, "mine")?;
                assert_eq!(super::get(99)?, b"mine");
                assert_eq!(super::get(event.rid())?, b"sent");
                assert_eq!(event.message()?, ("door".into(), b"sent".to_vec()));
                Ok(())
            },
            "door",
            b"sent",
        );
        assert_eq!(outcome.code, 0, "{outcome:?}");
        assert_ne!(host.deliver(|_| super::get(99).map(drop), "door", b"").code, 0);
    }
}
