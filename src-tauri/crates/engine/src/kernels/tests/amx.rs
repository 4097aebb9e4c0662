//! What is AMX's own: the tiles, emulated and real, the line between its two kinds of product, and its rounding.
use super::super::amx::emulated::Emulated;
use super::super::amx::has_tiles_of;
use super::super::amx::tiles::{Hardware, Tiles, available};
use super::super::amx::{Line, MIN_ROWS, TILE_LINES};
use super::super::{Activation, CpuTier, Pool, WeightType, matmul};
use super::matmul::{Case, TYPES};
use super::{Rng, bits};
use half::bf16;

type Tile = [Line; TILE_LINES];

fn random_tile(rng: &mut Rng) -> Tile {
    std::array::from_fn(|_| Line(std::array::from_fn(|_| bf16::from_f32(rng.unit()).to_bits())))
}

/// Two steps of four products, as the kernel does them.
fn steps<T: Tiles>(a: &[Tile; 4], b: &[Tile; 4]) -> Vec<f32> {
    // SAFETY: the callers asked whether T may run; one value a thread.
    let mut tiles = unsafe { T::configure() };
    tiles.zero::<0>();
    tiles.zero::<3>();
    for k in 0..2 {
        tiles.load::<4>(&a[k]);
        tiles.load::<5>(&a[2 + k]);
        tiles.load::<6>(&b[k]);
        tiles.load::<7>(&b[2 + k]);
        tiles.dot::<0, 4, 6>();
        tiles.dot::<3, 5, 7>();
    }
    let mut out = vec![0.0; 16 * 40];
    // SAFETY: 15 rows of 40 before the last of 16 values, twice.
    unsafe {
        tiles.store::<0>(out.as_mut_ptr(), 40);
        tiles.store::<3>(out.as_mut_ptr().add(20), 40);
    }
    out
}

#[test]
fn emulated_tiles_multiply_as_the_manual_says_and_as_the_cpu_does() {
    let mut rng = Rng(41);
    let a = std::array::from_fn(|_| random_tile(&mut rng));
    let b = std::array::from_fn(|_| random_tile(&mut rng));
    let got = steps::<Emulated>(&a, &b);
    let value = |line: &Line, i: usize| bf16::from_bits(line.0[i]).to_f64();
    for (i, row) in got.chunks_exact(40).enumerate() {
        for j in 0..16 {
            for (at, first) in [(j, 0), (20 + j, 2)] {
                let terms = (0..2).flat_map(|t| (0..32).map(move |k| (t + first, k)));
                let want: f64 =
                    terms.map(|(t, k)| value(&a[t][i], k) * value(&b[t][k / 2], 2 * j + k % 2)).sum();
                assert!((f64::from(row[at]) - want).abs() < 1e-5, "{i} {j}: {} for {want}", row[at]);
            }
        }
        assert!(row[16..20].iter().chain(&row[36..]).all(|v| *v == 0.0), "written beside the tile");
    }
    if available() {
        assert_eq!(bits(&got), bits(&steps::<Hardware>(&a, &b)));
    }
}

#[test]
fn few_rows_have_the_bits_of_avx512vnni_and_many_are_rounded_to_bf16() {
    let mut rng = Rng(42);
    for dtype in TYPES {
        let case = Case::new(&mut rng, dtype, 40, 512);
        let x = rng.vec(MIN_ROWS * 512, 1.0);
        let few = &x[512..];
        let pool = Pool::new(1);
        let product = |tier, x| bits(&case.product(tier, x, &pool));
        assert_eq!(product(CpuTier::Amx, few), product(CpuTier::Avx512Vnni, few), "{dtype:?}");
        let same = product(CpuTier::Amx, &x) == product(CpuTier::Avx512Vnni, &x);
        assert_eq!(same, !has_tiles_of(dtype), "{dtype:?}");
    }
}

/// The root mean square of the error over that of the products.
fn error(case: &Case, x: &[f32], got: &[f32]) -> f64 {
    let products = x.chunks_exact(case.cols).flat_map(|x| {
        let dot = move |w: &[f32]| x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
        case.weights.chunks_exact(case.cols).map(dot)
    });
    let sums = got.iter().zip(products).fold((0.0, 0.0), |(e, s), (got, want): (_, f64)| {
        (e + (f64::from(*got) - want).powi(2), s + want * want)
    });
    (sums.0 / sums.1).sqrt()
}

#[test]
fn tiles_are_closer_to_the_true_product_than_int8() {
    let mut rng = Rng(43);
    for dtype in [WeightType::Q4_0, WeightType::Q8_0, WeightType::Q6K] {
        let case = Case::new(&mut rng, dtype, 64, 1024);
        let x = rng.vec(32 * 1024, 1.0);
        let of = |tier| error(&case, &x, &case.product(tier, &x, &Pool::new(1)));
        let (tiles, int8) = (of(CpuTier::Amx), of(CpuTier::Portable));
        assert!(tiles < int8 && tiles < 3e-3, "{dtype:?}: {tiles} against {int8}");
    }
}

#[test]
fn an_activation_that_is_written_anew_is_rounded_anew() {
    let mut rng = Rng(44);
    let (case, pool) = (Case::new(&mut rng, WeightType::Q4_0, 40, 96), Pool::new(2));
    let w = case.pack(CpuTier::Amx);
    let mut act = Activation::new();
    for m in [40, 17, 33] {
        let x = rng.vec(m * 96, 1.0);
        act.begin(m, 96).copy_from_slice(&x);
        act.quantize(CpuTier::Amx, &pool);
        let mut out = vec![f32::NAN; m * 40];
        matmul(&pool, &w, &act, &mut out).unwrap();
        assert_eq!(bits(&out), bits(&case.product(CpuTier::Amx, &x, &pool)), "{m}");
    }
}

#[test]
fn rows_beyond_a_strip_and_panels_without_a_partner_are_whole() {
    let mut rng = Rng(45);
    // One strip of 16 rows is 64 KiB here, so that twelve of them make a block; five panels leave one over.
    let case = Case::new(&mut rng, WeightType::Q4_0, 70, 2048);
    let x = rng.vec(230 * 2048, 1.0);
    let got = case.product(CpuTier::Amx, &x, &Pool::new(2));
    assert!(error(&case, &x, &got) < 3e-3);
}
