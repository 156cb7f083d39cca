//! The gateway itself: it listens, and forwards until it is told to stop.

mod admin;
mod args;
mod failure;
mod forward;
mod guard;
mod headers;
mod marks;
mod route;
mod upstream;

use std::{collections::HashSet, future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::handler::Handler;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{net::TcpListener, sync::watch};
use tower::BoxError;

pub(crate) use self::{args::Settings, upstream::Account};
use self::{
    forward::{Shared, forward},
    guard::Guard,
    upstream::Upstream,
};

pub(crate) struct Gateway {
    listener: TcpListener,
    admin: Option<TcpListener>,
    shared: Arc<Shared>,
    metrics: PrometheusHandle,
}

impl Gateway {
    /// Listens; nothing is answered before [`serve`](Self::serve). Asks for the account at each upstream
    /// by its name.
    pub(crate) async fn open(
        settings: &Settings,
        account: impl Fn(Option<&str>) -> Result<Account, BoxError>,
        metrics: PrometheusHandle,
    ) -> Result<Self, BoxError> {
        let mut upstreams = Vec::new();
        let mut names = HashSet::new();
        for upstream in &settings.upstreams {
            let name = upstream.name.as_deref();
            if !names.insert(name) {
                return Err("two upstreams have one name".into());
            }
            let account = account(name)?;
            upstreams.push(Upstream::new(name, &upstream.value, account, settings)?);
        }
        if names.is_empty() {
            return Err("say where requests go: `--upstream`".into());
        }
        if names.len() > 1 && names.contains(&None) {
            return Err("an upstream without a name must be the only one".into());
        }
        let admin = match settings.admin {
            Some(address) => Some(TcpListener::bind(address).await?),
            None => None,
        };
        Ok(Self {
            listener: TcpListener::bind(settings.listen).await?,
            admin,
            shared: Arc::new(Shared {
                guard: Guard::new(settings.allowed_hosts.clone()),
                upstreams,
            }),
            metrics,
        })
    }

    /// Where it listens, and where `/healthz` and `/metrics` are.
    pub(crate) fn addresses(&self) -> io::Result<(SocketAddr, Option<SocketAddr>)> {
        let admin = self.admin.as_ref().map(TcpListener::local_addr);
        Ok((self.listener.local_addr()?, admin.transpose()?))
    }

    /// Forwards until `stop` ends; then takes nothing more, and finishes what is under way.
    pub(crate) async fn serve(self, stop: impl Future<Output = ()>) -> io::Result<()> {
        let (stopping, stopped) = watch::channel(false);
        let is_stopped = || {
            let mut stopped = stopped.clone();
            async move { drop(stopped.wait_for(|stopped| *stopped).await) }
        };
        let forward = forward.with_state(Arc::clone(&self.shared));
        let forwarding = axum::serve(self.listener, forward.into_make_service())
            .with_graceful_shutdown(is_stopped());
        let metrics = self.metrics.clone();
        let admin = async {
            match self.admin {
                Some(listener) => {
                    axum::serve(
                        listener,
                        admin::routes(Arc::clone(&self.shared), self.metrics),
                    )
                    .with_graceful_shutdown(is_stopped())
                    .await
                }
                None => Ok(()),
            }
        };
        let upkeep = async {
            loop {
                tokio::time::sleep(UPKEEP).await;
                metrics.run_upkeep();
            }
        };
        let grace = async {
            stop.await;
            stopping.send_replace(true);
            tokio::time::sleep(GRACE).await;
        };
        let served = async { tokio::try_join!(forwarding.into_future(), admin).map(drop) };
        let served = tokio::select! {
            served = served => served,
            () = grace => Ok(()),
            () = upkeep => Ok(()),
        };
        // A renewal that is cut in half may have used up what it was made with.
        for upstream in &self.shared.upstreams {
            upstream.tokens.settle().await;
        }
        served
    }
}

/// Kubernetes kills after 30 s.
const GRACE: Duration = Duration::from_secs(25);

/// What histograms have gathered is kept until it is added up: the exporter's own rhythm.
const UPKEEP: Duration = Duration::from_secs(5);
