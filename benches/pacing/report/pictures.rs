//! Which plots there are, and the runs that they show.

use std::{error::Error, io, path::Path};

use plotters::chart::SeriesLabelPosition;

use super::{
    csv,
    plot::{self, BarGroup, Bars, Line, Look, Panel},
};
use crate::{
    client::Client,
    model::{
        figures::Figures,
        ideal,
        run::Job,
        scenario::{self, Scenario},
        server::{hint::Hint, tally::PerSecond},
    },
    trial::storm,
};

/// Draws all of them into a folder.
///
/// # Errors
/// Something cannot be drawn or written.
pub fn draw(folder: &Path, clients: &[Client], seed: u64) -> Result<(), Box<dyn Error>> {
    let completion = [
        completion(
            "window 300/60 s",
            "300 per minute, `Retry-After`",
            clients,
            seed,
        )?,
        completion(
            "bucket 20/s, burst 20, no hint",
            "20 per second, no hint",
            clients,
            seed,
        )?,
    ];
    csv::write(folder, "completion.svg", &plot::panels(&completion)?)?;

    let refused = refused("bucket 20/s, burst 20, no hint", clients, seed)?;
    csv::write(folder, "refused.svg", &plot::bars(&refused)?)?;

    let storms = [
        goodput("an outage of 30 s, no hint", Hint::Absent, clients, seed)?,
        goodput(
            "an outage of 30 s, `Retry-After: 5`",
            Hint::Constant { seconds: 5 },
            clients,
            seed,
        )?,
    ];
    csv::write(folder, "goodput.svg", &plot::panels(&storms)?)?;
    Ok(())
}

/// Requests done over time, beside the ideal.
fn completion(name: &str, title: &str, clients: &[Client], seed: u64) -> io::Result<Panel> {
    let (scenario, job) = (named(name)?, Job::of(1000));
    let mut ideal = PerSecond::default();
    let times = ideal::done_times(&scenario, job.workers, job.requests, seed);
    times.iter().for_each(|at| ideal.count(*at));
    let mut lines = vec![line("the ideal", Look::Ideal, &ideal)];
    for (look, client) in shown(
        clients,
        &["Retry-After, 11", "wait and loop", "AWS adaptive"],
    ) {
        let figures = client.run(&scenario, job, seed)?;
        lines.push(line(client.name, look, &figures.done_per_second));
    }
    let end = 1.25 * ideal.counts().len() as f64;
    Ok(Panel {
        title: format!("{title}: 3000 requests, 1000 workers"),
        x: ("seconds", 0.0..end),
        y: ("requests done", 0.0..1.05 * job.requests as f64),
        lines: lines.into_iter().map(|line| line.until(end)).collect(),
        names_at: SeriesLabelPosition::LowerRight,
    })
}

/// Refused per success, by client and number of workers.
fn refused(name: &str, clients: &[Client], seed: u64) -> io::Result<Bars> {
    let (scenario, workers) = (named(name)?, vec![10, 100, 1000]);
    let bar = |figures: Figures| (figures.refused_per_ok(), figures.requests - figures.ok);
    let mut groups = Vec::new();
    let models = [
        "full jitter, 4",
        "Retry-After, 11",
        "wait and loop",
        "AWS adaptive",
        "this crate, gentle",
    ];
    for (_, client) in shown(clients, &models) {
        let runs = workers
            .iter()
            .map(|workers| client.run(&scenario, Job::of(*workers), seed));
        groups.push(BarGroup {
            name: client.name.to_owned(),
            bars: runs.map(|run| run.map(bar)).collect::<io::Result<_>>()?,
        });
    }
    Ok(Bars {
        title: "20 per second, no hint: refused per success (red: requests lost of 3000)"
            .to_owned(),
        workers,
        clients: groups,
    })
}

/// What a server processes that was down.
fn goodput(title: &str, hint: Hint, clients: &[Client], seed: u64) -> io::Result<Panel> {
    let mut storms = Vec::new();
    for (look, client) in shown(
        clients,
        &["full jitter, 4", "Retry-After, 11", "wait and loop"],
    ) {
        storms.push((look, storm::run(client, hint, seed)?));
    }
    let storms: Vec<_> = storms.iter().map(|(look, storm)| (*look, storm)).collect();
    Ok(plot::storm(title, &storms))
}

fn named(name: &str) -> io::Result<Scenario> {
    let found = scenario::all()
        .into_iter()
        .find(|scenario| scenario.name == name);
    found.ok_or_else(|| io::Error::other(format!("there is no scenario named {name}")))
}

/// These models, and the first variant of our own layer, on top of the others.
fn shown<'a>(clients: &'a [Client], models: &[&str]) -> Vec<(Look, &'a Client)> {
    let models = clients
        .iter()
        .filter(|client| models.contains(&client.name));
    let models = models
        .enumerate()
        .map(|(number, client)| (Look::Other(number), client));
    let ours = clients
        .iter()
        .find(|client| client.is_ours)
        .map(|client| (Look::Ours, client));
    models.chain(ours).collect()
}

/// How many in all, over time.
fn line(name: &str, look: Look, done: &PerSecond) -> Line {
    let mut points = vec![(0.0, 0.0)];
    let mut sum = 0.0;
    for (second, count) in done.counts().iter().enumerate() {
        let before = sum;
        sum += f64::from(*count);
        // On a level stretch, its two ends are enough.
        let is_level = points.len() > 1 && points[points.len() - 2].1 == before && before == sum;
        if is_level {
            points.pop();
        }
        points.push((second as f64 + 1.0, sum));
    }
    Line {
        name: name.to_owned(),
        look,
        points,
    }
}

impl Line {
    fn until(mut self, end: f64) -> Self {
        self.points.retain(|(x, _)| *x <= end);
        self
    }
}
