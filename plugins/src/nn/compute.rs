//! Where a network computes, and in what: the parameters `device` and `dtype`.

use std::fmt;

use candle_core::Device;
use lmprobe_core::schemars::JsonSchema;
use lmprobe_core::serde::{Deserialize, Serialize};
use lmprobe_core::{Dtype, Error, Result};
use lmprobe_kernels::{Precision, simd};

/// What the linear layers of the blocks compute in, as a run file chooses it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "lmprobe_core::serde", rename_all = "lowercase")]
#[schemars(crate = "lmprobe_core::schemars")]
pub enum DtypeChoice {
    /// `f32`: for every number that is reported.
    #[default]
    F32,
    /// Inputs and weights are rounded to bfloat16, sums are `f32`.
    Bf16,
    /// `bf16` where the processor multiplies bfloat16 itself, which saves time; `f32` elsewhere.
    Auto,
}

/// A processor that networks run on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Processor {
    /// The processor of the machine, with the kernels.
    #[default]
    Cpu,
    /// The NVIDIA graphics card of this number.
    Cuda(usize),
    /// Apple's graphics processor.
    Metal,
}

/// Where a network computes, and in what: nothing is left to decide.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compute {
    /// What the linear layers of the blocks compute in.
    pub dtype: Dtype,
    /// Where.
    pub device: Processor,
}

impl Compute {
    /// What the parameters `dtype` and `device` come to on this machine, with the instruction set in force. The device is not looked for.
    ///
    /// # Errors
    /// If the device is unknown, this program was built without it, or it does not compute in the type.
    pub fn decide(dtype: DtypeChoice, device: &str) -> Result<Self> {
        Self::on(Processor::of(device)?, dtype)
    }

    fn on(device: Processor, dtype: DtypeChoice) -> Result<Self> {
        let dtype = match dtype {
            DtypeChoice::Bf16 if device != Processor::Cpu => {
                return Err(Error::Config(format!(
                    "`dtype: bf16` is implemented on the CPU only: take `dtype: f32` on `device: {device}`, or leave `device` out"
                )));
            }
            DtypeChoice::Bf16 => Dtype::Bf16,
            DtypeChoice::Auto if device == Processor::Cpu && simd().has_bf16() => Dtype::Bf16,
            DtypeChoice::F32 | DtypeChoice::Auto => Dtype::F32,
        };
        Ok(Self { dtype, device })
    }

    /// What the kernels call the type.
    pub fn precision(self) -> Precision {
        match self.dtype {
            Dtype::F32 => Precision::F32,
            Dtype::Bf16 => Precision::Bf16,
        }
    }
}

/// What a run file that says nothing asks for.
pub fn cpu() -> String {
    "cpu".to_owned()
}

impl Processor {
    /// Reads `cpu`, `cuda`, `cuda:N` or `metal`.
    fn of(text: &str) -> Result<Self> {
        let cuda = |number: &str| number.parse().ok().filter(|_| number.bytes().all(|byte| byte.is_ascii_digit())).map(Self::Cuda);
        let found = match text {
            "cpu" => Some(Self::Cpu),
            "cuda" => Some(Self::Cuda(0)),
            "metal" => Some(Self::Metal),
            _ => text.strip_prefix("cuda:").and_then(cuda),
        };
        let device = found.ok_or_else(|| Error::Config(format!("`device: {text}` is unknown; expected `cpu`, `cuda`, `cuda:N` or `metal`")))?;
        let (feature, built, needs) = match device {
            Self::Cpu => return Ok(device),
            Self::Cuda(_) => ("cuda", cfg!(feature = "cuda"), "NVIDIA's CUDA toolkit"),
            Self::Metal => ("metal", cfg!(feature = "metal"), "macOS"),
        };
        if built {
            return Ok(device);
        }
        Err(Error::Device(format!(
            "`device: {text}`: built without the feature `{feature}`; with {needs}, `cargo install --path . --features {feature}` adds it"
        )))
    }

    /// The device of the tensor library.
    ///
    /// # Errors
    /// If the machine does not have it.
    pub fn open(self) -> Result<Device> {
        let opened = match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(number) => Device::new_cuda(number),
            Self::Metal => Device::new_metal(0),
        };
        opened.map_err(|error| Error::Device(format!("`device: {self}` cannot be used: {error}; leave `device` out to compute on the CPU")))
    }
}

impl fmt::Display for Processor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => formatter.write_str("cpu"),
            Self::Cuda(number) => write!(formatter, "cuda:{number}"),
            Self::Metal => formatter.write_str("metal"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(dtype: DtypeChoice, device: &str) -> Error {
        Compute::decide(dtype, device).unwrap_err()
    }

    #[test]
    fn what_is_asked_for_is_decided() {
        let decided = |dtype| Compute::decide(dtype, "cpu").unwrap();
        assert_eq!(decided(DtypeChoice::F32), Compute::default());
        assert_eq!(decided(DtypeChoice::Bf16).precision(), Precision::Bf16);
        let native = if simd().has_bf16() { Dtype::Bf16 } else { Dtype::F32 };
        assert_eq!(decided(DtypeChoice::Auto).dtype, native);
    }

    #[test]
    fn a_device_nobody_knows_is_a_mistake() {
        for device in ["", "gpu", "cuda:", "cuda:x", "cuda:+1", "cuda:-1", "CPU", "metal:0"] {
            let error = refusal(DtypeChoice::F32, device);
            assert_eq!(error.to_string(), format!("`device: {device}` is unknown; expected `cpu`, `cuda`, `cuda:N` or `metal`"));
            assert!(matches!(error, Error::Config(_)));
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_device_that_was_not_built_in_says_how_to_build_it() {
        let error = refusal(DtypeChoice::F32, "cuda:1");
        assert!(matches!(error, Error::Device(_)));
        let message = error.to_string();
        assert!(message.starts_with("`device: cuda:1`: built without the feature `cuda`; with NVIDIA's CUDA toolkit, "), "{message}");
        assert!(message.contains("cargo install --path . --features cuda"), "{message}");
    }

    #[test]
    fn other_devices_compute_in_f32() {
        let error = Compute::on(Processor::Cuda(0), DtypeChoice::Bf16).unwrap_err().to_string();
        assert_eq!(error, "`dtype: bf16` is implemented on the CPU only: take `dtype: f32` on `device: cuda:0`, or leave `device` out");
        for dtype in [DtypeChoice::Auto, DtypeChoice::F32] {
            assert_eq!(Compute::on(Processor::Metal, dtype).unwrap(), Compute { dtype: Dtype::F32, device: Processor::Metal });
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_device_that_cannot_be_opened_is_named() {
        let error = Processor::Cuda(3).open().unwrap_err();
        assert!(matches!(error, Error::Device(_)));
        assert!(error.to_string().starts_with("`device: cuda:3` cannot be used: "), "{error}");
    }

    #[test]
    fn the_cpu_is_always_there() {
        assert!(Processor::Cpu.open().unwrap().is_cpu());
    }
}
