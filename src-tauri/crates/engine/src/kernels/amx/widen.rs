//! The steps from numbers to tiles of bf16 that the lanes of `simd` lack.
use super::super::CpuTier;
use super::super::simd::{Avx512, LANES, Plain, Simd};
use super::Line;
use half::bf16;
use std::arch::x86_64::*;

/// What runs with the lanes of this tier.
pub(super) trait Body {
    fn run<S: Widen>(self, s: S);
}

/// Runs `body` with AVX-512 lanes. (A CPU with tiles has them; only tests of emulated tiles may come here without.)
#[inline]
pub(super) fn enter<B: Body>(body: B) {
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,avx2,fma,f16c")]
    fn avx512<B: Body>(body: B) {
        // SAFETY: this function runs with these features.
        body.run(unsafe { Avx512::new() });
    }
    if CpuTier::Avx512Vnni.is_supported() && is_x86_feature_detected!("avx512bf16") {
        // SAFETY: the CPU has just been asked.
        unsafe { avx512(body) }
    } else {
        body.run(Plain);
    }
}

pub(super) trait Widen: Simd {
    /// Byte `B` of each lane, as a number without sign.
    fn byte<const B: usize>(self, bytes: Self::Bytes) -> Self::V;
    /// Signed bytes plus 128.
    fn plus_128(self, bytes: Self::Bytes) -> Self::Bytes;
    /// Lane by lane `even, odd`, to the nearest bf16: a row of a weight tile.
    fn pairs(self, even: Self::V, odd: Self::V) -> Line;
    /// Thirty-two values one after the other, to the nearest bf16: a row of an activation tile.
    fn row(self, first: Self::V, second: Self::V) -> Line;
}

impl Widen for Avx512 {
    #[inline(always)]
    fn byte<const B: usize>(self, bytes: __m512i) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe {
            // Byte B, and three zeros (an index with its top bit set).
            let lane = |i: i32| 0x8080_8000_u32 as i32 | (i * 4 + B as i32);
            let pick = _mm512_broadcast_i32x4(_mm_setr_epi32(lane(0), lane(1), lane(2), lane(3)));
            _mm512_cvtepi32_ps(_mm512_shuffle_epi8(bytes, pick))
        }
    }
    #[inline(always)]
    fn plus_128(self, bytes: __m512i) -> __m512i {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_xor_si512(bytes, _mm512_set1_epi8(-128)) }
    }
    /// Rounds by adding half a unit, ties away from zero: four operations of any port, where the conversion instruction and
    /// the permutation it would need are all of one.
    #[inline(always)]
    fn pairs(self, even: __m512, odd: __m512) -> Line {
        let mut line = Line::ZERO;
        // SAFETY: `self` proves AVX-512; a line is 64 bytes.
        unsafe {
            let half = _mm512_set1_epi32(0x8000);
            let even = _mm512_srli_epi32::<16>(_mm512_add_epi32(_mm512_castps_si512(even), half));
            let odd = _mm512_add_epi32(_mm512_castps_si512(odd), half);
            _mm512_store_si512((&raw mut line).cast(), _mm512_mask_blend_epi16(0xaaaa_aaaa, even, odd));
        }
        line
    }
    #[inline(always)]
    fn row(self, first: __m512, second: __m512) -> Line {
        let mut line = Line::ZERO;
        // SAFETY: `available` asked for AVX512-BF16; a line is 64 bytes.
        unsafe {
            let bits: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(second, first));
            _mm512_store_si512((&raw mut line).cast(), bits);
        }
        line
    }
}

/// As the other lanes do it: ties away from zero.
fn nearest(v: f32) -> u16 {
    (v.to_bits().wrapping_add(0x8000) >> 16) as u16
}

impl Widen for Plain {
    fn byte<const B: usize>(self, bytes: [u8; 64]) -> [f32; LANES] {
        std::array::from_fn(|i| f32::from(bytes[4 * i + B]))
    }
    fn plus_128(self, bytes: [u8; 64]) -> [u8; 64] {
        bytes.map(|b| b ^ 128)
    }
    fn pairs(self, even: [f32; LANES], odd: [f32; LANES]) -> Line {
        Line(std::array::from_fn(|i| nearest(if i % 2 == 0 { even[i / 2] } else { odd[i / 2] })))
    }
    fn row(self, first: [f32; LANES], second: [f32; LANES]) -> Line {
        Line(std::array::from_fn(|i| {
            bf16::from_f32(if i < LANES { first[i] } else { second[i - LANES] }).to_bits()
        }))
    }
}
