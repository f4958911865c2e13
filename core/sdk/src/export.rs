//! The macro that makes a crate a plugin.

/// Exports the components of a plugin: write it once, in `lib.rs` of a crate with `crate-type = ["cdylib"]`.
///
/// The kinds are `metric`, `prober`, `task`, `objective` and `encoder`. Every id is the name of the plugin, a slash, and a name in lower-case letters,
/// digits and hyphens. Version and licence are those of the crate.
///
/// ```ignore
/// lmprobe_sdk::export_plugin! {
///     name: "acme",
///     components: [
///         metric "acme/accuracy" => Accuracy;
///         prober "acme/nearest" => Nearest
///     ]
/// }
/// ```
#[macro_export]
macro_rules! export_plugin {
    (name: $name:literal, components: [$($kind:ident $id:literal => $component:ty);+ $(;)?] $(,)?) => {
        #[cfg(not(panic = "unwind"))]
        ::std::compile_error!("a plugin must be built with `panic = \"unwind\"`: a panic that aborts takes the host with it");

        /// Which version of the interface the plugin was built against; read from the file before anything of it runs.
        #[used]
        #[unsafe(no_mangle)]
        #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__lmprobe_abi"))]
        #[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".lmprobe_abi"))]
        pub static LMPROBE_STAMP: $crate::__private::Stamp = $crate::__private::Stamp::CURRENT;

        /// The one function of the plugin; the host calls it once.
        ///
        /// # Safety
        /// The arguments are what the plugin interface says.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn lmprobe_plugin_entry_v1(
            __lmprobe_host: *const $crate::__private::Host,
            __lmprobe_plugin: *mut *const $crate::__private::Plugin,
            __lmprobe_error: *mut $crate::__private::HostError,
        ) -> i32 {
            $(const _: () = ::std::assert!(
                $crate::__private::in_namespace($id, $name),
                "the id of a component is the name of the plugin, a slash, and a name in lower-case letters, digits and hyphens"
            );)+
            static __LMPROBE_CELL: $crate::__private::PluginCell = $crate::__private::PluginCell::new();
            fn __lmprobe_declare() -> $crate::__private::Declaration {
                $crate::__private::Declaration {
                    name: $name,
                    version: ::std::env!("CARGO_PKG_VERSION"),
                    license: ::std::env!("CARGO_PKG_LICENSE"),
                    components: ::std::vec![$($crate::__private::$kind::<$component>($id)),+],
                }
            }
            // SAFETY: the caller holds what is asked for.
            unsafe { $crate::__private::enter(&__LMPROBE_CELL, __lmprobe_declare, __lmprobe_host, __lmprobe_plugin, __lmprobe_error) }
        }
    };
}
