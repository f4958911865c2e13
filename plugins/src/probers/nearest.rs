//! The nearest candidates of each question, exactly: products of 32 bits find who can matter, differences of 64 bits decide.
//!
//! Questions and candidates meet in blocks, so scores are never all in memory, and what is looked for is taken from a block while it is in the cache.

use lmprobe_core::schemars::JsonSchema;
use lmprobe_core::serde::{Deserialize, Serialize};
use lmprobe_kernels::{Epilogue, PackedLinear, Precision, Scratch};
use rayon::prelude::*;

use super::ranking::KEPT;

/// How near two vectors are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(crate = "lmprobe_core::serde", rename_all = "kebab-case")]
#[schemars(crate = "lmprobe_core::schemars")]
pub enum Nearness {
    /// Squared Euclidean distance, negated in the table of scores.
    #[default]
    L2,
    /// Cosine of the angle.
    Cosine,
    /// Inner product.
    Dot,
}

/// Row vectors.
#[derive(Debug)]
pub struct Vectors {
    /// Length of a vector.
    pub width: usize,
    /// `(rows, width)`.
    pub values: Vec<f32>,
}

impl Vectors {
    fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.width..][..self.width]
    }
}

/// Candidates of a block: their vectors stay in the second-level cache for a few questions.
const CANDIDATES_A_BLOCK: usize = 1_024;

/// Questions one thread takes at a time.
const QUESTIONS_A_TASK: usize = 96;

/// Scores looked at together.
const GROUP: usize = 64;

/// Products of 32 bits are trusted up to this share of the largest possible one; whatever is nearer is decided in 64 bits. A sum of `n` products is off by at
/// most `n` times 2^-24 of it, so this is enough for vectors of up to 1 600 numbers in the worst case and of any length in practice.
const MARGIN: f64 = 1e-4;

/// What a question got.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The rank of its first right candidate, from 1; empty if it has none.
    pub rank: Option<u64>,
    /// The first candidates and their scores, best first; of equal scores the lower index first.
    pub best: Vec<(usize, f64)>,
}

/// The candidates of one pool, ready for search.
pub struct Index<'a> {
    vectors: &'a Vectors,
    /// The vector of each candidate.
    rows: &'a [usize],
    metric: Nearness,
    /// Subtracted from both sides: distances stay, and 32-bit products of vectors around their mean lose far less.
    centre: Vec<f32>,
    /// The candidates around the centre. With L2 the bias is minus half of a candidate's squared length, so that what comes out is in the order of the distance.
    blocks: Vec<PackedLinear>,
    /// The largest squared length of them.
    largest: f64,
}

impl<'a> Index<'a> {
    /// Candidates are `vectors` at `rows`, in this order.
    pub fn new(vectors: &'a Vectors, rows: &'a [usize], metric: Nearness) -> Self {
        let width = vectors.width;
        let mut centre = vec![0.0f64; width];
        if metric == Nearness::L2 {
            for &row in rows {
                centre.iter_mut().zip(vectors.row(row)).for_each(|(sum, &value)| *sum += f64::from(value));
            }
        }
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a mean of f32 vectors, used on both sides alike")]
        let centre: Vec<f32> = centre.iter().map(|sum| (sum / rows.len().max(1) as f64) as f32).collect();
        let packed = |rows: &[usize]| {
            let shifted: Vec<f32> = rows.iter().flat_map(|&row| shift(vectors.row(row), &centre, metric)).collect();
            let squares: Vec<f64> = shifted.chunks_exact(width.max(1)).map(square).collect();
            #[expect(clippy::cast_possible_truncation, reason = "an approximate score")]
            let bias: Option<Vec<f32>> = (metric == Nearness::L2).then(|| squares.iter().map(|square| (-square / 2.0) as f32).collect());
            let layer = PackedLinear::new(&shifted, bias.as_deref(), rows.len(), width, Precision::F32);
            (layer, squares.into_iter().fold(0.0, f64::max))
        };
        let (blocks, squares): (Vec<PackedLinear>, Vec<f64>) = rows.par_chunks(CANDIDATES_A_BLOCK).map(packed).unzip();
        let largest = squares.into_iter().fold(0.0, f64::max);
        Self { vectors, rows, metric, centre, blocks, largest }
    }

