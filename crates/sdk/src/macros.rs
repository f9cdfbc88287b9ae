//! The macros that make a crate a module.

/// Exports a handler: `handler!(reading)` exports the function `reading` under its own name,
/// `handler!("reading" => on_reading)` the function `on_reading` under another.
///
/// The function must be `fn(Event) -> Result<(), Error>`. Natively this only checks its type.
#[macro_export]
macro_rules! handler {
    ($name:ident) => {
        $crate::handler!(::core::stringify!($name) => $name);
    };
    ($export:expr => $function:path) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            #[allow(unsafe_code, reason = "an export is named by the handler, and names in a module are checked by the host")]
            #[unsafe(export_name = $export)]
            extern "C" fn __ws_handler(rid: i32) -> i32 {
                $crate::rt::run(rid, $function)
            }
        };
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn($crate::Event) -> ::core::result::Result<(), $crate::Error> = $function;
    };
}

/// Makes the crate a module that runs without a standard library: exports `alloc`, and supplies the
/// allocator and a panic handler that logs the panic and traps. Call it once. Natively it does nothing.
///
/// A crate that uses the standard library says `runtime!(std)`: only `alloc` is then exported.
#[macro_export]
macro_rules! runtime {
    () => {
        #[cfg(target_arch = "wasm32")]
        #[global_allocator]
        static __WS_ALLOCATOR: $crate::rt::Bump = $crate::rt::Bump::new();

        #[cfg(target_arch = "wasm32")]
        #[panic_handler]
        fn __ws_panic(info: &::core::panic::PanicInfo<'_>) -> ! {
            $crate::rt::panicked(info)
        }

        $crate::runtime!(std);
    };
    (std) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, reason = "the host looks for an export of this name")]
        #[unsafe(export_name = "alloc")]
        extern "C" fn __ws_alloc(size: i32) -> i32 {
            $crate::rt::guest_alloc(size)
        }
    };
}
