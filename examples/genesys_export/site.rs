//! Where the conversations come from: the real service, or a cloud on this machine.

use std::{
    collections::{HashSet, VecDeque},
    fmt,
    time::Duration,
};

use serde_json::Value;
use tower::BoxError;
use tower_outbound::{
    oauth2::{ClientAuth, ClientCredentials, TokenRequest},
    origin::UrlError,
    pages::Position,
    preset::GenesysCloud,
    test_util::{CLIENT_ID, CLIENT_SECRET, Listener, LoggedRequest, LoopbackCloud, Quota, Scope},
    token::Secret,
};

use crate::{
    api::HttpClient,
    args::{Account, Args},
    tally::Traffic,
};

pub(crate) struct Site {
    pub(crate) cloud: GenesysCloud,
    client_id: String,
    client_secret: Secret,
    pub(crate) interval: String,
    pub(crate) at_most: Option<usize>,
    pub(crate) quota: Quota,
    loopback: Option<Loopback>,
}

/// What can be done to a cloud on this machine, and asked of it.
struct Loopback {
    cloud: LoopbackCloud,
    /// After how many records all tokens are revoked.
    revocations: VecDeque<usize>,
    /// The interval holds all conversations that there are.
    is_complete: bool,
}

impl Site {
    /// The service that the environment names, or else a cloud on this machine.
    pub(crate) async fn open(args: &Args) -> Result<Self, BoxError> {
        match Account::from_env(args)? {
            Some(account) => Self::real(account, args),
            None => Self::loopback(args).await,
        }
    }

    fn real(account: Account, args: &Args) -> Result<Self, BoxError> {
        let interval = args.interval.clone();
        let cloud = match (&args.token_url, &args.api_url) {
            (Some(token_url), Some(api_url)) => GenesysCloud::at(token_url, api_url)?,
            _ => GenesysCloud::new(&account.region.unwrap_or_default())?,
        };
        Ok(Self {
            cloud,
            client_id: account.client_id,
            client_secret: account.client_secret,
            interval: interval.ok_or("say which conversations of the real service: --interval")?,
            at_most: args.records,
            quota: quota(args, Duration::from_secs(60)),
            loopback: None,
        })
    }

    async fn loopback(args: &Args) -> Result<Self, BoxError> {
        let records = args.records.unwrap_or(1000);
        let quota = quota(args, Duration::from_secs(4));
        let cloud = LoopbackCloud::builder()
            .conversations(records)
            .configure(|knobs| {
                knobs.token_lifetime = args.token_lifetime;
                knobs.quota = Some(quota);
                knobs.api_latency = LATENCY;
            })
            .start()
            .await?;
        Ok(Self {
            cloud: GenesysCloud::at(&cloud.token_url(), cloud.api_url())?,
            client_id: CLIENT_ID.to_owned(),
            client_secret: CLIENT_SECRET.into(),
            interval: args.interval.clone().unwrap_or_else(|| JANUARY.to_owned()),
            at_most: None,
            quota,
            loopback: Some(Loopback {
                cloud,
                revocations: revocations(args, records),
                is_complete: args.interval.is_none(),
            }),
        })
    }

    /// Where its tokens come from.
    pub(crate) fn tokens(&self, http: HttpClient) -> Result<TokenRequest, UrlError> {
        let auth = ClientAuth::basic(self.client_secret.clone());
        let endpoint = self.cloud.token_endpoint(&self.client_id, auth, http)?;
        Ok(endpoint.grant(ClientCredentials))
    }

    /// Does what it does to make it hard once so many records are done: nothing, if it is real.
    pub(crate) fn disturb(&mut self, done: usize) {
        let Some(loopback) = &mut self.loopback else {
            return;
        };
        if loopback.revocations.front() == Some(&done) {
            loopback.revocations.pop_front();
            loopback.cloud.revoke_all();
        }
    }

    /// What an interrupted export has to be of, to be gone on with: the cloud on this machine has another
    /// port each time, and the same conversations.
    pub(crate) fn identity(&self) -> String {
        let url = match &self.loopback {
            Some(_) => "this machine",
            None => self.cloud.api_url(),
        };
        format!("{url}, {}", self.interval)
    }

    /// A place in a listing of an earlier run: this machine's is at another port now.
    pub(crate) fn here(&self, position: &Position) -> Result<Position, BoxError> {
        if self.loopback.is_none() {
            return Ok(position.clone());
        }
        let mut text: Value = serde_json::from_str(&position.to_string())?;
        let path = position.uri().path_and_query();
        let path = path.map_or("/", |path| path.as_str());
        text["uri"] = format!("{}{path}", self.cloud.api_url()).into();
        Ok(text.to_string().parse()?)
    }

    /// Whether these are as many as the user wants.
    pub(crate) fn is_enough(&self, records: u64) -> bool {
        self.at_most.is_some_and(|most| records >= most as u64)
    }

    /// The conversations that there are, if it is known.
    pub(crate) fn conversation_ids(&self) -> Option<Vec<String>> {
        let loopback = self.loopback.as_ref()?;
        loopback
            .is_complete
            .then(|| loopback.cloud.conversation_ids())
    }

    /// Compares what this program has listed with what a cloud on this machine has.
    pub(crate) fn check_listing(&self, ids: &[String]) -> Result<(), String> {
        let Some(there) = self.conversation_ids() else {
            return Ok(());
        };
        let there: HashSet<_> = there.iter().collect();
        if there != ids.iter().collect() {
            return Err(format!(
                "{} conversations were listed; the server has {}, or others",
                ids.len(),
                there.len()
            ));
        }
        Ok(())
    }

    /// Compares what this program has counted with what a cloud on this machine has seen.
    pub(crate) fn check_traffic(&self, counted: &Traffic) -> Result<(), String> {
        let Some(Loopback { cloud, .. }) = &self.loopback else {
            return Ok(());
        };
        let log = cloud.log();
        let api = |request: &&LoggedRequest| request.listener == Listener::Api;
        let answered = |status| {
            let requests = log.iter().filter(api);
            requests
                .filter(|request| request.status == Some(status))
                .count() as u64
        };
        let seen = Traffic {
            requests: cloud.api_calls() as u64,
            answered_401: answered(401),
            answered_429: answered(429),
            tokens: cloud.mints() as u64,
        };
        match seen == *counted {
            true => Ok(()),
            false => Err(format!(
                "the server saw {seen:?}, but counted here was {counted:?}"
            )),
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match &self.loopback {
            Some(_) => "a cloud on this machine",
            None => "the real service",
        };
        write!(f, "{place}, {}: {}", self.cloud.api_url(), self.interval)
    }
}

fn quota(args: &Args, window: Duration) -> Quota {
    Quota {
        requests: args.quota.get(),
        window: args.window.unwrap_or(window),
        // The real service counts for each token. Here a renewal shall gain nothing, so that it is
        // plain how long the export takes at least.
        per: Scope::Client,
    }
}

/// After how many records all tokens are revoked: first before any, then at even distances.
///
/// They are not so close together that one call could meet with two: a second 401 in a row means
/// that the server takes no token at all, and is not replayed.
fn revocations(args: &Args, records: usize) -> VecDeque<usize> {
    let share = records / args.revocations.max(1);
    let step = share.max(args.concurrency.get());
    (0..records).step_by(step).take(args.revocations).collect()
}

/// When the conversations of the cloud on this machine took place.
const JANUARY: &str = "2026-01-01T00:00:00Z/2026-02-01T00:00:00Z";

/// Short as ways go, and long enough for calls to be under way when a token dies.
const LATENCY: Duration = Duration::from_millis(10);
