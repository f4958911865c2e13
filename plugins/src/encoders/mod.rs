//! Language models.

pub mod bert;
pub mod biobert;
pub mod biogpt;
pub mod distilbert;
pub mod gpt2;
pub mod linkbert;
pub mod roberta;
