//! Other people's retries, and this crate's layer, against the quota servers of `benches/pacing/`.
//!
//! `cargo run --release` prints a table in Markdown; names of servers as arguments pick rows.

#[path = "../../pacing/model/mod.rs"]
#[allow(dead_code)] // `benches/pacing/` uses all of it
mod model;
mod peer;

use std::{env, io};

use model::{
    figures::Figures,
    run::Job,
    scenario::{self, Group, Scenario},
};
use peer::Peer;

fn main() -> io::Result<()> {
    let peers = peer::all();
    for peer in &peers {
        println!(
            "- **{}**: {}, {}",
            peer.name,
            version(peer.package),
            peer.settings
        );
    }
    println!("\n| server | C | {} |", names(&peers).join(" | "));
    println!("|---|--:|{}", "---|".repeat(peers.len()));
    for scenario in scenarios() {
        for workers in [10, 100, 1000] {
            let verdicts: Vec<String> = peers
                .iter()
                .map(|peer| Ok(verdict(&peer.run(&scenario, Job::of(workers), SEED)?)))
                .collect::<io::Result<_>>()?;
            let name = &scenario.name;
            println!("| {name} | {workers} | {} |", verdicts.join(" | "));
        }
    }
    Ok(())
}

/// Those that every client should manage, and of them those that were asked for.
fn scenarios() -> impl Iterator<Item = Scenario> {
    let wanted: Vec<String> = env::args().skip(1).collect();
    scenario::all().into_iter().filter(move |scenario| {
        let is_wanted = |part: &String| scenario.name.contains(part.as_str());
        scenario.group == Group::Usual && (wanted.is_empty() || wanted.iter().any(is_wanted))
    })
}

fn names(peers: &[Peer]) -> Vec<&'static str> {
    peers.iter().map(|peer| peer.name).collect()
}

/// How many failed, or else how often the least time it took, and how often it was refused.
fn verdict(figures: &Figures) -> String {
    if figures.failed > 0 {
        return format!(
            "{} failed · {:.2}",
            figures.failed,
            figures.refused_per_ok()
        );
    }
    let (slowdown, refused) = (figures.slowdown(), figures.refused_per_ok());
    if refused < 1.0 {
        format!("{slowdown:.3} · {refused:.3}")
    } else {
        format!("{slowdown:.3} · {refused:.1}")
    }
}

/// The package and its version, as they stand in the lock file.
fn version(package: &str) -> String {
    let name = format!("name = \"{package}\"");
    let mut lines = include_str!("../Cargo.lock").lines();
    lines.find(|line| *line == name);
    let version = lines.next().and_then(|line| line.split('"').nth(1));
    format!("{package} {}", version.unwrap_or("of unknown version"))
}

const SEED: u64 = 1;
