//! `target/pacing/*.csv`: every figure of every run, for whoever wants to draw something else.

use std::{fmt::Write, fs, io, path::Path};

use super::Row;

/// One line for each run.
pub fn runs(rows: &[Row<'_>]) -> String {
    let mut text =
        "scenario,latency,workers,client,requests,ok,failed,unfinished,makespan_s,ideal_s,sent,refused,\
                    refused_at_start,unavailable,early,fairness,longest_wait_s\n"
            .to_owned();
    for row in rows {
        let figures = &row.figures;
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "\"{}\",\"{}\",{},\"{}\",{},{},{},{},{:.3},{:.3},{},{},{},{},{},{:.4},{:.3}",
            row.scenario.name,
            row.latency(),
            row.workers,
            row.client,
            figures.requests,
            figures.ok,
            figures.failed,
            figures.unfinished,
            figures.makespan.as_secs_f64(),
            figures.ideal.as_secs_f64(),
            figures.sent,
            figures.refused,
            figures.refused_at_start,
            figures.unavailable,
            figures.early,
            figures.fairness,
            figures.longest_wait.as_secs_f64(),
        );
    }
    text
}

/// One line for each second of each run.
pub fn series(rows: &[Row<'_>]) -> String {
    let mut text = "scenario,latency,workers,client,second,sent,refused,done\n".to_owned();
    for row in rows {
        let figures = &row.figures;
        let series = [
            &figures.sent_per_second,
            &figures.refused_per_second,
            &figures.done_per_second,
        ];
        let end = series
            .iter()
            .map(|series| series.counts().len())
            .max()
            .unwrap_or_default();
        for second in 0..end {
            let [sent, refused, done] = series.map(|series| series.between(second, second + 1));
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "\"{}\",\"{}\",{},\"{}\",{second},{sent},{refused},{done}",
                row.scenario.name,
                row.latency(),
                row.workers,
                row.client,
            );
        }
    }
    text
}

/// # Errors
/// The file cannot be written.
pub fn write(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join(name), text)
}
