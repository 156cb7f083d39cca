//! What is printed, written and drawn.

pub mod csv;
pub mod pictures;
pub mod plot;
pub mod table;

use crate::model::{figures::Figures, latency::Latency, scenario::Scenario};

/// One client's run of one scenario.
pub struct Row<'a> {
    pub scenario: &'a Scenario,
    pub client: &'static str,
    pub is_ours: bool,
    pub workers: usize,
    pub figures: Figures,
}

impl Row<'_> {
    /// The latency, in words.
    pub fn latency(&self) -> String {
        match self.scenario.settings.latency {
            Latency::Constant { millis } => format!("{millis} ms"),
            Latency::Varying { median_millis } => format!("~{median_millis} ms"),
        }
    }
}
