//! What backoff and jitter do to clients that compete for one row: the table of the simulator behind
//! "Exponential Backoff And Jitter" (AWS, 2015), with this crate's delays.
//!
//! `cargo bench --bench backoff` prints the table beside the figures of the original program, and writes
//! all figures and a plot to `target/backoff/`; with `-- --save` it writes the plot to
//! `benches/backoff/plots/` too. Time is simulated: the same seed gives the same figures anywhere.

mod plot;
mod simulator;

use std::{env, error::Error, fmt::Write, fs, path::Path};

use simulator::{Means, Policy, simulate};

/// One row of the table: what each policy needed with so many clients.
struct Row {
    clients: u32,
    means: [Means; POLICIES.len()],
}

fn main() -> Result<(), Box<dyn Error>> {
    let rows: Vec<Row> = (10..=190).step_by(10).map(row).collect();
    print(&rows);

    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = here.join("target/backoff");
    fs::create_dir_all(&target)?;
    fs::write(target.join("backoff.csv"), csv(&rows)?)?;
    plot::draw(&target.join("backoff.svg"), &rows)?;
    println!("\nAll figures and the plot are in {}.", target.display());
    if env::args().any(|argument| argument == "--save") {
        let plots = here.join("benches/backoff/plots");
        fs::create_dir_all(&plots)?;
        plot::draw(&plots.join("backoff.svg"), &rows)?;
        println!("The plot is in {} too.", plots.display());
    }
    Ok(())
}

fn row(clients: u32) -> Row {
    let means = POLICIES.map(|(_, policy)| simulate(policy, clients, TRIALS, SEED));
    Row { clients, means }
}

fn print(rows: &[Row]) {
    println!("Means of {TRIALS} trials: calls / ms, and how far each is from the original's.\n");
    print!("{:>4}", "N");
    for (name, _) in POLICIES {
        print!("  {name:>28}");
    }
    println!();
    for row in rows {
        print!("{:>4}", row.clients);
        let reference = REFERENCE
            .iter()
            .find(|(clients, _)| *clients == row.clients)
            .map(|(_, figures)| figures);
        for (n, means) in row.means.iter().enumerate() {
            let figures = format!("{:.0} / {}", means.calls, means.time.as_millis());
            let deviations = reference.map_or_else(String::new, |reference| {
                let (calls, millis) = reference[n];
                format!(
                    "{:+.1} / {:+.1} %",
                    100.0 * (means.calls / calls - 1.0),
                    100.0 * (means.time.as_secs_f64() * 1000.0 / millis - 1.0),
                )
            });
            print!("  {figures:>13} {deviations:>14}");
        }
        println!();
    }
}

fn csv(rows: &[Row]) -> Result<String, std::fmt::Error> {
    let mut csv = "clients,policy,calls,time_ms\n".to_owned();
    for row in rows {
        for ((name, _), means) in POLICIES.iter().zip(&row.means) {
            let (clients, millis) = (row.clients, means.time.as_millis());
            writeln!(csv, "{clients},{name},{},{millis}", means.calls)?;
        }
    }
    Ok(csv)
}

const POLICIES: [(&str, Policy); 5] = [
    ("none", Policy::Nothing),
    ("exponential", Policy::Exponential),
    ("decorrelated", Policy::Decorrelated),
    ("equal", Policy::Equal),
    ("full", Policy::Full),
];

/// Calls and milliseconds that the original program printed for the policies in this order, unchanged
/// but for running on Python 3; means of 100 trials.
const REFERENCE: [(u32, [(f64, f64); POLICIES.len()]); 5] = [
    (
        10,
        [
            (50., 380.),
            (50., 3447.),
            (37., 435.),
            (42., 685.),
            (39., 467.),
        ],
    ),
    (
        50,
        [
            (692., 1139.),
            (620., 35953.),
            (374., 2159.),
            (347., 4262.),
            (332., 2905.),
        ],
    ),
    (
        100,
        [
            (2423., 2025.),
            (1851., 63107.),
            (999., 4468.),
            (813., 6703.),
            (795., 4962.),
        ],
    ),
    (
        150,
        [
            (5139., 2872.),
            (3511., 84423.),
            (1765., 6624.),
            (1324., 8377.),
            (1318., 6402.),
        ],
    ),
    (
        190,
        [
            (8014., 3540.),
            (5158., 101295.),
            (2438., 7787.),
            (1760., 9461.),
            (1773., 7490.),
        ],
    ),
];

/// As many as the original.
const TRIALS: u32 = 100;
const SEED: u64 = 2015;
