//! Language models.

pub mod bert;
