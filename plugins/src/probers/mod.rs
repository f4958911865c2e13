//! Ways of asking, and the baselines that ask no model.

pub mod candidate_groups;
pub mod contrastive;
pub mod fill_mask;
pub mod frequency_prior;
pub(crate) mod head_answers;
pub(crate) mod labelled_predictions;
pub mod majority;
pub mod nearest;
pub mod query;
pub mod random_ranking;
pub(crate) mod ranking;
pub mod task_head;
