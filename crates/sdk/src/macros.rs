//! The macros that make a crate a module.

/// What `#[handler]` writes behind its function.
#[doc(hidden)]
#[macro_export]
macro_rules! __handler {
    ($export:expr => $function:path) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            #[allow(
                unsafe_code,
                reason = "an export is named by the handler, and names in a module are checked by the host"
            )]
            #[unsafe(export_name = $export)]
            extern "C" fn __ws_handler(rid: i32) -> i32 {
                $crate::rt::run(rid, $function)
            }
        };
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            #[allow(dead_code, reason = "it is there to be compiled")]
            fn __ws_handler(rid: i32) -> i32 {
                $crate::rt::run(rid, $function)
            }
        };
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
