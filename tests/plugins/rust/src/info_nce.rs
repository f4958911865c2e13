//! The symmetric InfoNCE of paired vectors, with its gradient. Plain arithmetic in 64 bits.

/// The loss of `n` pairs, and its gradient with respect to `a` and `b`.
///
/// `a` and `b` are `(n, hidden)`. With the similarities `s[i][j] = a[i] . b[j] / temperature` the loss is the mean of the cross-entropies of the rows and
/// of the columns of `s`, where `i` belongs to `i`.
pub fn info_nce(a: &[f32], b: &[f32], n: usize, hidden: usize, temperature: f64) -> (f64, Vec<f32>, Vec<f32>) {
    let row = |values: &[f32], index: usize| -> Vec<f64> { values[index * hidden..(index + 1) * hidden].iter().map(|&value| f64::from(value)).collect() };
    let a: Vec<Vec<f64>> = (0..n).map(|index| row(a, index)).collect();
    let b: Vec<Vec<f64>> = (0..n).map(|index| row(b, index)).collect();
    let s: Vec<Vec<f64>> = a.iter().map(|a| b.iter().map(|b| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>() / temperature).collect()).collect();
    // The gradient with respect to s is (softmax over the row + softmax over the column - 2 on the diagonal) / 2n.
    let mut slope = vec![vec![0.0; n]; n];
    let mut sum = 0.0;
    for i in 0..n {
        let across = log_sum_exp((0..n).map(|j| s[i][j]));
        let down = log_sum_exp((0..n).map(|j| s[j][i]));
        sum += across - s[i][i] + down - s[i][i];
        for j in 0..n {
            slope[i][j] += (s[i][j] - across).exp();
            slope[j][i] += (s[j][i] - down).exp();
        }
        slope[i][i] -= 2.0;
    }
    let scale = 1.0 / (2.0 * n as f64);
    let (mut grad_a, mut grad_b) = (vec![0.0; n * hidden], vec![0.0; n * hidden]);
    for i in 0..n {
        for j in 0..n {
            let weight = slope[i][j] * scale / temperature;
            for k in 0..hidden {
                grad_a[i * hidden + k] += weight * b[j][k];
                grad_b[j * hidden + k] += weight * a[i][k];
            }
        }
    }
    let narrowed = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect();
    (sum * scale, narrowed(grad_a), narrowed(grad_b))
}

/// The logarithm of a sum of exponentials, without overflow.
fn log_sum_exp(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = values.clone().fold(f64::NEG_INFINITY, f64::max);
    largest + values.map(|value| (value - largest).exp()).sum::<f64>().ln()
}
