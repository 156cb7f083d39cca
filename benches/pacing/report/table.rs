//! Tables on the terminal.

use super::Row;
use tower_outbound::mark::Priority;

use crate::{
    client::Client,
    model::{figures::Figures, server::hint::Fields},
    trial::{interactive::Turn, storm::Storm, token_endpoint::Asked},
};

/// Prints cells in columns, each as wide as its widest cell; the first is on the left, the others on the right.
pub fn print(cells: &[Vec<String>]) {
    let columns = cells.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let lengths = cells.iter().filter_map(|row| row.get(column));
        lengths
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in cells {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let padding = " ".repeat(width - cell.chars().count());
            if column == 0 {
                line += &format!("{cell}{padding}");
            } else {
                line += &format!("   {padding}{cell}");
            }
        }
        println!("{}", line.trim_end());
    }
}

/// All clients side by side: a line for each scenario, latency and number of workers.
pub fn comparison(title: &str, rows: &[&Row<'_>]) {
    if rows.is_empty() {
        return;
    }
    println!("\n{title}: makespan / ideal · refused / ok, or how many failed\n");
    let mut clients: Vec<&str> = Vec::new();
    for row in rows {
        if !clients.contains(&row.client) {
            clients.push(row.client);
        }
    }
    let mut cells = vec![headings(&clients)];
    for lines in rows.chunk_by(|one, other| is_same_line(one, other)) {
        let first = lines[0];
        let mut line = vec![
            first.scenario.name.clone(),
            first.latency(),
            first.workers.to_string(),
        ];
        line.extend(clients.iter().map(|client| {
            let row = lines.iter().find(|row| row.client == *client);
            row.map_or_else(String::new, |row| verdict(&row.figures))
        }));
        cells.push(line);
    }
    print(&cells);
}

/// All that is known of each run of our own layer.
pub fn details(rows: &[&Row<'_>]) {
    if rows.is_empty() {
        return;
    }
    println!("\nthis crate in detail: * where it misses the bar\n");
    let headings = [
        "",
        "latency",
        "C",
        "client",
        "failed",
        "makespan/ideal",
        "refused/ok",
        "at start",
        "early",
        "503",
        "fairness",
        "longest wait",
        "",
    ];
    let mut cells = vec![headings.map(str::to_owned).to_vec()];
    for row in rows {
        let figures = &row.figures;
        cells.push(vec![
            row.scenario.name.clone(),
            row.latency(),
            row.workers.to_string(),
            row.client.to_owned(),
            (figures.failed + figures.unfinished).to_string(),
            format!("{:.3}", figures.slowdown()),
            format!("{:.4}", figures.steadily_refused_per_ok()),
            figures.refused_at_start.to_string(),
            figures.early.to_string(),
            figures.unavailable.to_string(),
            format!("{:.3}", figures.fairness),
            format!("{:.1} s", figures.longest_wait.as_secs_f64()),
            if meets_the_bar(row) { "" } else { "*" }.to_owned(),
        ]);
    }
    print(&cells);
    let met = rows.iter().filter(|row| meets_the_bar(row)).count();
    println!("\n{met} of {} meet the bar", rows.len());
}

/// None failed, none early, 2 % over the least time at most, and next to nothing refused.
fn meets_the_bar(row: &Row<'_>) -> bool {
    let figures = &row.figures;
    let most_refused = match (row.scenario.processes, row.scenario.settings.fields) {
        (1, Fields::RateLimit) => 0.001,
        (1, _) => 0.02,
        _ => 0.05,
    };
    figures.failed + figures.unfinished == 0
        && figures.early == 0
        && figures.slowdown() <= 1.02
        && figures.steadily_refused_per_ok() <= most_refused
        && figures.fairness >= 0.95
}

/// What the retries did to a server that was down.
pub fn storms(title: &str, storms: &[Storm]) {
    println!("\n{title}\n");
    let headings = [
        "",
        "arrived",
        "ok",
        "failed",
        "still waiting",
        "goodput at the end",
        "recovered after",
        "worst second",
    ];
    let mut cells = vec![headings.map(str::to_owned).to_vec()];
    for storm in storms {
        let recovered = storm.recovered_after();
        cells.push(vec![
            storm.client.to_owned(),
            storm.arrived.to_string(),
            storm.ok.to_string(),
            storm.failed.to_string(),
            (storm.arrived - storm.ok - storm.failed).to_string(),
            format!("{:.0} %", 100.0 * storm.goodput_at_end()),
            recovered.map_or_else(|| "never".to_owned(), |after| format!("{after} s")),
            storm.worst_second().to_string(),
        ]);
    }
    print(&cells);
}

/// Where one request came out that somebody was waiting for.
pub fn turns(turns: &[(&Client, Turn)]) {
    println!("\none request that comes while 10,000 drain at 20/s\n");
    let headings = ["", "waiting when it came", "done before it", "took", ""];
    let mut cells = vec![headings.map(str::to_owned).to_vec()];
    for (client, turn) in turns {
        let end = match turn.ok {
            Some(true) => "",
            Some(false) => "failed",
            None => "not done",
        };
        let name = match turn.priority {
            Priority(0) => client.name.to_owned(),
            priority => format!("{}, {priority:?}", client.name),
        };
        cells.push(vec![
            name,
            turn.waiting.to_string(),
            turn.before.to_string(),
            format!("{:.1} s", turn.took.as_secs_f64()),
            end.to_owned(),
        ]);
    }
    print(&cells);
}

/// What a token endpoint saw, on the average of some runs.
pub fn tokens(runs: &[Vec<Asked>]) {
    let count = runs.len() as f64;
    println!(
        "\na token endpoint is down for 60 s, and 10,000 callers need a token; {count} runs\n"
    );
    let headings = [
        "who asks",
        "asked while down",
        "after",
        "worst second",
        "not served",
        "the last at, mean",
        "at most",
    ];
    let mut cells = vec![headings.map(str::to_owned).to_vec()];
    for (index, first) in runs.iter().take(1).flatten().enumerate() {
        let of_all: Vec<_> = runs.iter().filter_map(|run| run.get(index)).collect();
        let values = |what: fn(&Asked) -> f64| of_all.iter().map(move |asked| what(asked));
        let mean = |what| values(what).sum::<f64>() / count;
        let most = |what| values(what).fold(0.0, f64::max);
        let last = |asked: &Asked| asked.last.as_secs_f64();
        cells.push(vec![
            first.who.to_owned(),
            format!("{:.0}", mean(|asked| asked.during_outage as f64)),
            format!("{:.0}", mean(|asked| asked.after_it as f64)),
            format!("{:.0}", most(|asked| f64::from(asked.worst_second))),
            format!("{:.0}", mean(|asked| asked.not_served as f64)),
            format!("{:.1} s", mean(last)),
            format!("{:.1} s", most(last)),
        ]);
    }
    print(&cells);
}

fn headings(clients: &[&str]) -> Vec<String> {
    let mut headings = vec![String::new(), "latency".to_owned(), "C".to_owned()];
    headings.extend(clients.iter().map(|client| (*client).to_owned()));
    headings
}

fn is_same_line(one: &Row<'_>, other: &Row<'_>) -> bool {
    one.scenario.name == other.scenario.name
        && one.scenario.settings.latency == other.scenario.settings.latency
        && one.workers == other.workers
}

fn verdict(figures: &Figures) -> String {
    if figures.failed > 0 {
        return format!("{} failed", figures.failed);
    }
    if figures.unfinished > 0 {
        return format!("{} unfinished", figures.unfinished);
    }
    let refused = figures.refused_per_ok();
    let refused = match refused {
        _ if refused >= 10.0 => format!("{refused:.0}"),
        _ if refused >= 1.0 => format!("{refused:.1}"),
        _ if refused >= 0.1 => format!("{refused:.2}"),
        _ => format!("{refused:.3}"),
    };
    format!("{:.3} · {refused}", figures.slowdown())
}
