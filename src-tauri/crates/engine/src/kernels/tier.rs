//! Which instructions a kernel may use, decided at run time.

/// An instruction-set tier. Every tier computes the same functions; the higher ones are faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CpuTier {
    /// Plain Rust, any CPU.
    Portable,
    /// NEON: every 64-bit Arm CPU.
    Neon,
    /// NEON with dot products of bytes: Arm cores of about 2018 and later, all of Apple's M series.
    NeonDotprod,
    /// AVX2, FMA and F16C.
    Avx2,
    /// AVX2 and the 256-bit form of VNNI.
    AvxVnni,
    /// AVX-512 F/BW/DQ/VL/VNNI.
    Avx512Vnni,
    /// AVX-512 VNNI and BF16, and the tile registers of AMX for products of many rows.
    Amx,
}

impl CpuTier {
    /// All tiers, slowest first.
    pub const ALL: [CpuTier; 7] = [
        CpuTier::Portable,
        CpuTier::Neon,
        CpuTier::NeonDotprod,
        CpuTier::Avx2,
        CpuTier::AvxVnni,
        CpuTier::Avx512Vnni,
        CpuTier::Amx,
    ];

    /// The best tier this CPU has.
    pub fn detect() -> CpuTier {
        Self::available().into_iter().rfind(|t| t.is_native()).unwrap_or(CpuTier::Portable)
    }

    /// The tiers this CPU can run, slowest first; tests run every one of them.
    pub fn available() -> Vec<CpuTier> {
        Self::ALL.into_iter().filter(|t| t.is_supported()).collect()
    }

    /// The tier of that name ("portable", "neon", "neon-dotprod", "avx2", "avxvnni", "avx512vnni", "amx"), whether or not this CPU has it.
    pub fn from_name(name: &str) -> Option<CpuTier> {
        Self::ALL.into_iter().find(|t| t.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            CpuTier::Portable => "portable",
            CpuTier::Neon => "neon",
            CpuTier::NeonDotprod => "neon-dotprod",
            CpuTier::Avx2 => "avx2",
            CpuTier::AvxVnni => "avxvnni",
            CpuTier::Avx512Vnni => "avx512vnni",
            CpuTier::Amx => "amx",
        }
    }

    #[cfg(target_arch = "x86_64")]
    pub fn is_supported(self) -> bool {
        use std::arch::is_x86_feature_detected as has;
        match self {
            CpuTier::Portable => true,
            CpuTier::Neon | CpuTier::NeonDotprod => false,
            CpuTier::Avx2 => has!("avx2") && has!("fma") && has!("f16c"),
            CpuTier::AvxVnni => CpuTier::Avx2.is_supported() && has!("avxvnni"),
            CpuTier::Avx512Vnni => {
                CpuTier::Avx2.is_supported()
                    && has!("avx512f")
                    && has!("avx512bw")
                    && has!("avx512dq")
                    && has!("avx512vl")
                    && has!("avx512vnni")
            }
            CpuTier::Amx => super::amx::is_supported(),
        }
    }

    #[cfg(target_arch = "aarch64")]
    pub fn is_supported(self) -> bool {
        match self {
            CpuTier::Portable | CpuTier::Neon => true,
            CpuTier::NeonDotprod => std::arch::is_aarch64_feature_detected!("dotprod"),
            _ => false,
        }
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub fn is_supported(self) -> bool {
        self == CpuTier::Portable
    }

    /// False for tiles that this crate's tests emulate.
    fn is_native(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        if self == CpuTier::Amx {
            return super::amx::is_native();
        }
        true
    }

    /// This tier if the CPU has it, else the best one below it: a forced tier can never execute an illegal instruction.
    pub fn or_supported(self) -> CpuTier {
        Self::available().into_iter().rev().find(|t| *t <= self).unwrap_or(CpuTier::Portable)
    }
}
