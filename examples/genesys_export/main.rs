//! Exports the conversations of an interval from Genesys Cloud, as JSON Lines.
//!
//! ```sh
//! cargo run --release --example genesys_export
//! ```
//!
//! does so against a cloud on this machine that makes it hard: tokens live for seconds and are
//! revoked on the way, and the quota is used up several times over. Nothing of that is seen in
//! `query.rs`, `details.rs` and `job.rs`; the stack in `api.rs` deals with it. The summary tells what it took.
//!
//! With credentials in the environment it is the real service's conversations:
//!
//! ```sh
//! GENESYS_CLIENT_ID=… GENESYS_CLIENT_SECRET=… GENESYS_REGION=mypurecloud.ie \
//!     cargo run --release --example genesys_export -- \
//!     --interval 2026-01-01T00:00:00Z/2026-01-02T00:00:00Z --output conversations.jsonl
//! ```
//!
//! It ends with an error if a single conversation is lost or written twice. If it was interrupted, by
//! Ctrl-C, a crash or a power failure, `--resume` goes on with the file that is there.
//!
//! `--job` has the service prepare all of them, and takes the results (`job.rs`); `--details` gets each
//! while the listing goes on, and keeps nothing in memory (`details.rs`). Both write a checkpoint beside
//! the file, page by page. `--plot chart.svg` draws what became of the calls over time.

mod api;
mod args;
mod checkpoint;
mod details;
mod job;
mod output;
mod paged_output;
mod plot;
mod progress;
mod query;
mod site;
mod tally;
mod timeline;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use tower::BoxError;
use tower_outbound::token::TokenCache;

use crate::{
    api::Api,
    args::{Args, Mode},
    paged_output::PagedOutput,
    site::Site,
};

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            for cause in std::iter::successors(error.source(), |&error| error.source()) {
                eprintln!("  because: {cause}");
            }
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<(), BoxError> {
    let mut site = Site::open(args).await?;
    println!("exporting from {site}");

    let http = api::http_client();
    let tokens = TokenCache::new(site.tokens(http.clone())?);
    // Wrong credentials show here, before anything is fetched.
    tokens.token().await?;
    let api = Api::new(&site.cloud, tokens.clone(), http).page_size(args.page_size);

    let exported = tokio::select! {
        exported = export(&api, &mut site, args) => exported,
        _ = tokio::signal::ctrl_c() => Err("interrupted; `--resume` goes on from here".into()),
    };
    let time = api.timeline.elapsed();
    // A renewal may be under way in the background: let it end before the runtime does.
    tokens.settle().await;
    if let Some(path) = &args.plot {
        plot::draw(path, &api.timeline)?;
    }
    let exported = exported?;

    let Exported { path, count, ids } = exported;
    println!("{count} conversations in {}", path.display());
    let tokens_used = tokens.peek().map_or(0, |token| token.generation());
    api.tally.print(tokens_used, time, site.quota);
    for limit in api.pacer.snapshot() {
        println!("  limit      {limit}");
    }
    match ids.or_else(|| site.conversation_ids()) {
        Some(ids) => output::check(&path, &ids)?,
        None => output::check_count(&path, count)?,
    }
    site.check_traffic(&api.tally.traffic(tokens_used))?;
    println!("  checked    every conversation is in the file, once");
    Ok(())
}

/// What has been exported, now and before.
struct Exported {
    path: PathBuf,
    count: u64,
    /// Which conversations, where it is kept.
    ids: Option<Vec<String>>,
}

impl Exported {
    fn all_of(output: &PagedOutput) -> Self {
        Self {
            path: output.path().to_owned(),
            count: output.records(),
            ids: None,
        }
    }
}

async fn export(api: &Api, site: &mut Site, args: &Args) -> Result<Exported, BoxError> {
    let mode = args.mode();
    if mode == Mode::Query {
        return query::export(api, site, args).await;
    }
    let of = format!("{mode:?}, {}", site.identity());
    let output = PagedOutput::open(args.output(), args.resume, of)?;
    if args.resume {
        println!("{} conversations are there already", output.records());
    }
    if mode == Mode::Job {
        job::export(api, site, output).await
    } else {
        details::export(api, site, args, output).await
    }
}
