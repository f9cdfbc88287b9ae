#![no_main]

libfuzzer_sys::fuzz_target!(init: w3bstream_fuzzing::keep_panics(), |bytes: &[u8]| {
    w3bstream_fuzzing::fuzz("worker_frame", bytes);
});
