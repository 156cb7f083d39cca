//! `--details`: gets each conversation while the listing goes on. Both are in the same order, so that
//! memory holds no more than what is under way, and a page of ids.

use std::pin::pin;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use tower::BoxError;
use tower_outbound::pages::{Page, PageError, Position};

use crate::{
    Exported,
    api::{self, Api},
    args::Args,
    checkpoint::Next,
    paged_output::PagedOutput,
    progress,
    site::Site,
};

/// Exports what is not in the file yet.
pub(crate) async fn export(
    api: &Api,
    site: &mut Site,
    args: &Args,
    output: PagedOutput,
) -> Result<Exported, BoxError> {
    let mut output = output;
    let from = match output.next() {
        Next::Nothing => return Ok(Exported::all_of(&output)),
        Next::Everything => None,
        Next::From(position) => Some(site.here(position)?),
    };
    let progress = progress::counter("conversations")?;
    let steps = steps(
        api.query(&site.interval, from)?,
        output.last_page().to_vec(),
    );
    let mut done = pin!(
        steps
            .map(|step| async { step?.take(api).await })
            .buffered(args.concurrency.get())
    );
    let mut count = 0;
    while let Some(done) = done.try_next().await? {
        match done {
            Done::Conversation(json) => {
                site.disturb(count);
                count += 1;
                output.write(&json)?;
                if site.is_enough(output.records()) {
                    output.commit(Vec::new(), None)?;
                    break;
                }
            }
            Done::Page { ids, next } => output.commit(ids, next)?,
        }
        progress.set_position(output.records());
        progress.set_message(api.tally.to_string());
    }
    progress.finish_and_clear();
    Ok(Exported::all_of(&output))
}

/// What is to be done next.
enum Step {
    Get(String),
    EndPage {
        ids: Vec<String>,
        next: Option<Position>,
    },
}

enum Done {
    Conversation(Bytes),
    Page {
        ids: Vec<String>,
        next: Option<Position>,
    },
}

impl Step {
    async fn take(self, api: &Api) -> Result<Done, BoxError> {
        match self {
            Step::Get(id) => api.details(&id).await.map(Done::Conversation),
            Step::EndPage { ids, next } => Ok(Done::Page { ids, next }),
        }
    }
}

/// The conversations of each page, and then its end.
fn steps(
    pages: impl Stream<Item = Result<Page, PageError>>,
    mut last_page: Vec<String>,
) -> impl Stream<Item = Result<Step, BoxError>> {
    let steps = move |page: Result<Page, PageError>| {
        let page = page?;
        let ids = api::ids(&page)?;
        // What the query finds may move while it is paged through: one may be on two pages.
        let mut steps: Vec<_> = ids
            .iter()
            .filter(|id| !last_page.contains(id))
            .map(|id| Ok(Step::Get(id.clone())))
            .collect();
        last_page.clone_from(&ids);
        let next = page.next().cloned();
        steps.push(Ok(Step::EndPage { ids, next }));
        Ok::<_, BoxError>(stream::iter(steps))
    };
    pages.map(steps).try_flatten()
}
