//! Exports the conversations of an interval from Genesys Cloud, as JSON Lines.
//!
//! ```sh
//! cargo run --release --example genesys_export
//! ```
//!
//! does so against a cloud on this machine that makes it hard: tokens live for seconds and are
//! revoked on the way, and the quota is used up several times over. Nothing of that is seen in
//! `list` and `fetch` below; the stack in `api.rs` deals with it. The summary tells what it took.
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

mod api;
mod args;
mod output;
mod site;
mod tally;

use std::{collections::HashSet, pin::pin, process::ExitCode, time::Instant};

use clap::Parser;
use futures_util::{StreamExt, TryStreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use tower::BoxError;
use tower_outbound::{outcome::Outcome, token::TokenCache};

use crate::{api::Api, args::Args, output::Output, site::Site, tally::Tally};

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
    let api = Api::new(&site.cloud, tokens.clone(), http);

    let mut output = Output::open(args.output(), args.resume)?;
    if args.resume {
        println!("{} conversations are there already", output.done().len());
    }
    let mut tally = Tally::default();
    #[allow(clippy::disallowed_methods)] // a stopwatch; nothing is decided by it
    let started = Instant::now();
    let exported = tokio::select! {
        exported = export(&api, &mut site, args, &mut output, &mut tally) => exported,
        _ = tokio::signal::ctrl_c() => Err("interrupted; `--resume` goes on from here".into()),
    };
    let time = started.elapsed();
    // A renewal may be under way in the background: let it end before the runtime does.
    tokens.settle().await;
    let path = output.close()?;
    let ids = exported?;

    println!("{} conversations in {}", ids.len(), path.display());
    let tokens_used = tokens.peek().map_or(0, |token| token.generation());
    tally.print(tokens_used, time, site.quota);
    for limit in api.pacer.snapshot() {
        println!("  limit      {limit}");
    }
    output::check(&path, &ids)?;
    site.cross_check(&ids, &tally.traffic(tokens_used))?;
    println!("  checked    every conversation is in the file, once");
    Ok(())
}

/// Lists the conversations, fetches the details of each, and returns the ids.
async fn export(
    api: &Api,
    site: &mut Site,
    args: &Args,
    output: &mut Output,
    tally: &mut Tally,
) -> Result<Vec<String>, BoxError> {
    let ids = list(api, site, tally).await?;
    let missing: Vec<_> = ids
        .iter()
        .filter(|id| !output.done().contains(*id))
        .collect();
    fetch(api, site, &missing, args.concurrency.get(), output, tally).await?;
    Ok(ids)
}

/// The ids of all conversations of the interval, page by page. Also when it is resumed: the pages are a
/// hundredth of the calls.
async fn list(api: &Api, site: &Site, tally: &mut Tally) -> Result<Vec<String>, BoxError> {
    let progress = ProgressBar::new_spinner().with_style(ProgressStyle::with_template(
        "{spinner} {pos} conversations listed, {elapsed}",
    )?);
    let mut ids = Vec::new();
    let mut seen = HashSet::new();
    let mut pages = pin!(api.pages(&site.interval)?);
    while let Some(page) = pages.try_next().await? {
        let outcome = page.extensions().get::<Outcome>();
        tally.count(&outcome.cloned().unwrap_or_default());
        for conversation in page.items::<Value>("/conversations")? {
            let id = conversation["conversationId"].as_str();
            let id = id.ok_or_else(|| format!("one on page {} has no id", page.number()))?;
            // What the query finds may move while it is paged through: one may be on two pages.
            if seen.insert(id.to_owned()) {
                ids.push(id.to_owned());
            }
        }
        progress.set_position(ids.len() as u64);
        if site.at_most.is_some_and(|most| ids.len() >= most) {
            break;
        }
    }
    ids.truncate(site.at_most.unwrap_or(usize::MAX));
    Ok(ids)
}

/// Writes the details of each conversation, `concurrency` calls at a time, in the order in which
/// they come.
async fn fetch(
    api: &Api,
    site: &mut Site,
    ids: &[&String],
    concurrency: usize,
    output: &mut Output,
    tally: &mut Tally,
) -> Result<(), BoxError> {
    let progress = ProgressBar::new(ids.len() as u64).with_style(ProgressStyle::with_template(
        "{wide_bar} {pos}/{len} {elapsed}, {msg}",
    )?);
    let mut details = stream::iter(ids)
        .map(|id| api.details(id))
        .buffer_unordered(concurrency);
    for done in 0.. {
        site.disturb(done);
        let Some((conversation, outcome)) = details.try_next().await? else {
            break;
        };
        output.write(&conversation)?;
        tally.count(&outcome);
        progress.set_message(tally.to_string());
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(())
}