    /// The answers to the questions whose vectors are `questions` at `rows`; `golds` are the right candidates of each.
    pub fn search(&self, questions: &Vectors, rows: &[usize], golds: &[Vec<usize>]) -> Vec<Answer> {
        let tasks = rows.par_chunks(QUESTIONS_A_TASK).zip(golds.par_chunks(QUESTIONS_A_TASK));
        tasks.map(|(rows, golds)| self.search_together(questions, rows, golds)).collect::<Vec<_>>().concat()
    }

    /// A few questions on one thread.
    fn search_together(&self, questions: &Vectors, rows: &[usize], golds: &[Vec<usize>]) -> Vec<Answer> {
        let shifted: Vec<f32> = rows.iter().flat_map(|&row| shift(questions.row(row), &self.centre, self.metric)).collect();
        let mut hunts: Vec<Hunt> = rows
            .iter()
            .zip(shifted.chunks(questions.width.max(1)))
            .zip(golds)
            .map(|((&row, shifted), golds)| self.hunt(questions.row(row), square(shifted), golds))
            .collect();
        let (mut scratch, mut scores) = (Scratch::new(), vec![0.0; rows.len() * CANDIDATES_A_BLOCK.min(self.rows.len())]);
        for (number, block) in self.blocks.iter().enumerate() {
            let scores = &mut scores[..rows.len() * block.out()];
            block.apply(&shifted, rows.len(), Epilogue::None, &mut scratch, scores); // (questions, hidden) x (hidden, candidates)
            for (hunt, scores) in hunts.iter_mut().zip(scores.chunks_exact(block.out())) {
                hunt.look(scores, number * CANDIDATES_A_BLOCK);
            }
        }
        hunts.into_iter().zip(rows).map(|(hunt, &row)| self.answer(hunt, questions.row(row))).collect()
    }

    /// What is looked for, in units of the approximate scores.
    fn hunt(&self, question: &[f32], square: f64, golds: &[usize]) -> Hunt {
        let gold = golds.iter().map(|&gold| (gold, self.exact(question, gold))).reduce(|best, gold| if before(gold, best) { gold } else { best });
        // `2 p - |q|^2 - |c|^2` is the score with L2, and `p - |c|^2 / 2` is what comes out of a block.
        let (approximate, scale): (&dyn Fn(f64) -> f64, f64) = match self.metric {
            Nearness::L2 => (&|score| f64::midpoint(score, square), f64::midpoint(square, self.largest)),
            Nearness::Cosine => (&|score| score, 1.0),
            Nearness::Dot => (&|score| score, (square * self.largest).sqrt()),
        };
        #[expect(clippy::cast_possible_truncation, reason = "far below the margin")]
        let narrow = |value: f64| value as f32;
        let around = gold.map_or((f32::INFINITY, f32::INFINITY), |gold| {
            let gold = approximate(gold.1);
            (narrow(gold - MARGIN * scale), narrow(gold + MARGIN * scale))
        });
        Hunt { gold, around, ahead: 0, near: Vec::new(), margin: narrow(MARGIN * scale), floor: f32::NEG_INFINITY, kept: Vec::new(), room: 4 * GROUP }
    }

    /// Ranks exactly what the approximate scores leave open.
    fn answer(&self, mut hunt: Hunt, question: &[f32]) -> Answer {
        let rank = hunt.gold.map(|gold| {
            let near = hunt.near.iter().filter(|&&candidate| candidate != gold.0 && before((candidate, self.exact(question, candidate)), gold));
            hunt.ahead + near.count() as u64 + 1
        });
        hunt.sift();
        let mut best: Vec<(usize, f64)> = hunt.kept.iter().map(|&(candidate, _)| (candidate, self.exact(question, candidate))).collect();
        best.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        best.truncate(KEPT);
        Answer { rank, best }
    }

