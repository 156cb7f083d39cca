//! What the user can choose, on the command line and in the environment.

use std::{
    env,
    num::{NonZeroU32, NonZeroU64, NonZeroUsize},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Parser;
use tower::BoxError;
use tower_outbound::token::Secret;

/// Exports the conversations of an interval from Genesys Cloud, as JSON Lines.
///
/// It talks to a cloud on this machine, with tokens that live for seconds; or to the real service,
/// if GENESYS_CLIENT_ID, GENESYS_CLIENT_SECRET and GENESYS_REGION (mypurecloud.ie, eu-west-1) are set.
///
/// Without --job or --details it lists all conversations first, and then gets each of them.
#[derive(Debug, Parser)]
pub(crate) struct Args {
    /// Takes the conversations from an asynchronous query: a job, whose results come in large pages
    #[arg(long, conflicts_with = "details")]
    job: bool,

    /// Gets each conversation while the listing goes on, in its order, and keeps none in memory
    #[arg(long)]
    details: bool,

    /// How many conversations are on a page [default: 100, or 1000 of a job's]
    #[arg(long, value_name = "COUNT")]
    pub(crate) page_size: Option<NonZeroU32>,

    /// Draws throughput and refusals over time
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) plot: Option<PathBuf>,

    /// How many conversations there are on this machine [default: 1000], or at most to take of the
    /// real service's [default: all]
    #[arg(long, value_name = "COUNT")]
    pub(crate) records: Option<usize>,

    /// Which conversations, such as 2026-01-01T00:00:00Z/2026-01-02T00:00:00Z; has to be given for
    /// the real service
    #[arg(long, value_name = "START/END")]
    pub(crate) interval: Option<String>,

    /// How many calls are under way at a time
    #[arg(long, value_name = "COUNT", default_value = "50")]
    pub(crate) concurrency: NonZeroUsize,

    /// How many calls the service lets through in each window
    #[arg(long, value_name = "COUNT", default_value = "300")]
    pub(crate) quota: NonZeroU32,

    /// How long a window is [default: 4, or the real service's 60]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) window: Option<Duration>,

    /// How long a token lives, on this machine
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "3")]
    pub(crate) token_lifetime: Duration,

    /// How often all tokens are revoked on the way, on this machine
    #[arg(long, value_name = "COUNT", default_value = "2")]
    pub(crate) revocations: usize,

    /// Goes on with the file that is there, in place of writing it anew
    #[arg(long)]
    pub(crate) resume: bool,

    /// The file to write [default: genesys_export.jsonl, in `target` if there is such a directory]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// A token endpoint in place of that of GENESYS_REGION: a gateway's, say
    #[arg(long, value_name = "URL", requires = "api_url")]
    pub(crate) token_url: Option<String>,

    /// The API that goes with it
    #[arg(long, value_name = "URL", requires = "token_url")]
    pub(crate) api_url: Option<String>,
}

/// Where the conversations are taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Query,
    Job,
    Details,
}

impl Args {
    pub(crate) fn mode(&self) -> Mode {
        match (self.job, self.details) {
            (true, _) => Mode::Job,
            (_, true) => Mode::Details,
            _ => Mode::Query,
        }
    }

    pub(crate) fn output(&self) -> PathBuf {
        let by_default = || {
            let build = Path::new("target");
            let directory = if build.is_dir() { build } else { Path::new("") };
            directory.join("genesys_export.jsonl")
        };
        self.output.clone().unwrap_or_else(by_default)
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: NonZeroU64 = text
        .parse()
        .map_err(|_| "give whole seconds, 1 or more".to_owned())?;
    Ok(Duration::from_secs(seconds.get()))
}

/// An OAuth client of the real service.
pub(crate) struct Account {
    pub(crate) client_id: String,
    pub(crate) client_secret: Secret,
    /// Not needed where the URLs are given.
    pub(crate) region: Option<String>,
}

impl Account {
    /// The account that the environment names, if it does.
    pub(crate) fn from_env(args: &Args) -> Result<Option<Self>, BoxError> {
        let values = VARIABLES.map(|name| env::var(name).ok().filter(|value| !value.is_empty()));
        match values {
            [Some(client_id), Some(client_secret), region]
                if region.is_some() || args.api_url.is_some() =>
            {
                Ok(Some(Self {
                    client_id,
                    client_secret: client_secret.into(),
                    region,
                }))
            }
            [None, None, None] if args.api_url.is_none() => Ok(None),
            values => {
                let missing: Vec<_> = VARIABLES
                    .into_iter()
                    .zip(values)
                    .filter_map(|(name, value)| value.is_none().then_some(name))
                    .collect();
                Err(format!(
                    "{} not set: the real service needs all of {}; to export from this machine, \
                     set none",
                    missing.join(", "),
                    VARIABLES.join(", ")
                )
                .into())
            }
        }
    }
}

const VARIABLES: [&str; 3] = [
    "GENESYS_CLIENT_ID",
    "GENESYS_CLIENT_SECRET",
    "GENESYS_REGION",
];
