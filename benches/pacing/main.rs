//! How clients finish a job against a limit: a discrete-event run in virtual time, through the real layer.
//!
//! `cargo bench --bench pacing` runs a part of it within a minute, `-- --all` everything; `-- --help` says what
//! else there is. The figures depend on the seed and on nothing else.

use std::{
    error::Error,
    io::{self, IsTerminal},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use clap::Parser;
use tower_outbound::mark::Priority;

use self::{
    client::Client,
    model::{
        latency::Latency,
        run::Job,
        scenario::{self, Group, Scenario},
        server::hint::Hint,
    },
    report::{Row, csv, pictures, table},
    trial::{interactive, storm, token_endpoint},
};

mod client;
mod model;
mod report;
mod trial;

/// How clients finish a job against a limit.
#[derive(Debug, Parser)]
struct Options {
    /// Everything: up to 10,000 workers, latencies of 5, 50 and 500 ms. Takes many minutes.
    #[arg(long)]
    all: bool,
    /// Only scenarios whose names contain one of these.
    #[arg(long)]
    only: Vec<String>,
    /// Only clients whose names contain one of these.
    #[arg(long)]
    client: Vec<String>,
    /// Numbers of workers, in place of the usual ones.
    #[arg(long, value_delimiter = ',')]
    workers: Vec<usize>,
    /// Latencies in milliseconds, in place of the usual ones.
    #[arg(long, value_delimiter = ',')]
    latency: Vec<u64>,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many runs at the same time; as many as there are processors by default.
    #[arg(long)]
    jobs: Option<NonZeroUsize>,
    /// Draws the plots of the README anew.
    #[arg(long)]
    save: bool,
    /// Writes what happened in each second of each run to `target/pacing/series.csv`.
    #[arg(long)]
    series: bool,
    /// Prints the names of the scenarios and clients, and does nothing.
    #[arg(long)]
    list: bool,
    /// What cargo says.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match pacing(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn pacing(options: &Options) -> Result<(), Box<dyn Error>> {
    let (scenarios, clients) = (options.scenarios(), options.clients());
    if options.list {
        scenarios
            .iter()
            .for_each(|scenario| println!("{}", scenario.name));
        let trials = STORMS.iter().map(|(name, _)| *name);
        trials
            .chain([INTERACTIVE, TOKEN_ENDPOINT])
            .for_each(|trial| println!("{trial}"));
        clients
            .iter()
            .for_each(|client| println!("client: {}", client.name));
        return Ok(());
    }
    let rows = compare(options, &scenarios, &clients)?;
    for (group, title) in [
        (Group::Usual, "the usual limits"),
        (Group::WithFields, "the same with RateLimit fields"),
        (Group::Harder, "harder ones"),
    ] {
        let rows: Vec<_> = rows
            .iter()
            .filter(|row| row.scenario.group == group)
            .collect();
        table::comparison(title, &rows);
    }
    table::details(&rows.iter().filter(|row| row.is_ours).collect::<Vec<_>>());
    csv::write(&target_folder(), "runs.csv", &csv::runs(&rows))?;
    if options.series {
        csv::write(&target_folder(), "series.csv", &csv::series(&rows))?;
    }
    trials(options, &clients)?;
    if options.save {
        pictures::draw(&plots_folder(), &clients, options.seed)?;
    } else if options.only.is_empty() {
        pictures::draw(&target_folder(), &clients, options.seed)?;
    }
    Ok(())
}

/// Those that are no jobs.
fn trials(options: &Options, clients: &[Client]) -> io::Result<()> {
    for (name, hint) in STORMS {
        if contains_any(name, &options.only) {
            let blow = |index: usize| storm::run(&clients[index], hint, options.seed);
            let storms = in_parallel(options.threads(), clients.len(), blow)?;
            table::storms(name, &storms);
        }
    }
    if contains_any(INTERACTIVE, &options.only) {
        let ours = clients.iter().filter(|client| client.is_ours);
        let plain = clients.iter().map(|client| (client, Priority(0)));
        let runs: Vec<_> = plain
            .chain(ours.map(|client| (client, Priority(1))))
            .collect();
        let turn = |index: usize| {
            let (client, priority) = runs[index];
            Ok((client, interactive::run(client, priority, options.seed)?))
        };
        table::turns(&in_parallel(options.threads(), runs.len(), turn)?);
    }
    if contains_any(TOKEN_ENDPOINT, &options.only) {
        let seeds = |index: usize| token_endpoint::run_all(options.seed + index as u64);
        table::tokens(&in_parallel(options.threads(), 10, seeds)?);
    }
    Ok(())
}

/// Every client against every scenario.
fn compare<'a>(
    options: &Options,
    scenarios: &'a [Scenario],
    clients: &[Client],
) -> io::Result<Vec<Row<'a>>> {
    let mut runs = Vec::new();
    for scenario in scenarios {
        for workers in options.workers(scenario) {
            let is_run =
                |client: &&Client| !options.workers.is_empty() || workers <= client.most_workers;
            let clients = clients.iter().filter(is_run);
            runs.extend(clients.map(|client| (scenario, workers, client)));
        }
    }
    in_parallel(options.threads(), runs.len(), |index| {
        let (scenario, workers, client) = runs[index];
        let figures = client.run(scenario, Job::of(workers), options.seed)?;
        Ok(Row {
            scenario,
            client: client.name,
            is_ours: client.is_ours,
            workers,
            figures,
        })
    })
}

