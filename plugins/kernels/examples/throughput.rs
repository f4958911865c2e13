//! Prints how fast the layers of an encoder run next to what the processor could do:
//! `cargo run --release -p lmprobe-kernels --example throughput`.
//!
//! Contenders take turns, so that other work on the machine slows all of them alike, and medians are reported.
#![expect(clippy::cast_precision_loss, reason = "counts of operations become rates")]

use std::hint::black_box;
use std::time::Instant;

use lmprobe_kernels::{
    Activation, AttentionShape, Epilogue, Input, Output, PackedLinear, Precision, Rows, Scratch, attention, attention_rows, layer_norm_pairs, layer_norm_rows,
    linear, pairs, round_rows, simd,
};

/// Rows of a thread in one call.
const ROWS: usize = 384;

/// Turns of every contender.
const TURNS: usize = 41;

fn values(length: usize) -> Vec<f32> {
    (0..length).map(|index| ((index * 7919 % 2003) as f32) / 1000.0 - 1.0).collect()
}

/// The time all threads of this process have computed for, so that waiting for a busy machine does not count.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
fn cpu_seconds() -> f64 {
    const PROCESS: i32 = 2;
    unsafe extern "C" {
        fn clock_gettime(clock: i32, time: *mut [i64; 2]) -> i32;
    }
    let mut time = [0; 2];
    // SAFETY: with 64 bits, `timespec` is two of `i64`, seconds and nanoseconds, and it has room for them.
    unsafe { clock_gettime(PROCESS, &raw mut time) };
    time[0] as f64 + time[1] as f64 * 1e-9
}

/// The time since some moment.
#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
fn cpu_seconds() -> f64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_secs_f64()
}

/// Something to time: a name, its floating point operations, and a turn.
struct Contender<'a> {
    name: String,
    operations: usize,
    turn: Box<dyn FnMut() + 'a>,
}

impl<'a> Contender<'a> {
    fn new(name: impl Into<String>, operations: usize, turn: impl FnMut() + 'a) -> Contender<'a> {
        Contender { name: name.into(), operations, turn: Box::new(turn) }
    }
}

/// Lets all contenders take turns and prints how fast each is: by the median and the least of the processor time a turn
/// takes of each thread, and by the median of what the clock says. `peak` is that of one thread.
fn race(mut contenders: Vec<Contender>, threads: usize, peak: impl Fn(&str) -> f64) {
    let mut times = vec![[Vec::new(), Vec::new()]; contenders.len()];
    for turn in 0..=TURNS {
        for (contender, times) in contenders.iter_mut().zip(&mut times) {
            let (start, cpu) = (Instant::now(), cpu_seconds());
            (contender.turn)();
            // The first turn warms up.
            if turn > 0 {
                times[0].push((cpu_seconds() - cpu) / threads as f64);
                times[1].push(start.elapsed().as_secs_f64());
            }
        }
    }
    for (contender, times) in contenders.iter().zip(&mut times) {
        let rate = |time: f64| contender.operations as f64 / time / 1e9;
        let [(median, best), (wall, _)] = times.each_mut().map(|times| {
            times.sort_by(f64::total_cmp);
            (rate(times[times.len() / 2]), rate(times[0]))
        });
        let peak = threads as f64 * peak(&contender.name);
        let share = 100.0 * median / peak;
        println!(
            "  {:<22} {median:>6.1} GFLOP/s ({share:>3.0} % of peak), best {best:>6.1} ({:>3.0} %), by the clock {wall:>6.1}",
            contender.name,
            100.0 * best / peak
        );
    }
}

/// The peaks of one thread in GFLOP/s.
struct Peaks {
    float: f64,
    bf16: f64,
}

#[cfg(target_arch = "x86_64")]
mod peak {
    //! Multiplications that never leave the registers.

    use std::arch::x86_64::{__m512bh, __m512i, _mm256_fmadd_ps, _mm256_set1_ps, _mm512_dpbf16_ps, _mm512_fmadd_ps, _mm512_set1_epi32, _mm512_set1_ps};
    use std::hint::black_box;

    /// Rounds of multiplications that do not wait for each other.
    pub const LOOPS: usize = 200_000;
    pub const SUMS: usize = 12;

