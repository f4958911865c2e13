//! Learning rates over the steps.

use super::params::{Schedule, TrainingParams};

impl TrainingParams {
    /// The learning rate of optimiser step `step` (from 0) of `total`: a linear warm-up, then the schedule, as
    /// `transformers.get_scheduler` computes it.
    #[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
    pub fn learning_rate_at(&self, step: u64, total: u64) -> f64 {
        let warmup = self.warmup(total);
        if step < warmup {
            return self.learning_rate * step as f64 / warmup.max(1) as f64;
        }
        let (done, left) = ((step - warmup) as f64, total.saturating_sub(warmup).max(1) as f64);
        self.learning_rate
            * match self.schedule {
                Schedule::Constant => 1.0,
                Schedule::Linear => ((left - done) / left).max(0.0),
                Schedule::Cosine => (0.5 * (1.0 + (std::f64::consts::PI * done / left).cos())).max(0.0),
                Schedule::Bert => (1.0 - step as f64 / total.max(1) as f64).max(0.0),
            }
    }

    /// Optimiser steps of warm-up.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of steps that are far below 2^53")]
    fn warmup(&self, total: u64) -> u64 {
        match (self.warmup_share, self.schedule) {
            (None, _) => self.warmup_steps,
            (Some(share), Schedule::Bert) => (total as f64 * share).floor() as u64,
            (Some(share), _) => (total as f64 * share).ceil() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(schedule: Schedule) -> Vec<f64> {
        let params = TrainingParams { learning_rate: 8.0, warmup_steps: 2, schedule, ..TrainingParams::default() };
        (0..6).map(|step| params.learning_rate_at(step, 6)).collect()
    }

    #[test]
    fn the_schedule_of_the_original_bert_drops_at_the_end_of_the_warm_up() {
        assert_eq!(rates(Schedule::Bert), [0.0, 4.0, 8.0 * (1.0 - 2.0 / 6.0), 4.0, 8.0 * (1.0 - 4.0 / 6.0), 8.0 * (1.0 - 5.0 / 6.0)]);
    }

    #[test]
    fn a_share_of_the_steps_is_rounded_up_but_down_by_the_original_bert() {
        let params = TrainingParams { warmup_share: Some(0.1), ..TrainingParams::default() };
        assert_eq!((params.warmup(25), TrainingParams { schedule: Schedule::Bert, ..params }.warmup(1_983)), (3, 198));
    }

    #[test]
    fn schedules_are_those_of_transformers() {
        assert_eq!(rates(Schedule::Constant), [0.0, 4.0, 8.0, 8.0, 8.0, 8.0]);
        assert_eq!(rates(Schedule::Linear), [0.0, 4.0, 8.0, 6.0, 4.0, 2.0]); // 4, 3, 2, 1 quarters of 8
        let cosine = rates(Schedule::Cosine);
        assert!((cosine[4] - 4.0).abs() < 1e-12, "half-way down the cosine: {cosine:?}");
    }
}
