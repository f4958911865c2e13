//! Runs every kernel on arbitrary shapes, on each instruction set of this processor, and compares them: what one of them reads or writes beyond a slice is found by
//! AddressSanitizer, what it leaves out by the comparison.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lmprobe_kernels::{
    Activation, AttentionShape, Dropout, Epilogue, Output, PackedLinear, Precision, Rows, Scratch, Simd, activation, activation_grad, attention,
    attention_grad, attention_probabilities, attention_rows, dropout, gather_rows, layer_norm, layer_norm_grad, linear, linear_grad_input, linear_grad_weight,
    log_softmax, log_softmax_grad, scatter_add_rows, select_simd, sum_rows,
};

#[derive(Debug, arbitrary::Arbitrary)]
struct Input {
    seed: u32,
    rows: u8,
    inp: u8,
    out: u8,
    heads: u8,
    head_dim: u8,
    lengths: Vec<u8>,
    kind: u8,
    causal: bool,
    bf16: bool,
}

/// Values between -1 and 1.
fn values(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    })
    .take(n)
    .collect()
}

fn linear_kernels(input: &Input, results: &mut Vec<Vec<f32>>) {
    let (rows, inp, out) = (usize::from(input.rows % 32), usize::from(input.inp % 80), usize::from(input.out % 150));
    let (x, w, b, residual) = (values(rows * inp, 1), values(out * inp, 2), values(out, 3), values(rows * out, 4));
    let precision = if input.bf16 { Precision::Bf16 } else { Precision::F32 };
    let layer = PackedLinear::new(&w, Some(&b), out, inp, precision);
    for epilogue in [Epilogue::None, Epilogue::Activation(kind(input)), Epilogue::Residual(&residual)] {
        let mut y = vec![9.0; rows * out];
        layer.apply(&x, rows, epilogue, &mut Scratch::new(), &mut y);
        results.push(y);
    }
    let (mut y, mut dx, mut dw, mut db) = (vec![9.0; rows * out], vec![9.0; rows * inp], vec![9.0; out * inp], vec![9.0; out]);
    linear(&x, &w, Some(&b), rows, inp, out, &mut y);
    linear_grad_input(&residual, &w, rows, inp, out, &mut dx);
    linear_grad_weight(&residual, &x, rows, inp, out, &mut dw);
    sum_rows(&residual, out, &mut db);
    results.extend([y, dx, dw, db]);
}

fn attention_kernels(input: &Input, results: &mut Vec<Vec<f32>>) {
    let (heads, head_dim) = (usize::from(input.heads % 4) + 1, usize::from(input.head_dim % 40) + 1);
    let mut offsets = vec![0];
    for length in input.lengths.iter().take(4) {
        offsets.push(offsets[offsets.len() - 1] + usize::from(length % 70));
    }
    let (tokens, width) = (offsets[offsets.len() - 1], heads * head_dim);
    let shape = AttentionShape { offsets: &offsets, heads, head_dim, scale: 0.25, causal: input.causal };
    let merged = values(tokens * 3 * width, 5);
    let part = |n: usize| -> Vec<f32> { merged.chunks_exact(3 * width).flat_map(|row| &row[n * width..(n + 1) * width]).copied().collect() };
    let (q, k, v, dout) = (part(0), part(1), part(2), values(tokens * width, 6));
    let strided = |n: usize| Rows { values: merged.get(n * width..).unwrap_or_default(), stride: 3 * width };
    let mut context = vec![9.0; tokens * width];
    attention_rows(strided(0), strided(1), strided(2), shape, &mut Scratch::new(), Output::Floats(&mut context));
    results.push(context.clone());
    let dropped = Dropout { p: 0.25, seed: u64::from(input.seed), stream: 1 };
    for dropout in [None, Some(dropped)] {
        attention(&q, &k, &v, shape, dropout, &mut context);
        let (mut dq, mut dk, mut dv) = (context.clone(), context.clone(), context.clone());
        attention_grad(&q, &k, &v, &dout, shape, dropout, &mut dq, &mut dk, &mut dv);
        results.extend([context.clone(), dq, dk, dv]);
    }
    results.extend(attention_probabilities(&q, &k, shape));
}

fn row_kernels(input: &Input, results: &mut Vec<Vec<f32>>) {
    let (rows, width) = (usize::from(input.rows % 32), usize::from(input.inp) + 1);
    let (x, dy, gain, bias) = (values(rows * width, 7), values(rows * width, 8), values(width, 9), values(width, 10));
    let y = || vec![9.0; rows * width];
    let (mut normed, mut dx, mut dgain, mut dbias) = (y(), y(), vec![9.0; width], vec![9.0; width]);
    layer_norm(&x, &gain, &bias, 0.1, &mut normed);
    layer_norm_grad(&x, &gain, &dy, 0.1, &mut dx, &mut dgain, &mut dbias);
    results.extend([normed, dx, dgain, dbias]);
    let (mut activated, mut slope, mut dropped, mut logs, mut dlogs) = (y(), y(), y(), y(), y());
    activation(kind(input), &x, &mut activated);
    activation_grad(kind(input), &x, &dy, &mut slope);
    dropout(&x, Dropout { p: 0.5, seed: u64::from(input.seed), stream: 2 }, &mut dropped);
    log_softmax(&x, width, &mut logs);
    log_softmax_grad(&logs, &dy, width, &mut dlogs);
    results.extend([activated, slope, dropped, logs, dlogs]);
    if rows > 0 {
        let indices: Vec<u32> = input.lengths.iter().take(50).map(|&index| u32::from(index) % rows as u32).collect();
        let (mut gathered, mut table) = (vec![9.0; indices.len() * width], y());
        gather_rows(&x, width, &indices, &mut gathered);
        scatter_add_rows(&gathered, width, &indices, &mut table);
        results.extend([gathered, table]);
    }
}

fn kind(input: &Input) -> Activation {
    [Activation::GeluErf, Activation::GeluTanh, Activation::Relu, Activation::Tanh][usize::from(input.kind % 4)]
}

fuzz_target!(|input: Input| {
    let mut expected: Option<Vec<Vec<f32>>> = None;
    for simd in Simd::supported() {
        select_simd(simd.name()).expect("it is supported");
        let mut results = Vec::new();
        linear_kernels(&input, &mut results);
        attention_kernels(&input, &mut results);
        row_kernels(&input, &mut results);
        let expected = expected.get_or_insert_with(|| results.clone());
        for (number, (found, wanted)) in results.iter().zip(expected.iter()).enumerate() {
            assert_eq!(found.len(), wanted.len());
            let largest = wanted.iter().fold(1.0f32, |largest, value| largest.max(value.abs()));
            for (place, (found, wanted)) in found.iter().zip(wanted).enumerate() {
                assert!((found - wanted).abs() <= 1e-4 * largest, "{simd}: result {number} at {place} is {found}, not {wanted}");
            }
        }
    }
});