    /// The score in 64 bits from the vectors as the encoder gave them.
    fn exact(&self, question: &[f32], candidate: usize) -> f64 {
        let candidate = self.vectors.row(self.rows[candidate]);
        let pairs = question.iter().zip(candidate).map(|(&a, &b)| (f64::from(a), f64::from(b)));
        match self.metric {
            Nearness::L2 => -pairs.map(|(a, b)| (a - b) * (a - b)).sum::<f64>(),
            Nearness::Dot => pairs.map(|(a, b)| a * b).sum(),
            Nearness::Cosine => {
                let (mut product, mut question, mut candidate) = (0.0, 0.0, 0.0);
                for (a, b) in pairs {
                    product += a * b;
                    question += a * a;
                    candidate += b * b;
                }
                // A vector of length 0 points nowhere.
                if question * candidate > 0.0 { product / (question.sqrt() * candidate.sqrt()) } else { 0.0 }
            }
        }
    }
}

/// What one question has found so far.
struct Hunt {
    /// Its best right candidate and the exact score of that.
    gold: Option<(usize, f64)>,
    /// Approximate scores between these two may be on either side of the gold.
    around: (f32, f32),
    /// Candidates that are certainly ahead of the gold.
    ahead: u64,
    /// Candidates that may be ahead of it.
    near: Vec<usize>,
    margin: f32,
    /// What is below this is certainly not among the best.
    floor: f32,
    /// Who may be among the best.
    kept: Vec<(usize, f32)>,
    /// How many are kept before they are sifted.
    room: usize,
}

impl Hunt {
    /// Takes what matters from the approximate scores of a block that begins with candidate `first`.
    fn look(&mut self, scores: &[f32], first: usize) {
        let (low, high) = self.around;
        for (number, group) in scores.chunks(GROUP).enumerate() {
            let first = first + number * GROUP;
            // Counting compiles to comparisons of whole vectors; hardly any group has to be looked at one by one.
            let (mut above, mut reaching, mut good) = (0u32, 0u32, 0u32);
            for &score in group {
                above += u32::from(score > high);
                reaching += u32::from(score >= low);
                good += u32::from(score >= self.floor);
            }
            self.ahead += u64::from(above);
            if reaching > above {
                self.near.extend(group.iter().enumerate().filter(|(_, score)| (low..=high).contains(*score)).map(|(index, _)| first + index));
            }
            if good > 0 {
                let floor = self.floor;
                self.kept.extend(group.iter().enumerate().filter(|(_, score)| **score >= floor).map(|(index, score)| (first + index, *score)));
                if self.kept.len() >= self.room {
                    self.sift();
                    self.room = (2 * self.kept.len()).max(4 * GROUP);
                }
            }
        }
    }

    /// Lets go of whoever cannot be among the best any more.
    fn sift(&mut self) {
        if self.kept.len() > KEPT {
            let (_, &mut (_, last), _) = self.kept.select_nth_unstable_by(KEPT - 1, |a, b| b.1.total_cmp(&a.1));
            // Both may be off by the margin.
            self.floor = last - 2.0 * self.margin;
            let floor = self.floor;
            self.kept.retain(|&(_, score)| score >= floor);
        }
    }
}

/// Whether the first candidate with its score comes before the second.
fn before(a: (usize, f64), b: (usize, f64)) -> bool {
    a.1 > b.1 || (a.1 >= b.1 && a.0 < b.0)
}

fn square(vector: &[f32]) -> f64 {
    vector.iter().map(|&value| f64::from(value) * f64::from(value)).sum()
}

