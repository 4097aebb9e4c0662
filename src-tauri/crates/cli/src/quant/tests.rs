//! Bit equality with ggml's reference quantizers, and what the grids promise.
use super::*;
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use sha2::{Digest, Sha256};

const N: usize = 64 * 1024;

/// Uniform draws cubed (long tails), every fourth kilo-block starting with zeros, some groups on an exact coarse
/// grid (ties). The C program that made the hashes below drew the same sequence.
fn samples() -> Vec<f32> {
    let mut state = 1_u64;
    let mut draw = |i: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let a = (state >> 40) as i32 - (1 << 23);
        let u = a as f32 / (1 << 23) as f32;
        match i {
            _ if (512..768).contains(&(i % 1024)) => (a >> 16) as f32 / 64.0,
            _ if i % 4096 < 256 => 0.0,
            _ => u * u * u * 0.25,
        }
    };
    (0..N).map(&mut draw).collect()
}

fn encoded(quant: Quant) -> Vec<u8> {
    let mut out = Vec::new();
    quant.encode(&samples(), &mut out).unwrap();
    out
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn candle_tensor(dtype: GgmlDType) -> QTensor {
    let tensor = Tensor::from_vec(samples(), (N / 256, 256), &Device::Cpu).unwrap();
    QTensor::quantize(&tensor, dtype).unwrap()
}

/// Reads our bytes with candle's dequantizer.
fn decoded(quant: Quant, dtype: GgmlDType) -> Vec<f32> {
    let storage = candle_core::quantized::ggml_file::qtensor_from_ggml(
        dtype,
        &encoded(quant),
        vec![N / 256, 256],
        &Device::Cpu,
    );
    storage.unwrap().dequantize(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Hashes of `quantize_row_{q4_0,q8_0,q6_K}_ref` over `samples()`: ggml d99724f2, gcc 12 -O2, x86-64.
#[test]
fn equals_ggml_bit_for_bit() {
    let input: Vec<u8> = samples().iter().flat_map(|x| x.to_le_bytes()).collect();
    assert_eq!(sha256(&input), "5fe97a3ddf710427d494eb3f63e096d0ff817de52d42d39a4b126af32d2ac4a4");
    assert_eq!(
        sha256(&encoded(Quant::Q4_0)),
        "cdc01615f5fde507942a85d5254730065debb3ab10216453c461480a02971b25"
    );
    assert_eq!(
        sha256(&encoded(Quant::Q8_0)),
        "677fb3ee314b1c8c81cd100b2540d045ab2f6ed65921ec352434ec7d9ac4d1c2"
    );
    assert_eq!(
        sha256(&encoded(Quant::Q6K)),
        "84334f3f92dc58f9659adc3886dc8645d318a904b64690d0e56c8360be86b838"
    );
}

#[test]
fn q4_0_and_q8_0_equal_candle() {
    for (quant, dtype) in [(Quant::Q4_0, GgmlDType::Q4_0), (Quant::Q8_0, GgmlDType::Q8_0)] {
        assert_eq!(encoded(quant), candle_tensor(dtype).data().unwrap().into_owned(), "{quant:?}");
    }
}

/// candle searches the scale of a group differently, so only the size and the quality are comparable.
#[test]
fn q6_k_is_as_close_as_candle() {
    let error = |values: &[f32]| -> f64 {
        let squares = samples().iter().zip(values).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
        (squares / N as f64).sqrt()
    };
    let theirs = candle_tensor(GgmlDType::Q6K).dequantize(&Device::Cpu).unwrap();
    let theirs: Vec<f32> = theirs.flatten_all().unwrap().to_vec1().unwrap();
    let (ours, theirs) = (error(&decoded(Quant::Q6K, GgmlDType::Q6K)), error(&theirs));
    assert!(ours < theirs * 1.05, "rms error {ours} against candle's {theirs}");
}

/// Half a step of the grid, plus what the f16 scale (2⁻¹¹ relative) moves the largest value by. Q4_0's grid ends at
/// +7, so a value of the other sign may be a whole step away.
#[test]
fn errors_stay_within_a_step() {
    for (quant, dtype, steps, reach) in
        [(Quant::Q4_0, GgmlDType::Q4_0, 8.0, 1.0), (Quant::Q8_0, GgmlDType::Q8_0, 127.0, 0.5)]
    {
        let (source, back) = (samples(), decoded(quant, dtype));
        for (block, (x, y)) in source.chunks(32).zip(back.chunks(32)).enumerate() {
            let max = signed_max(x).abs();
            let bound = max / steps * reach + max / 1024.0 + 1e-7;
            let worst = x.iter().zip(y).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst <= bound, "{quant:?} block {block}: {worst} > {bound}");
        }
    }
}

#[test]
fn zeros_stay_zeros() {
    for (quant, dtype) in
        [(Quant::Q4_0, GgmlDType::Q4_0), (Quant::Q8_0, GgmlDType::Q8_0), (Quant::Q6K, GgmlDType::Q6K)]
    {
        assert!(decoded(quant, dtype)[..256].iter().all(|&x| x == 0.0), "{quant:?}");
    }
}

#[test]
fn rejects_rows_that_are_no_whole_blocks() {
    let ragged = Quant::Q6K.encode(&[0.0; 128], &mut Vec::new());
    assert_eq!(ragged, Err(RaggedRow { len: 128, block: 256 }));
    assert!(Quant::Q4_0.encode(&[0.0; 31], &mut Vec::new()).is_err());
}
