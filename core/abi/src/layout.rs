//! The layout of 1.0, frozen: sizes and offsets in bytes on 64-bit systems.
//!
//! A line here never changes. What a later minor adds stands behind the last field of 1.0 and gets lines of its own; the sizes here stay the
//! smallest that a reader accepts.

use core::mem::{offset_of, size_of};

/// Declares sizes and offsets that the compiler holds us to, and lists them for the golden file and the header.
macro_rules! frozen {
    ($($name:ident $size:literal { $($field:ident $offset:literal),* })*) => {
        $(
            const _: () = assert!(size_of::<crate::$name>() == $size);
            $(const _: () = assert!(offset_of!(crate::$name, $field) == $offset);)*
        )*
        /// Every struct with its size, and its fields with their offsets.
        #[doc(hidden)]
        pub const LAYOUT: &[(&str, usize, &[(&str, usize)])] = &[$((stringify!($name), $size, &[$((stringify!($field), $offset)),*])),*];
    };
}

#[cfg(not(target_pointer_width = "64"))]
compile_error!("the plugin interface is defined for 64-bit systems");

frozen! {
    lmprobe_stamp 16 { magic 0, struct_size 8, abi_major 12, abi_minor 14 }
    lmprobe_str 16 { ptr 0, len 8 }
    lmprobe_buf 32 { ptr 0, len 8, ctx 16, release 24 }
    lmprobe_error 72 { struct_size 0, code 4, message 8, path 40 }
    ArrowSchema 72 { format 0, name 8, metadata 16, flags 24, n_children 32, children 40, dictionary 48, release 56, private_data 64 }
    ArrowArray 80 { length 0, null_count 8, offset 16, n_buffers 24, n_children 32, buffers 40, children 48, dictionary 56, release 64, private_data 72 }
    lmprobe_table 152 { schema 0, array 72 }
    DLTensor 48 { data 0, device 8, ndim 16, dtype 20, shape 24, strides 32, byte_offset 40 }
    DLManagedTensorVersioned 80 { version 0, manager_ctx 8, deleter 16, flags 24, dl_tensor 32 }
    lmprobe_named_tensor 24 { name 0, tensor 16 }
    lmprobe_tensors 32 { items 0, len 8, ctx 16, release 24 }
    lmprobe_encode_req 112 { struct_size 0, reserved 4, want 8, n_texts 16, texts 24, pairs 32, max_len 40, n_layers 44, layers 48, n_sequences 56, offsets 64, ids 72, type_ids 80, n_rows 88, rows 96, flags 104, reserved2 108 }
    lmprobe_host 104 { struct_size 0, abi_major 4, abi_minor 6, host_version 8, log 24, progress 32, cancelled 40, seed 48, threads 56, record_input 64, encoder_describe 72, encoder_tokenize 80, encoder_encode 88, encoder_token 96 }
    lmprobe_component 144 { struct_size 0, kind 4, id 8, version 24, summary 40, params_schema 56, caps 72, create 80, destroy 88, describe 96, vtable 104, manual 112, facts 128 }
    lmprobe_plugin 96 { struct_size 0, abi_major 4, abi_minor 6, name 8, version 24, license 40, build_info 56, n_components 72, components 80, shutdown 88 }
    lmprobe_encoder_vt 40 { struct_size 0, reserved 4, tokenize 8, encode 16, load 24, token 32 }
    lmprobe_prober_vt 16 { struct_size 0, reserved 4, run 8 }
    lmprobe_objective_vt 40 { struct_size 0, reserved 4, prepare 8, batch 16, destroy_examples 24, value_and_grad 32 }
    lmprobe_task_vt 16 { struct_size 0, reserved 4, examples 8 }
    lmprobe_metric_vt 16 { struct_size 0, reserved 4, compute 8 }
}
