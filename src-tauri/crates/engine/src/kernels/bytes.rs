//! Zeroed, page-aligned memory for packed weights, on huge pages where the system has them.
use super::KernelError;
use memmap2::MmapMut;

pub(super) struct AlignedBytes {
    map: MmapMut,
    len: usize,
}

impl AlignedBytes {
    pub(super) fn zeroed(len: usize) -> Result<Self, KernelError> {
        let map = MmapMut::map_anon(len.max(1)).map_err(|_| KernelError::OutOfMemory { bytes: len })?;
        // Fewer TLB misses when streaming; a system without it just says no.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(AlignedBytes { map, len })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.map[..self.len]
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.map[..self.len]
    }
}

/// The bytes as numbers. `T` must be a plain number type; the slice must be aligned for it.
pub(super) fn cast<T: Plain>(bytes: &[u8]) -> &[T] {
    // SAFETY: `T: Plain` accepts every bit pattern; `align_to` finds the aligned middle, and both ends are asserted empty.
    let (head, middle, tail) = unsafe { bytes.align_to::<T>() };
    assert!(head.is_empty() && tail.is_empty());
    middle
}

/// Types for which every bit pattern is a value.
///
/// # Safety
/// Implementors have no invalid bit patterns and no padding.
pub(super) unsafe trait Plain {}
// SAFETY: a plain number.
unsafe impl Plain for f32 {}
// SAFETY: a plain number.
unsafe impl Plain for u16 {}
// SAFETY: a plain number.
unsafe impl Plain for i8 {}
