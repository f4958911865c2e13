//! An example plugin of lmprobe: one component of each kind, one file a component.
//!
//! Build it with `cargo build --release`; the plugin is `target/release/liblmprobe_example_plugin.so` (`.dylib` on macOS).
#![deny(unsafe_code)]

mod facts;
mod frequency_prior;
mod hashed;
mod hashed_model;
mod info_nce;
mod misbehave;
mod nearest;
mod objective;
mod pools;
mod share_right;

lmprobe_sdk::export_plugin! {
    name: "example",
    components: [
        metric "example/share-right" => share_right::ShareRight;
        prober "example/frequency-prior" => frequency_prior::FrequencyPrior;
        prober "example/nearest" => nearest::Nearest;
        objective "example/info-nce" => objective::InfoNce;
        task "example/facts" => facts::Facts;
        encoder "example/hashed" => hashed::Hashed;
        metric "example/misbehave" => misbehave::Misbehave;
    ]
}
