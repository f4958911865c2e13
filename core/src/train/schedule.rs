//! Learning rates over the steps.

use super::params::{Schedule, TrainingParams};

impl TrainingParams {
    /// The learning rate of optimiser step `step` (from 0) of `total`: a linear warm-up, then the schedule, as
    /// `transformers.get_scheduler` computes it.
    #[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53")]
    pub fn learning_rate_at(&self, step: u64, total: u64) -> f64 {
        if step < self.warmup_steps {
            return self.learning_rate * step as f64 / self.warmup_steps.max(1) as f64;
        }
        let (done, left) = ((step - self.warmup_steps) as f64, total.saturating_sub(self.warmup_steps).max(1) as f64);
        self.learning_rate
            * match self.schedule {
                Schedule::Constant => 1.0,
                Schedule::Linear => ((left - done) / left).max(0.0),
                Schedule::Cosine => (0.5 * (1.0 + (std::f64::consts::PI * done / left).cos())).max(0.0),
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
    fn schedules_are_those_of_transformers() {
        assert_eq!(rates(Schedule::Constant), [0.0, 4.0, 8.0, 8.0, 8.0, 8.0]);
        assert_eq!(rates(Schedule::Linear), [0.0, 4.0, 8.0, 6.0, 4.0, 2.0]); // 4, 3, 2, 1 quarters of 8
        let cosine = rates(Schedule::Cosine);
        assert!((cosine[4] - 4.0).abs() < 1e-12, "half-way down the cosine: {cosine:?}");
    }
}