/// A vector as the 32-bit products take it: around the centre, or of length 1 for the cosine.
fn shift(vector: &[f32], centre: &[f32], metric: Nearness) -> Vec<f32> {
    match metric {
        Nearness::L2 => vector.iter().zip(centre).map(|(value, centre)| value - centre).collect(),
        Nearness::Dot => vector.to_vec(),
        Nearness::Cosine => {
            let length = square(vector).sqrt();
            #[expect(clippy::cast_possible_truncation, reason = "unit vectors are f32")]
            let unit = |value: &f32| if length > 0.0 { (f64::from(*value) / length) as f32 } else { 0.0 };
            vector.iter().map(unit).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four candidates on a line and one question, all of width 2.
    fn search(metric: Nearness, question: [f32; 2], golds: &[usize]) -> (Option<u64>, Vec<usize>) {
        let vectors = Vectors { width: 2, values: vec![1.0, 0.0, 2.0, 0.0, 3.0, 3.0, 2.0, 0.0] };
        let questions = Vectors { width: 2, values: question.to_vec() };
        let answer = Index::new(&vectors, &[0, 1, 2, 3], metric).search(&questions, &[0], &[golds.to_vec()]).remove(0);
        (answer.rank, answer.best.iter().map(|best| best.0).collect())
    }

    #[test]
    fn nearest_first_and_ties_by_index() {
        let (rank, order) = search(Nearness::L2, [1.9, 0.0], &[3]);
        assert_eq!(order, [1, 3, 0, 2]); // squared distances 0.01, 0.01, 0.81, 10.21
        assert_eq!(rank, Some(2)); // the equal candidate 1 comes first
        assert_eq!(search(Nearness::Dot, [1.0, 0.0], &[0]), (Some(4), vec![2, 1, 3, 0])); // products 3, 2, 2, 1
        assert_eq!(search(Nearness::Cosine, [1.0, 1.0], &[2, 0]), (Some(1), vec![2, 0, 1, 3])); // cosines 1, 0.71, 0.71, 0.71
    }

    #[test]
    fn a_question_without_a_right_candidate_has_no_rank() {
        assert_eq!(search(Nearness::L2, [0.0, 0.0], &[]).0, None);
    }

    #[test]
    fn no_candidates_give_no_answer() {
        let (vectors, questions) = (Vectors { width: 2, values: vec![] }, Vectors { width: 2, values: vec![1.0, 2.0] });
        let answers = Index::new(&vectors, &[], Nearness::L2).search(&questions, &[0], &[vec![]]);
        assert_eq!(answers, [Answer { rank: None, best: vec![] }]);
    }

    /// Vectors far from the origin and near to each other; every third one is there several times.
    fn drawn(n: usize, seed: u64) -> Vectors {
        let mut random = lmprobe_core::Seed(seed).random();
        #[expect(clippy::cast_possible_truncation, reason = "test vectors")]
        let mut values: Vec<f32> = (0..8 * n).map(|_| (random.normal() + 30.0) as f32).collect();
        for row in (3..n).step_by(3) {
            values.copy_within(0..8, row * 8);
        }
        Vectors { width: 8, values }
    }

    #[test]
    fn ranks_agree_with_a_full_sort_in_64_bits() {
        let n = 2 * CANDIDATES_A_BLOCK + 100;
        let (vectors, mut questions) = (drawn(n, 5), drawn(QUESTIONS_A_TASK + 9, 6));
        // One question is a candidate itself, of which there are hundreds.
        questions.values[8..16].copy_from_slice(vectors.row(0));
        let all: Vec<usize> = (0..n).collect();
        for metric in [Nearness::L2, Nearness::Cosine, Nearness::Dot] {
            let index = Index::new(&vectors, &all, metric);
            let rows: Vec<usize> = (0..QUESTIONS_A_TASK + 9).collect();
            let golds: Vec<Vec<usize>> = rows.iter().map(|&row| vec![row * 7, n - 1 - row]).collect();
            for (row, answer) in index.search(&questions, &rows, &golds).into_iter().enumerate() {
                let mut order: Vec<(usize, f64)> = (0..n).map(|candidate| (candidate, index.exact(questions.row(row), candidate))).collect();
                order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
                let rank = order.iter().position(|(candidate, _)| golds[row].contains(candidate)).unwrap() as u64 + 1;
                assert_eq!(answer.rank, Some(rank), "{metric:?} {row}");
                assert_eq!(answer.best, order[..KEPT], "{metric:?} {row}");
            }
        }
    }
}
