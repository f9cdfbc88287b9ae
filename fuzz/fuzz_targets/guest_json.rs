#![no_main]

libfuzzer_sys::fuzz_target!(init: w3bstream_fuzzing::quiet(), |bytes: &[u8]| {
    w3bstream_fuzzing::target("guest_json").check(bytes);
});
