use std::{collections::BTreeSet, time::Duration};

use http::Request;
use http_body_util::Full;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tokio::time::sleep;
use tower_outbound::{
    mark::{Deadline, LimitKey, NoRetry},
    observe::Metrics,
    test_util::{Listener, Reply},
    token::{TokenCache, TokenError, source_fn},
};

use super::world::{UnluckyLogin, World};

/// A recorder for this thread, and what it renders.
fn recorder() -> (metrics::LocalRecorderGuard<'static>, PrometheusHandle) {
    let recorder: &'static PrometheusRecorder =
        Box::leak(Box::new(PrometheusBuilder::new().build_recorder()));
    (
        metrics::set_default_local_recorder(recorder),
        recorder.handle(),
    )
}

/// The lines of a metric.
fn lines(page: &str, name: &str) -> Vec<String> {
    let start = format!("{name}{{");
    let lines = page.lines().filter(|line| line.starts_with(&start));
    lines.map(str::to_owned).collect()
}

/// Everything happens at least once.
async fn eventful(metrics: &Metrics) {
    let world = World::new(metrics.clone());
    world.get().await;
    let renewable = Duration::from_secs(2);

    sleep(renewable).await;
    world.cloud.revoke_all();
    world.get().await;
    sleep(renewable).await;
    world.script([Reply::unauthorized(), Reply::unauthorized()]);
    world.get().await;

    let elsewhere = Request::get(world.cloud.login_url());
    let elsewhere = elsewhere.body(Full::default()).unwrap();
    world.call(elsewhere).await.unwrap();

    for reply in [
        Reply::too_many_requests(Some("3")),
        Reply::too_many_requests(None),
        Reply::service_unavailable(Some("2")),
        Reply::cut_before_head(),
    ] {
        world.script([reply]);
        world.get().await;
    }
    let mut marked = world.request("GET");
    marked.extensions_mut().insert(NoRetry);
    world.script([Reply::service_unavailable(None)]);
    world.call(marked).await.unwrap();

    world.script([Reply::too_many_requests(Some("10"))]);
    let hasty = async {
        sleep(Duration::from_secs(1)).await;
        let mut hasty = world.request("GET");
        let deadline = Deadline::within(Duration::from_secs(1));
        hasty.extensions_mut().insert(deadline);
        world.call(hasty).await.unwrap_err();
        metrics.sample_pacer(&world.pacer);
        metrics.sample_budget(&world.budget);
    };
    tokio::join!(world.get(), hasty);

    world
        .cloud
        .script(Listener::Login, "*", [Reply::invalid_client()]);
    world.tokens.renew().await.unwrap_err();

    let login = UnluckyLogin::new(metrics.clone()).await;
    login.get_a_token_that_cannot_be_stored().await;
    login.end().await;
}