    macro_rules! register_loop {
        ($name:ident, $features:literal, $splat:expr, $factor:expr, $multiply:expr) => {
            #[target_feature(enable = $features)]
            pub fn $name() {
                let factor = black_box($factor);
                let mut sums = [$splat; SUMS];
                for _ in 0..LOOPS {
                    for sum in &mut sums {
                        *sum = $multiply(factor, *sum);
                    }
                }
                black_box(sums);
            }
        };
    }

    register_loop!(ymm, "avx2,fma", _mm256_set1_ps(1.0), _mm256_set1_ps(0.999), |f, s| _mm256_fmadd_ps(f, f, s));
    register_loop!(zmm, "avx512f", _mm512_set1_ps(1.0), _mm512_set1_ps(0.999), |f, s| _mm512_fmadd_ps(f, f, s));
    register_loop!(
        bf16,
        "avx512f,avx512bf16",
        _mm512_set1_ps(1.0),
        // SAFETY: both types are 512 plain bits.
        unsafe { std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi32(0x3f80_3f80)) },
        |f, s| _mm512_dpbf16_ps(s, f, f)
    );
}

/// Measures the peaks of one thread, and prints them.
#[cfg(target_arch = "x86_64")]
fn peaks() -> Peaks {
    let measure = |name: &str, lanes: usize, work: unsafe fn()| {
        let rates: Vec<f64> = (0..15)
            .map(|_| {
                let start = cpu_seconds();
                // SAFETY: the caller has asked the processor for the features of `work`.
                unsafe { work() };
                (2 * lanes * peak::SUMS * peak::LOOPS) as f64 / (cpu_seconds() - start) / 1e9
            })
            .collect();
        // Nothing is faster than the peak, so the best turn is the least disturbed one.
        let best = rates.iter().copied().fold(0.0, f64::max);
        println!("  {name:<34} {best:>7.1} GFLOP/s");
        best
    };
    let (mut float, mut bf16) = (0.0f64, f64::NAN);
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        float = float.max(measure("f32, 256 bits", 8, peak::ymm));
    }
    if is_x86_feature_detected!("avx512f") {
        float = float.max(measure("f32, 512 bits", 16, peak::zmm));
        if is_x86_feature_detected!("avx512bf16") {
            bf16 = measure("bf16, 512 bits", 32, peak::bf16);
        }
    }
    Peaks { float, bf16 }
}

#[cfg(not(target_arch = "x86_64"))]
fn peaks() -> Peaks {
    Peaks { float: f64::NAN, bf16: f64::NAN }
}

/// One layer on `threads` threads, each with [`ROWS`] rows of its own.
fn race_layer(inp: usize, out: usize, threads: usize, peaks: &Peaks) {
    let rows = ROWS * threads;
    println!("{ROWS} x {inp} x {out}, {threads} thread(s)");
    let (x, w, b, residual) = (values(rows * inp), values(out * inp), values(out), values(rows * out));
    let layers = [Precision::F32, Precision::Bf16].map(|precision| PackedLinear::new(&w, Some(&b), out, inp, precision));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool of threads");
    let operations = 2 * rows * inp * out;
    let mut contenders = Vec::new();
    for layer in &layers {
        for (name, epilogue) in [("", Epilogue::None), (" + GELU", Epilogue::Activation(Activation::GeluErf)), (" + residual", Epilogue::Residual(&residual))] {
            let mut y = vec![0.0; rows * out];
            let mut scratch: Vec<Scratch> = (0..threads).map(|_| Scratch::new()).collect();
            let (x, pool) = (&x, &pool);
            let turn = move || {
                pool.scope(|scope| {
                    for ((x, y), scratch) in x.chunks(ROWS * inp).zip(y.chunks_mut(ROWS * out)).zip(&mut scratch) {
                        let epilogue = match epilogue {
                            Epilogue::Residual(residual) => Epilogue::Residual(&residual[..ROWS * out]),
                            other => other,
                        };
                        scope.spawn(move |_| layer.apply(x, ROWS, epilogue, scratch, black_box(y)));
                    }
                });
            };
            contenders.push(Contender::new(format!("packed {:?}{name}", layer.precision()), operations, turn));
        }
    }
    let mut y = vec![0.0; rows * out];
    let (x, w, b, pool) = (&x, &w, &b, &pool);
    contenders.push(Contender::new("linear", operations, move || pool.install(|| linear(x, w, Some(b), rows, inp, out, black_box(&mut y)))));
    race(contenders, threads, |name| if name.contains("Bf16") { peaks.bf16 } else { peaks.float });
}

