//! Spans of attempts and renewals, as a tracer sees them.
//!
//! In a program of its own: which spans anybody wants is decided once for all threads.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::time::sleep;
use tower::{ServiceBuilder, ServiceExt};
use tower_outbound::{
    oauth2::{ClientAuth, ClientCredentials},
    preset::GenesysCloud,
    rate_limit_retry::RateLimitRetryLayer,
    test_util::{CLIENT_ID, CLIENT_SECRET, Listener, LoopbackCloud, Reply},
    token::TokenCache,
};
use tracing::{
    Subscriber,
    field::{Field, Visit},
    span,
};
use tracing_subscriber::{Layer, layer::Context, prelude::*, registry::LookupSpan};

/// One span, as it was when the story ended.
#[derive(Clone, Debug, Default)]
struct Seen {
    name: &'static str,
    parent: Option<usize>,
    follows: Option<usize>,
    fields: BTreeMap<&'static str, String>,
}

impl Seen {
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }
}

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.fields.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name(), value.to_owned());
    }
}

#[derive(Clone, Default)]
struct Tracer(Arc<Mutex<Vec<Seen>>>);

/// Where in the list a span is.
struct Index(usize);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Tracer {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, cx: Context<'_, S>) {
        let span = cx.span(id).unwrap();
        let mut all = self.0.lock().unwrap();
        span.extensions_mut().insert(Index(all.len()));
        let mut seen = Seen {
            name: span.name(),
            parent: span.parent().map(|parent| index(&parent.extensions())),
            ..Seen::default()
        };
        attributes.record(&mut seen);
        all.push(seen);
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, cx: Context<'_, S>) {
        let at = index(&cx.span(id).unwrap().extensions());
        values.record(&mut self.0.lock().unwrap()[at]);
    }

    fn on_follows_from(&self, id: &span::Id, follows: &span::Id, cx: Context<'_, S>) {
        let at = index(&cx.span(id).unwrap().extensions());
        let follows = index(&cx.span(follows).unwrap().extensions());
        self.0.lock().unwrap()[at].follows = Some(follows);
    }
}

fn index(extensions: &tracing_subscriber::registry::Extensions<'_>) -> usize {
    extensions.get::<Index>().unwrap().0
}

#[tokio::test(start_paused = true)]
async fn every_attempt_and_every_renewal_has_a_span_with_the_names_of_the_conventions() {
    let tracer = Tracer::default();
    let ours = tracing_subscriber::filter::filter_fn(|metadata| {
        metadata.target().starts_with("tower_outbound") || metadata.name() == "call"
    });
    let subscriber = tracing_subscriber::registry().with(tracer.clone().with_filter(ours));
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let cloud = LoopbackCloud::builder().start_in_memory();
    let http = cloud.client::<Full<Bytes>>();
    let genesys = GenesysCloud::at(&cloud.token_url(), cloud.api_url()).unwrap();
    let endpoint = genesys
        .token_endpoint(CLIENT_ID, ClientAuth::basic(CLIENT_SECRET), http.clone())
        .unwrap();
    let tokens = TokenCache::new(endpoint.grant(ClientCredentials));
    let api = ServiceBuilder::new()
        .layer(RateLimitRetryLayer::new())
        .layer(genesys.token_refresh(tokens.clone()))
        .service(http);
    tokens.token().await.unwrap();
    sleep(Duration::from_secs(2)).await;
    tracer.0.lock().unwrap().clear();

    // A dead token, then a refusal by a limit.
    cloud.revoke_all();
    let replies = [Reply::pass(), Reply::too_many_requests(Some("1"))];
    cloud.script(Listener::Api, "*", replies);
    let uri = format!("{}/secret/path?key=hunter2", cloud.api_url());
    let request = Request::get(uri).body(Full::default()).unwrap();
    let call = tracing::info_span!("call");
    let response = tracing::Instrument::instrument(api.oneshot(request), call.clone()).await;
    assert_eq!(response.unwrap().status(), 404);
    drop(call);

    let all = tracer.0.lock().unwrap().clone();
    let told: Vec<_> = all
        .iter()
        .map(|span| {
            (
                span.name,
                span.parent.map(|parent| all[parent].name),
                span.field("http.request.resend_count"),
                span.field("http.response.status_code"),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("call", None, None, None),
            ("rate_limit_retry", Some("call"), None, Some("429")),
            ("token_refresh", Some("rate_limit_retry"), None, Some("401")),
            ("token_renewal", None, None, None),
            (
                "token_refresh",
                Some("rate_limit_retry"),
                Some("1"),
                Some("429")
            ),
            ("rate_limit_retry", Some("call"), Some("2"), Some("404")),
            (
                "token_refresh",
                Some("rate_limit_retry"),
                Some("2"),
                Some("404")
            ),
        ]
    );
    let renewal = &all[3];
    let started_in = renewal.follows.map(|span| all[span].name);
    assert_eq!(started_in, Some("rate_limit_retry"));
    assert_eq!(renewal.field("cause"), Some("refused"));
    let authority = cloud.api_url().trim_start_matches("http://");
    for span in &all[1..] {
        assert_eq!(span.field("otel.kind"), Some("internal"), "{span:?}");
        if span.name != "token_renewal" {
            assert_eq!(span.field("http.request.method"), Some("GET"));
            let port = span.field("server.port").map(|port| format!(":{port}"));
            let server = span.field("server.address").unwrap().to_owned();
            assert_eq!(server + &port.unwrap_or_default(), authority);
        }
    }
    let text = format!("{all:?}");
    let mut secrets = cloud.issued_tokens();
    secrets.extend([CLIENT_SECRET, "hunter2", "secret/path"].map(str::to_owned));
    assert!(
        !secrets.iter().any(|secret| text.contains(secret)),
        "{text}"
    );
}
