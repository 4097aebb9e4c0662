//! The eight tile registers: what the products need of them, the instructions, and whether the CPU and the system allow them.
//!
//! The intrinsics are not stable in Rust 1.95, so the instructions are written out. A register is 16 rows of 64 bytes; products
//! use them as four accumulators (0 to 3), two of activations (4, 5) and two of weights (6, 7).
use super::super::CpuTier;
use super::{Line, TILE_LINES};
use std::arch::asm;
#[cfg(target_os = "linux")]
use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
use std::sync::OnceLock;

/// One thread's tile registers. Registers are numbered at compile time, as in the instructions.
pub(in crate::kernels) trait Tiles {
    /// Takes the registers, all of 16 rows × 64 bytes. They are given back on drop.
    ///
    /// # Safety
    /// The instructions may run on this thread: [`available`] for those of the CPU. One value a thread at a time.
    unsafe fn configure() -> Self;
    fn zero<const T: usize>(&mut self);
    /// A tile that lies in one piece.
    fn load<const T: usize>(&mut self, from: &[Line; TILE_LINES]);
    /// `C[i][j] += Σ_k A[i][2k]·B[k][2j] + A[i][2k+1]·B[k][2j+1]`: C is f32 `[16][16]`, A is bf16 `[16][32]`, B has pairs of k.
    fn dot<const C: usize, const A: usize, const B: usize>(&mut self);
    /// Sixteen rows of 16 f32.
    ///
    /// # Safety
    /// All sixteen rows, `stride` values apart, lie inside memory that may be written and that nobody else uses meanwhile.
    unsafe fn store<const T: usize>(&mut self, to: *mut f32, stride: usize);
}

/// The operand of `ldtilecfg`: palette 1, then per register its bytes a row and its rows.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

const fn eight<T: Copy>(value: T, zero: T) -> [T; 16] {
    let [v, z] = [value, zero];
    [v, v, v, v, v, v, v, v, z, z, z, z, z, z, z, z]
}

static CONFIG: Config = Config {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_bytes: eight(64, 0),
    rows: eight(TILE_LINES as u8, 0),
};

/// The CPU's registers.
pub(in crate::kernels) struct Hardware(());

impl Tiles for Hardware {
    #[inline(always)]
    unsafe fn configure() -> Self {
        // SAFETY: the caller's promise; the operand is 64 bytes of a legal palette.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &CONFIG, options(nostack, readonly, preserves_flags)) };
        Hardware(())
    }
    #[inline(always)]
    fn zero<const T: usize>(&mut self) {
        // SAFETY: a value of this type is a configured thread.
        unsafe { asm!("tilezero tmm{t}", t = const T, options(nostack, nomem, preserves_flags)) };
    }
    #[inline(always)]
    fn load<const T: usize>(&mut self, from: &[Line; TILE_LINES]) {
        // SAFETY: as above; 16 rows of 64 bytes, 64 bytes apart, are the array.
        unsafe {
            asm!(
                "tileloadd tmm{t}, [{from} + {stride}*1]",
                t = const T, from = in(reg) from, stride = in(reg) size_of::<Line>(),
                options(nostack, readonly, preserves_flags)
            );
        }
    }
    #[inline(always)]
    fn dot<const C: usize, const A: usize, const B: usize>(&mut self) {
        // SAFETY: as above.
        unsafe {
            asm!(
                "tdpbf16ps tmm{c}, tmm{a}, tmm{b}",
                c = const C, a = const A, b = const B,
                options(nostack, nomem, preserves_flags)
            );
        }
    }
    #[inline(always)]
    unsafe fn store<const T: usize>(&mut self, to: *mut f32, stride: usize) {
        // SAFETY: as above, and the caller's promise.
        unsafe {
            asm!(
                "tilestored [{to} + {stride}*1], tmm{t}",
                t = const T, to = in(reg) to, stride = in(reg) stride * size_of::<f32>(),
                options(nostack, preserves_flags)
            );
        }
    }
}

impl Drop for Hardware {
    /// Registers in use make every switch of the thread save 8 KiB.
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) };
    }
}

/// Whether this process may use [`Hardware`]; asked once, and on every thread's behalf.
pub(in crate::kernels) fn available() -> bool {
    let vectors = CpuTier::Avx512Vnni.is_supported() && is_x86_feature_detected!("avx512bf16");
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| vectors && cpu_has_bf16_tiles() && system_allows_tiles())
}

#[cfg(target_os = "linux")]
fn cpu_has_bf16_tiles() -> bool {
    const OSXSAVE: u32 = 1 << 27;
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    /// Bits 17 and 18 of XCR0: the system saves the tiles' configuration and data.
    const TILES: u64 = 3 << 17;
    if __cpuid(0).eax < 7 || __cpuid(1).ecx & OSXSAVE == 0 {
        return false;
    }
    // SAFETY: OSXSAVE says that `xgetbv` may be executed.
    let saved = unsafe { xcr0() };
    let features = __cpuid_count(7, 0).edx;
    features & AMX_BF16 != 0 && features & AMX_TILE != 0 && saved & TILES == TILES
}

#[cfg(target_os = "linux")]
#[target_feature(enable = "xsave")]
fn xcr0() -> u64 {
    // SAFETY: the feature is enabled, and register 0 always exists.
    unsafe { _xgetbv(0) }
}

/// Linux gives the 8 KiB of tile data to processes that ask: `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`. The answer
/// holds for all threads of the process, also for those that exist already.
#[cfg(target_os = "linux")]
fn system_allows_tiles() -> bool {
    const SYS_ARCH_PRCTL: isize = 158;
    const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
    const XFEATURE_XTILEDATA: usize = 18;
    let answer: isize;
    // SAFETY: the call takes two numbers and touches no memory of ours; `syscall` overwrites rcx and r11.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") SYS_ARCH_PRCTL => answer,
            in("rdi") ARCH_REQ_XCOMP_PERM, in("rsi") XFEATURE_XTILEDATA,
            lateout("rcx") _, lateout("r11") _,
            options(nostack)
        );
    }
    answer == 0
}

/// Other systems have other ways to ask, none of which could be tried.
#[cfg(not(target_os = "linux"))]
fn cpu_has_bf16_tiles() -> bool {
    false
}

#[cfg(not(target_os = "linux"))]
fn system_allows_tiles() -> bool {
    false
}