impl Options {
    fn scenarios(&self) -> Vec<Scenario> {
        let is_wanted = |name: &str| contains_any(name, &self.only);
        let named = scenario::all()
            .into_iter()
            .filter(|scenario| is_wanted(&scenario.name));
        named
            .flat_map(|scenario| self.at_latencies(scenario))
            .collect()
    }

    fn clients(&self) -> Vec<Client> {
        let all = client::all().into_iter();
        all.filter(|client| contains_any(client.name, &self.client))
            .collect()
    }

    /// A scenario whose latency is its point keeps it.
    fn at_latencies(&self, scenario: Scenario) -> Vec<Scenario> {
        let millis = match &self.latency[..] {
            [] if self.all && scenario.group != Group::Harder => &[5, 50, 500],
            [] => &[50][..],
            millis => millis,
        };
        match scenario.settings.latency {
            Latency::Varying { .. } => vec![scenario],
            Latency::Constant { .. } => {
                let latencies = millis
                    .iter()
                    .map(|millis| Latency::Constant { millis: *millis });
                latencies
                    .map(|latency| scenario.clone().latency(latency))
                    .collect()
            }
        }
    }

    fn workers(&self, scenario: &Scenario) -> Vec<usize> {
        match scenario.group {
            _ if !self.workers.is_empty() => self.workers.clone(),
            _ if self.all => vec![10, 100, 1000, 10_000],
            Group::Usual => vec![10, 100, 1000],
            Group::WithFields | Group::Harder => vec![100],
        }
    }

    fn threads(&self) -> usize {
        let processors = || thread::available_parallelism().map_or(1, NonZeroUsize::get);
        self.jobs.map_or_else(processors, NonZeroUsize::get)
    }
}

/// `work(0)`, `work(1)` … on so many threads; each run has a clock of its own.
fn in_parallel<T: Send>(
    threads: usize,
    count: usize,
    work: impl Fn(usize) -> io::Result<T> + Sync,
) -> io::Result<Vec<T>> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        return;
                    }
                    let result = work(index);
                    if io::stderr().is_terminal() {
                        eprint!("\r{index} of {count} \r");
                    }
                    done.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((index, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

fn contains_any(name: &str, parts: &[String]) -> bool {
    parts.is_empty() || parts.iter().any(|part| name.contains(part.as_str()))
}

fn plots_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/pacing/plots")
}

fn target_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/pacing")
}

const STORMS: [(&str, Hint); 2] = [
    ("storm, no hint", Hint::Absent),
    ("storm, Retry-After: 5", Hint::Constant { seconds: 5 }),
];
const INTERACTIVE: &str = "interactive";
const TOKEN_ENDPOINT: &str = "token endpoint";
