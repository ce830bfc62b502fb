//! Instruction sets: which this processor has, and how a numeric body is instantiated for one of them.
//!
//! The portable body is the specification. A [`Body`] is compiled once per instruction set from the same source, and
//! LLVM vectorises it; the operations, and so the bits, are the same everywhere. An instruction set is a matter of
//! speed: it must never be visible in a result, and nothing here may hold arithmetic of its own.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use std::fmt;
use std::str::FromStr;

/// An instruction set that bodies are compiled for, from the plainest to the widest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// What the target guarantees: SSE2 on x86-64, NEON with fused multiply-add on aarch64.
    Portable,
    /// AVX2, FMA, BMI1, BMI2, LZCNT, POPCNT (Haswell, Zen, and later).
    Avx2,
    /// All of `Avx2`, and AVX-512 F, CD, BW, DQ, VL (Skylake-X, Zen 4, and later).
    Avx512,
}

/// Why a request for an instruction set could not be met.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IsaError {
    /// Not the name of an instruction set.
    #[error("unknown instruction set {name:?}; use one of portable, avx2, avx512, or leave it unset")]
    Unknown {
        /// What was given.
        name: String,
    },
    /// A known instruction set that this processor lacks.
    #[error("this processor has no {asked}; it has: {has}. Use one of those, or leave it unset")]
    Unavailable {
        /// What was asked for.
        asked: Isa,
        /// The names of those it has, separated by commas.
        has: String,
    },
}

impl Isa {
    const ALL: [Isa; 3] = [Isa::Portable, Isa::Avx2, Isa::Avx512];

    /// The instruction sets of this processor, plainest first; `Portable` is always among them.
    pub fn available() -> Vec<Isa> {
        Isa::ALL.into_iter().filter(|isa| isa.is_available()).collect()
    }

    /// The widest instruction set of this processor.
    pub fn best() -> Isa {
        Isa::ALL.into_iter().rev().find(|isa| isa.is_available()).unwrap_or(Isa::Portable)
    }

    /// The instruction set that a person asked for by name, or the best one when `name` is absent or empty.
    ///
    /// # Errors
    /// [`IsaError`] when the name is unknown or this processor lacks it.
    pub fn from_request(name: Option<&str>) -> Result<Isa, IsaError> {
        let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(Isa::best()) };
        let asked: Isa = name.parse()?;
        if asked.is_available() {
            return Ok(asked);
        }
        let names: Vec<String> = Isa::available().iter().map(Isa::to_string).collect();
        Err(IsaError::Unavailable { asked, has: names.join(", ") })
    }

    /// Whether this processor has it.
    pub fn is_available(self) -> bool {
        match self {
            Isa::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2::is_available(),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512::is_available(),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 => false,
        }
    }

    /// Whether bodies compiled for it fuse multiply and add in hardware.
    ///
    /// Where not, fma is a function call: the bits are the same, the speed some thirty times lower.
    pub fn has_hardware_fma(self) -> bool {
        match self {
            Isa::Portable => cfg!(any(target_arch = "aarch64", target_feature = "fma")),
            Isa::Avx2 | Isa::Avx512 => true,
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        })
    }
}

impl FromStr for Isa {
    type Err = IsaError;

    fn from_str(name: &str) -> Result<Isa, IsaError> {
        match name {
            "portable" => Ok(Isa::Portable),
            "avx2" => Ok(Isa::Avx2),
            "avx512" => Ok(Isa::Avx512),
            _ => Err(IsaError::Unknown { name: name.to_owned() }),
        }
    }
}

/// A piece of numeric work that is compiled once per instruction set.
///
/// Mark `run`, and what it calls in its inner loops, `#[inline(always)]`: what is not inlined is compiled for the
/// target's baseline, where it is correct but slow.
pub trait Body {
    /// What the work returns.
    type Out;

    /// Does the work.
    fn run(self) -> Self::Out;
}

/// Runs the instantiation of `body` for `isa`.
///
/// On a processor without `isa` the portable instantiation runs: the bits are the same.
pub fn dispatch<B: Body>(isa: Isa, body: B) -> B::Out {
    match isa {
        Isa::Portable => portable::run(body),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => avx2::run(body),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => avx512::run(body),
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Avx2 | Isa::Avx512 => portable::run(body),
    }
}