/// The names that the documentation lists.
fn documented() -> BTreeSet<String> {
    let source = include_str!("../../src/observe/metrics.rs");
    let rows = source
        .lines()
        .filter_map(|line| line.strip_prefix("/// | `"));
    rows.map(|row| row.split('`').next().unwrap().to_owned())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn all_that_is_documented_is_counted_and_nothing_else() {
    let (_guard, page) = recorder();
    eventful(&Metrics::new("genesys")).await;
    let page = page.render();
    let series = page
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    let counted: BTreeSet<_> = series
        .map(|line| {
            let name = line.split('{').next().unwrap();
            // Of a summary.
            let name = name.strip_suffix("_sum").unwrap_or(name);
            name.strip_suffix("_count").unwrap_or(name).to_owned()
        })
        .collect();
    assert_eq!(counted, documented());
    assert!(documented().len() >= 20);
    for name in counted {
        assert!(page.contains(&format!("# HELP {name} ")), "{name}");
        let lines = lines(&page, &name);
        assert!(
            lines.iter().all(|line| line.contains("client=\"genesys\"")),
            "{lines:?}"
        );
    }
    assert!(!page.contains("hunter2"));
}

#[tokio::test(start_paused = true)]
async fn renewals_are_counted_by_cause_and_outcome() {
    let (_guard, page) = recorder();
    let metrics = Metrics::new("c");
    let world = World::new(metrics);
    world.get().await;
    sleep(Duration::from_secs(2)).await;
    world.cloud.revoke_all();
    world.get().await;
    world
        .cloud
        .script(Listener::Login, "*", [Reply::invalid_client()]);
    sleep(Duration::from_secs(2)).await;
    world.tokens.renew().await.unwrap_err();
    let mut counted = lines(&page.render(), "tower_outbound_renewals_total");
    counted.sort();
    assert_eq!(
        counted,
        [
            r#"tower_outbound_renewals_total{client="c",cause="first_use",outcome="renewed"} 1"#,
            r#"tower_outbound_renewals_total{client="c",cause="refused",outcome="renewed"} 1"#,
            r#"tower_outbound_renewals_total{client="c",cause="requested",outcome="rejected"} 1"#,
        ]
    );
}

#[tokio::test]
async fn failed_renewals_are_counted_by_what_is_to_be_done() {
    let (_guard, page) = recorder();
    for error in [
        TokenError::rejected("wrong secret"),
        TokenError::login_required("the session is over"),
        TokenError::throttled(Some(Duration::from_secs(60)), "slowly"),
    ] {
        let tokens = TokenCache::builder()
            .observer(Metrics::new("c"))
            .build(source_fn(move |_| {
                let error = error.clone();
                async { Err(error) }
            }));
        tokens.token().await.unwrap_err();
    }
    let page = page.render();
    for outcome in ["rejected", "login_required", "throttled"] {
        let line = format!(
            r#"tower_outbound_renewals_total{{client="c",cause="first_use",outcome="{outcome}"}} 1"#
        );
        assert!(page.contains(&line), "{page}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_queue_is_as_long_as_it_is_when_somebody_looks() {
    let (_guard, page) = recorder();
    let metrics = Metrics::new("c");
    let world = World::new(metrics.clone());
    world.get().await;
    world.script([Reply::too_many_requests(Some("10"))]);
    let waiting = || {
        metrics.sample_pacer(&world.pacer);
        let lines = lines(&page.render(), "tower_outbound_queue_length");
        let value = lines.first().and_then(|line| line.rsplit(' ').next());
        value.map(str::to_owned)
    };
    let look = async {
        sleep(Duration::from_secs(1)).await;
        assert_eq!(waiting().as_deref(), Some("3"));
        sleep(Duration::from_secs(5)).await;
        assert_eq!(waiting().as_deref(), Some("1"));
    };
    {
        let dropped = async {
            sleep(Duration::from_millis(100)).await;
            tokio::join!(world.get(), world.get())
        };
        let dropped = tokio::time::timeout(Duration::from_secs(5), dropped);
        let (_, dropped, ()) = tokio::join!(world.get(), dropped, look);
        assert!(dropped.is_err(), "they were still waiting");
    }
    // Long after, nobody remembers the limit.
    sleep(Duration::from_secs(3600)).await;
    world.get().await;
    assert!(world.pacer.snapshot().is_empty());
    assert_eq!(waiting().as_deref(), Some("0"));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_limits_do_not_make_a_thousand_series() {
    let (_guard, page) = recorder();
    let metrics = Metrics::new("c").max_values(10);
    let world = World::new(metrics.clone());
    for number in 0..1000 {
        let mut request = world.request("POST");
        let key = LimitKey::new(format!("tenant {number}"));
        request.extensions_mut().insert(key);
        world.script([Reply::too_many_requests(Some("1"))]);
        world.call(request).await.unwrap();
    }
    metrics.sample_pacer(&world.pacer);
    let page = page.render();
    let queues = lines(&page, "tower_outbound_queue_length");
    assert!((1..=11).contains(&queues.len()), "{queues:?}");
    let refusals = lines(&page, "tower_outbound_refusals_total");
    assert_eq!(refusals.len(), 11, "{refusals:?}");
    let others = refusals
        .iter()
        .filter(|line| line.contains("limit_key=\"other\""));
    assert_eq!(others.count(), 1);
    let sum: f64 = refusals
        .iter()
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum();
    assert_eq!(sum, 1000.0, "all are counted");
}
