//! `--job`: an asynchronous query, whose results have all of each conversation.

use std::pin::pin;

use futures_util::TryStreamExt;
use http::StatusCode;
use serde_json::Value;
use tower::BoxError;
use tower_outbound::pages::{PageError, PageProblem};

use crate::{
    Exported, api::Api, checkpoint::Next, paged_output::PagedOutput, progress, site::Site,
};

/// Exports what is not in the file yet.
pub(crate) async fn export(
    api: &Api,
    site: &mut Site,
    output: PagedOutput,
) -> Result<Exported, BoxError> {
    let mut output = output;
    if let Next::From(_) = output.next() {
        match take(api, site, &mut output).await {
            Err(error) if is_gone(&*error) => {
                println!("the server has forgotten the job: it is begun anew");
                output = output.begin_anew()?;
            }
            taken => taken?,
        }
    }
    take(api, site, &mut output).await?;
    Ok(Exported::all_of(&output))
}

/// Jobs expire after days.
fn is_gone(error: &(dyn std::error::Error + 'static)) -> bool {
    PageError::find(error).is_some_and(|error| {
        let problem = error.problem();
        matches!(problem, PageProblem::Refused { status, .. } if *status == StatusCode::NOT_FOUND)
    })
}

async fn take(api: &Api, site: &mut Site, output: &mut PagedOutput) -> Result<(), BoxError> {
    let from = match output.next() {
        Next::Nothing => return Ok(()),
        Next::Everything => None,
        Next::From(position) => Some(site.here(position)?),
    };
    let progress = progress::counter("conversations")?;
    let mut count = 0;
    let mut pages = pin!(api.job(&site.interval, from)?);
    while let Some(page) = pages.try_next().await? {
        for conversation in page.items::<Value>("/conversations")? {
            site.disturb(count);
            count += 1;
            output.write(conversation.to_string().as_bytes())?;
            if site.is_enough(output.records()) {
                output.commit(Vec::new(), None)?;
                return Ok(());
            }
        }
        // The results of a job stay as they are: none is on two pages.
        output.commit(Vec::new(), page.next().cloned())?;
        progress.set_position(output.records());
        progress.set_message(api.tally.to_string());
    }
    progress.finish_and_clear();
    Ok(())
}