/// Attention on one thread, from a merged buffer.
fn race_attention(tokens: usize, heads: usize, head_dim: usize, peaks: &Peaks) {
    let count = (ROWS / tokens).max(1);
    let offsets: Vec<usize> = (0..=count).map(|sequence| sequence * tokens).collect();
    let width = heads * head_dim;
    println!("attention {count} x {tokens} tokens, {heads} heads of {head_dim}, 1 thread");
    let shape = AttentionShape { offsets: &offsets, heads, head_dim, scale: 0.2, causal: false };
    let merged = values(count * tokens * 3 * width);
    let [q, k, v] = [0, 1, 2].map(|which| Rows { values: &merged[which * width..], stride: 3 * width });
    let dense = [(); 3].map(|()| values(count * tokens * width));
    let (mut from_merged, mut from_dense) = (vec![0.0; count * tokens * width], vec![0.0; count * tokens * width]);
    let operations = 4 * count * tokens * tokens * width;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool of threads");
    let mut scratch = Scratch::new();
    race(
        vec![
            Contender::new("attention_rows", operations, || attention_rows(q, k, v, shape, &mut scratch, Output::Floats(black_box(&mut from_merged)))),
            Contender::new("attention", operations, || pool.install(|| attention(&dense[0], &dense[1], &dense[2], shape, None, black_box(&mut from_dense)))),
        ],
        1,
        |_| peaks.float,
    );
}

/// Tokens of the sentences of a group, which have the lengths of sentences of abstracts.
const SENTENCES: [usize; 7] = [18, 45, 30, 22, 61, 27, 35];

/// The parts of a block, in the order of their time below.
const PARTS: [&str; 6] = ["query, key, value", "attention", "attention output", "normalisations", "wide + GELU", "narrow"];

