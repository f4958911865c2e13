//! Times the kernels at the sizes of a small encoder: `cargo run --release -p lmprobe-kernels --example speed`.
#![expect(clippy::cast_precision_loss, clippy::many_single_char_names, reason = "sizes become rates, and x, y, q, k and v are the names the formulas use")]

use std::hint::black_box;
use std::time::Instant;

use lmprobe_kernels::{
    Activation, AttentionShape, Dropout, activation, activation_grad, attention, attention_grad, dropout, layer_norm, layer_norm_grad, linear,
    linear_grad_input, linear_grad_weight, log_softmax, simd, sum_rows,
};

/// Prints the fastest and the median of some repetitions, and how many billion operations a second the fastest does.
fn time(name: &str, operations: usize, mut work: impl FnMut()) {
    work();
    let mut times: Vec<f64> = (0..25)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let rate = operations as f64 / times[0] / 1e9;
    println!("{name:<34} {:>8.3} ms, median {:>8.3} ms, {rate:>7.1} G/s", times[0] * 1e3, times[times.len() / 2] * 1e3);
}

fn values(length: usize) -> Vec<f32> {
    (0..length).map(|i| ((i * 7919 % 2003) as f32) / 1000.0 - 1.0).collect()
}

fn main() {
    println!("{}, {} threads", simd(), rayon::current_num_threads());
    let (rows, inp, out) = (4096, 384, 1536);
    let (x, w, b, dy) = (values(rows * inp), values(out * inp), values(out), values(rows * out));
    let (mut y, mut dx, mut dw, mut db) = (vec![0.0; rows * out], vec![0.0; rows * inp], vec![0.0; out * inp], vec![0.0; out]);
    let products = 2 * rows * inp * out;
    time("linear 4096x384x1536", products, || linear(&x, &w, Some(&b), rows, inp, out, black_box(&mut y)));
    time("linear_grad_input", products, || linear_grad_input(&dy, &w, rows, inp, out, black_box(&mut dx)));
    time("linear_grad_weight", products, || linear_grad_weight(&dy, &x, rows, inp, out, black_box(&mut dw)));
    time("sum_rows 4096x1536", rows * out, || sum_rows(&dy, out, black_box(&mut db)));
    for kind in [Activation::GeluErf, Activation::GeluTanh, Activation::Relu, Activation::Tanh] {
        time(&format!("{kind:?} 4096x1536"), rows * out, || activation(kind, &dy, black_box(&mut y)));
        let x = dy.clone();
        time(&format!("{kind:?} gradient"), rows * out, || activation_grad(kind, &x, &dy, black_box(&mut y)));
    }
    let d = Dropout { p: 0.1, seed: 1, stream: 2 };
    time("dropout 4096x384", rows * inp, || dropout(&x, d, black_box(&mut dx)));
    let (gain, bias) = (values(inp), values(inp));
    let (mut dgain, mut dbias) = (vec![0.0; inp], vec![0.0; inp]);
    time("layer_norm 4096x384", rows * inp, || layer_norm(&x, &gain, &bias, 1e-12, black_box(&mut dx)));
    time("layer_norm gradient", rows * inp, || {
        layer_norm_grad(&x, &gain, &x, 1e-12, black_box(&mut dx), &mut dgain, &mut dbias);
    });
    time("log_softmax 512x30522", 512 * 30_522, {
        let x = values(512 * 30_522);
        let mut y = vec![0.0; x.len()];
        move || log_softmax(&x, 30_522, black_box(&mut y))
    });

    for tokens in [30, 512] {
        let count = if tokens == 30 { 128 } else { 8 };
        let offsets: Vec<usize> = (0..=count).map(|s| s * tokens).collect();
        let shape = AttentionShape { offsets: &offsets, heads: 12, head_dim: 32, scale: 0.2, causal: false };
        let length = count * tokens * 384;
        let (q, k, v, dout) = (values(length), values(length), values(length), values(length));
        let (mut o, mut dq, mut dk, mut dv) = (vec![0.0; length], vec![0.0; length], vec![0.0; length], vec![0.0; length]);
        let products = 2 * count * tokens * tokens * 384;
        for d in [None, Some(d)] {
            let name = format!("attention {count}x{tokens}x12x32{}", if d.is_some() { " dropout" } else { "" });
            time(&name, 2 * products, || attention(&q, &k, &v, shape, d, black_box(&mut o)));
            time("  gradient", 5 * products, || {
                attention_grad(&q, &k, &v, &dout, shape, d, black_box(&mut dq), &mut dk, &mut dv);
            });
        }
    }
}
