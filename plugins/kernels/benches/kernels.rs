//! Each kernel on the shapes of MiniLM-L6 (384 wide) and BERT-base (768 wide): `cargo bench --workspace --bench kernels`.
//!
//! What is reported as elements a second are floating-point operations for products and attention, numbers for everything else. Products and attention of inference run on
//! one thread, those of training on all (`RAYON_NUM_THREADS`).

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lmprobe_kernels::{
    Activation, AttentionShape, Dropout, Epilogue, Output, PackedLinear, Precision, Rows, Scratch, activation, activation_grad, attention, attention_grad,
    attention_rows, dropout, gather_rows, layer_norm, layer_norm_grad, linear, linear_grad_input, linear_grad_weight, log_softmax, scatter_add_rows,
};

/// Tokens of a group.
const TOKENS: usize = 384;

fn values(n: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f32::from((state >> 16) as u16) / 32_768.0 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

fn products(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("product");
    for (inp, out) in [(384, 1152), (384, 384), (384, 1536), (1536, 384), (768, 768), (768, 3072), (3072, 768)] {
        let (x, w, b, dy) = (values(TOKENS * inp), values(out * inp), values(out), values(TOKENS * out));
        let mut y = vec![0.0; TOKENS * out];
        group.throughput(Throughput::Elements(2 * (TOKENS * inp * out) as u64));
        for (name, precision) in [("packed-f32", Precision::F32), ("packed-bf16", Precision::Bf16)] {
            let (layer, mut scratch) = (PackedLinear::new(&w, Some(&b), out, inp, precision), Scratch::new());
            group.bench_function(BenchmarkId::new(name, format!("{inp}x{out}")), |bencher| {
                bencher.iter(|| layer.apply(black_box(&x), TOKENS, Epilogue::Activation(Activation::GeluErf), &mut scratch, &mut y));
            });
        }
        group.bench_function(BenchmarkId::new("linear", format!("{inp}x{out}")), |bencher| {
            bencher.iter(|| linear(black_box(&x), &w, Some(&b), TOKENS, inp, out, &mut y));
        });
        let (mut dx, mut dw) = (vec![0.0; TOKENS * inp], vec![0.0; out * inp]);
        group.bench_function(BenchmarkId::new("linear-grad-input", format!("{inp}x{out}")), |bencher| {
            bencher.iter(|| linear_grad_input(black_box(&dy), &w, TOKENS, inp, out, &mut dx));
        });
        group.bench_function(BenchmarkId::new("linear-grad-weight", format!("{inp}x{out}")), |bencher| {
            bencher.iter(|| linear_grad_weight(black_box(&dy), &x, TOKENS, inp, out, &mut dw));
        });
    }
    group.finish();
}

fn attentions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("attention");
    for (heads, head_dim, length) in [(12, 32, 32), (12, 32, 128), (12, 64, 32), (12, 64, 128)] {
        let width = heads * head_dim;
        let offsets: Vec<usize> = (0..=TOKENS / length).map(|index| index * length).collect();
        let shape = AttentionShape { offsets: &offsets, heads, head_dim, scale: 0.125, causal: false };
        let merged = values(TOKENS * 3 * width);
        let part = |n: usize| Rows { values: &merged[n * width..], stride: 3 * width };
        let (mut context, mut scratch) = (vec![0.0; TOKENS * width], Scratch::new());
        let case = format!("{heads}x{head_dim}, {length} tokens");
        group.throughput(Throughput::Elements(4 * (TOKENS * length * width) as u64));
        group.bench_function(BenchmarkId::new("rows", &case), |bencher| {
            bencher.iter(|| attention_rows(black_box(part(0)), part(1), part(2), shape, &mut scratch, Output::Floats(&mut context)));
        });
        let (q, dout) = (values(TOKENS * width), values(TOKENS * width));
        group.bench_function(BenchmarkId::new("forward", &case), |bencher| {
            bencher.iter(|| attention(black_box(&q), &q, &q, shape, None, &mut context));
        });
        let (mut dq, mut dk, mut dv) = (vec![0.0; TOKENS * width], vec![0.0; TOKENS * width], vec![0.0; TOKENS * width]);
        group.bench_function(BenchmarkId::new("backward", &case), |bencher| {
            bencher.iter(|| attention_grad(black_box(&q), &q, &q, &dout, shape, None, &mut dq, &mut dk, &mut dv));
        });
    }
    group.finish();
}

fn rows(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rows");
    for width in [384, 768] {
        let (x, dy, gain, bias) = (values(TOKENS * width), values(TOKENS * width), values(width), values(width));
        let (mut y, mut dgain, mut dbias) = (vec![0.0; TOKENS * width], vec![0.0; width], vec![0.0; width]);
        let indices: Vec<u32> = (0u32..).map(|index| index * 7_919 % 1_000).take(TOKENS).collect();
        let mut table = values(1_000 * width);
        group.throughput(Throughput::Elements((TOKENS * width) as u64));
        let mut bench = |name: &str, work: &mut dyn FnMut()| {
            group.bench_function(BenchmarkId::new(name, width), |bencher| bencher.iter(&mut *work));
        };
        bench("layer-norm", &mut || layer_norm(black_box(&x), &gain, &bias, 1e-12, &mut y));
        bench("layer-norm-grad", &mut || layer_norm_grad(black_box(&x), &gain, &dy, 1e-12, &mut y, &mut dgain, &mut dbias));
        for kind in [Activation::GeluErf, Activation::GeluTanh, Activation::Tanh] {
            bench(&format!("{kind:?}"), &mut || activation(kind, black_box(&x), &mut y));
            bench(&format!("{kind:?}-grad"), &mut || activation_grad(kind, black_box(&x), &dy, &mut y));
        }
        bench("dropout", &mut || dropout(black_box(&x), Dropout { p: 0.1, seed: 1, stream: 1 }, &mut y));
        bench("log-softmax", &mut || log_softmax(black_box(&x), width, &mut y));
        bench("gather", &mut || gather_rows(black_box(&table), width, &indices, &mut y));
        bench("scatter-add", &mut || scatter_add_rows(black_box(&dy), width, &indices, &mut table));
    }
    group.finish();
}

criterion_group!(benches, products, attentions, rows);
criterion_main!(benches);