/// The blocks of `MiniLM` on one thread, with the share of each part. Each block has weights of its own, which come from memory.
fn stack(precision: Precision, peak: f64) {
    let (hidden, heads, inner, layers) = (384, 12, 1536, 6);
    let mut offsets = vec![0];
    offsets.extend(SENTENCES.iter().scan(0, |sum, tokens| {
        *sum += tokens;
        Some(*sum)
    }));
    let rows = offsets[SENTENCES.len()];
    let layer = |out: usize, inp: usize| PackedLinear::new(&values(out * inp).iter().map(|w| w * 0.05).collect::<Vec<_>>(), None, out, inp, precision);
    let blocks: Vec<[PackedLinear; 4]> =
        (0..layers).map(|_| [layer(3 * hidden, hidden), layer(hidden, hidden), layer(inner, hidden), layer(hidden, inner)]).collect();
    let (gain, bias) = (vec![1.0; hidden], vec![0.0; hidden]);
    let shape = AttentionShape { offsets: &offsets, heads, head_dim: hidden / heads, scale: 0.17, causal: false };
    let buffer = |width: usize| (vec![0.0; rows * width], vec![0; rows * pairs(width)]);
    let (mut x, mut context, mut wide) = (buffer(hidden), buffer(hidden), buffer(inner));
    let (mut projected, mut sum, mut scratch) = (vec![0.0; rows * 3 * hidden], vec![0.0; rows * hidden], Scratch::new());
    let rounded = precision == Precision::Bf16;
    macro_rules! from {
        ($both:expr) => {
            if rounded { Input::Pairs(&$both.1) } else { Input::Floats(&$both.0) }
        };
    }
    macro_rules! into {
        ($both:expr) => {
            if rounded { Output::Pairs(&mut $both.1) } else { Output::Floats(&mut $both.0) }
        };
    }
    let mut turns = Vec::new();
    for _ in 0..TURNS {
        x.0.copy_from_slice(&values(rows * hidden));
        round_rows(&x.0, hidden, &mut x.1);
        let mut times = [0.0; PARTS.len()];
        let mut start = cpu_seconds();
        let mut end_of = |part: usize| {
            let now = cpu_seconds();
            times[part] += now - start;
            start = now;
        };
        for [projections, output, first, second] in &blocks {
            projections.apply_between(from!(x), rows, Epilogue::None, &mut scratch, Output::Floats(&mut projected));
            end_of(0);
            let [q, k, v] = [0, 1, 2].map(|which| Rows { values: &projected[which * hidden..], stride: 3 * hidden });
            attention_rows(q, k, v, shape, &mut scratch, into!(context));
            end_of(1);
            output.apply_between(from!(context), rows, Epilogue::Residual(&x.0), &mut scratch, Output::Floats(&mut sum));
            end_of(2);
            normalise(rounded, &sum, (&gain, &bias), &mut x);
            end_of(3);
            first.apply_between(from!(x), rows, Epilogue::Activation(Activation::GeluErf), &mut scratch, into!(wide));
            end_of(4);
            second.apply_between(from!(wide), rows, Epilogue::Residual(&x.0), &mut scratch, Output::Floats(&mut sum));
            end_of(5);
            normalise(rounded, &sum, (&gain, &bias), &mut x);
            end_of(3);
        }
        turns.push(times);
    }
    black_box(&x);
    turns.sort_by(|a, b| a.iter().sum::<f64>().total_cmp(&b.iter().sum()));
    let squares: usize = SENTENCES.iter().map(|tokens| tokens * tokens).sum();
    let operations = [6 * rows * hidden * hidden, 4 * squares * hidden, 2 * rows * hidden * hidden, 0, 2 * rows * hidden * inner, 2 * rows * hidden * inner];
    for (name, times) in [("median", turns[TURNS / 2]), ("best", turns[0])] {
        let total: f64 = times.iter().sum();
        let rate = (layers * operations.iter().sum::<usize>()) as f64 / total / 1e9;
        println!(
            "{layers} blocks of {hidden} x {inner}, {rows} tokens, {precision:?}, 1 thread, {name}: {rate:.1} GFLOP/s ({:.1} % of peak)",
            100.0 * rate / peak
        );
        for ((part, time), operations) in PARTS.iter().zip(times).zip(operations) {
            let rate = (layers * operations) as f64 / time / 1e9;
            println!("  {part:<18} {:>5.1} % of the time, {rate:>6.1} GFLOP/s ({:>3.0} % of peak)", 100.0 * time / total, 100.0 * rate / peak);
        }
    }
}

/// Normalises rows into the floats of `x`, and into its pairs if they are wanted.
fn normalise(rounded: bool, sum: &[f32], (gain, bias): (&[f32], &[f32]), x: &mut (Vec<f32>, Vec<u32>)) {
    if rounded {
        layer_norm_pairs(sum, gain, bias, 1e-12, Some(&mut x.0), &mut x.1);
    } else {
        layer_norm_rows(sum, gain, bias, 1e-12, &mut x.0);
    }
}

fn main() {
    println!("{}, peaks of one thread:", simd());
    let peaks = peaks();
    for (precision, peak) in [(Precision::F32, peaks.float), (Precision::Bf16, peaks.bf16)] {
        stack(precision, peak);
    }
    // Words on the command line pick what else is raced.
    let only = std::env::args().nth(1);
    let picked = |name: &str| only.as_deref().is_none_or(|only| only == name);
    let layers = picked("layers");
    for threads in [1, 2].into_iter().filter(|_| layers) {
        for hidden in [384, 768] {
            for (inp, out) in [(hidden, hidden), (hidden, 3 * hidden), (hidden, 4 * hidden), (4 * hidden, hidden)] {
                race_layer(inp, out, threads, &peaks);
            }
        }
    }
    for (heads, head_dim) in [(12, 32), (12, 64)].into_iter().filter(|_| picked("attention")) {
        for tokens in [30, 128] {
            race_attention(tokens, heads, head_dim, &peaks);
        }
    }
}
