//! How long a request is under way.

use std::time::Duration;

/// A latency in total, half of it before the server decides and half after.
///
/// In whole milliseconds, because tokio's timers know no less: of 5 ms, 2 are before and 3 after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Latency {
    Constant {
        millis: u64,
    },
    /// Log-normal: the 99th percentile is ten times the median.
    Varying {
        median_millis: u64,
    },
}

impl Latency {
    /// The way there, and the way back.
    pub fn draw(self, rng: &mut fastrand::Rng) -> (Duration, Duration) {
        let millis = match self {
            Latency::Constant { millis } => millis,
            Latency::Varying { median_millis } => {
                (median_millis as f64 * (SIGMA * normal(rng)).exp()).round() as u64
            }
        };
        let there = millis / 2;
        (
            Duration::from_millis(there),
            Duration::from_millis(millis - there),
        )
    }
}

/// Standard normal, by Box and Muller.
fn normal(rng: &mut fastrand::Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.f64()).cos()
}

/// ln 10 ÷ 2.3263, the standard normal's 99th percentile.
const SIGMA: f64 = 0.989_78;
