//! Without a flag: lists all conversations, and then gets each of them, in the order in which they
//! come.

use std::{collections::HashSet, pin::pin};

use futures_util::{StreamExt, TryStreamExt, stream};
use tower::BoxError;

use crate::{
    Exported,
    api::{self, Api},
    args::Args,
    checkpoint::Checkpoint,
    output::Output,
    progress,
    site::Site,
};

/// Exports what is not in the file yet.
pub(crate) async fn export(api: &Api, site: &mut Site, args: &Args) -> Result<Exported, BoxError> {
    if !args.resume {
        // That of another mode would not fit what is written now.
        Checkpoint::remove(&Checkpoint::beside(&args.output()))?;
    }
    let mut output = Output::open(args.output(), args.resume)?;
    if args.resume {
        println!("{} conversations are there already", output.done().len());
    }
    let ids = list(api, site).await?;
    let missing: Vec<_> = ids
        .iter()
        .filter(|id| !output.done().contains(*id))
        .collect();
    fetch(api, site, &missing, args.concurrency.get(), &mut output).await?;
    site.check_listing(&ids)?;
    Ok(Exported {
        path: output.close()?,
        count: ids.len() as u64,
        ids: Some(ids),
    })
}

/// The ids of all conversations of the interval, page by page. Also when it is resumed: the pages
/// are a hundredth of the calls.
async fn list(api: &Api, site: &Site) -> Result<Vec<String>, BoxError> {
    let progress = progress::counter("conversations listed")?;
    let mut ids = Vec::new();
    let mut seen = HashSet::new();
    let mut pages = pin!(api.query(&site.interval, None)?);
    while let Some(page) = pages.try_next().await? {
        for id in api::ids(&page)? {
            // What the query finds may move while it is paged through: one may be on two pages.
            if seen.insert(id.clone()) {
                ids.push(id);
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
) -> Result<(), BoxError> {
    let progress = progress::bar(ids.len() as u64)?;
    let mut details = stream::iter(ids)
        .map(|id| api.details(id))
        .buffer_unordered(concurrency);
    for done in 0.. {
        site.disturb(done);
        let Some(conversation) = details.try_next().await? else {
            break;
        };
        output.write(&conversation)?;
        progress.set_message(api.tally.to_string());
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(())
}
