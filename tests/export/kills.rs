use std::process::Output;

use tokio::process::{Child, Command};

use crate::program::{CONVERSATIONS, DETAILS, JOBS, LISTING, POLLS, RESULTS, World};

#[tokio::test]
async fn the_listing_and_its_details_survive_kills() {
    let world = World::new("query", None).await;
    for (route, passed) in [
        (LISTING, 0),
        (LISTING, 2),
        (DETAILS, 0),
        (DETAILS, 1),
        (DETAILS, 120),
        (DETAILS, 100),
    ] {
        world.kill_at(route, passed, &["--resume"]).await;
    }
    let there = world.written().len();
    world.cloud.clear_log();
    world.finish(&["--resume"]).await;
    world.assert_all_are_there();
    // The last line may have been cut in half.
    let got = world.cloud.api_calls_to(DETAILS);
    let missing = CONVERSATIONS - there;
    assert!((missing..=missing + 1).contains(&got), "{missing} {got}");
    assert!(there > 0);
}

#[tokio::test]
async fn details_survive_kills_and_go_on_with_the_page_that_was_not_done() {
    let world = World::new("details", Some("--details")).await;
    world.finish(&[]).await;
    let whole = world.written();
    world.assert_all_are_there();

    world.kill_at(LISTING, 0, &[]).await;
    assert_eq!(done_as_checkpointed(&world), 0);
    let mut done = 0;
    for (route, passed) in [
        (DETAILS, 0),
        (DETAILS, 19),
        (DETAILS, 55),
        (LISTING, 4),
        (DETAILS, 1),
        (DETAILS, 120),
    ] {
        world.kill_at(route, passed, &["--resume"]).await;
        let before = done;
        done = done_as_checkpointed(&world);
        // Ten are under way at a time, so that of those that passed ten may not be written.
        let least = if route == DETAILS {
            passed.saturating_sub(10) / 20 * 20
        } else {
            0
        };
        assert!(done >= before + least, "{before} and {passed}: {done}");
    }
    world.cloud.clear_log();
    world.finish(&["--resume"]).await;
    assert_eq!(world.cloud.api_calls_to(DETAILS), CONVERSATIONS - done);
    assert_eq!(world.written(), whole);
}

fn done_as_checkpointed(world: &World) -> usize {
    let Ok(text) = std::fs::read_to_string(world.checkpoint()) else {
        return 0;
    };
    let checkpoint: serde_json::Value = serde_json::from_str(&text).unwrap();
    usize::try_from(checkpoint["records"].as_u64().unwrap()).unwrap()
}

#[tokio::test]
async fn a_job_survives_kills_and_its_results_go_on_where_they_were() {
    let world = World::new("job", Some("--job")).await;
    world.finish(&[]).await;
    let whole = world.written();
    world.assert_all_are_there();

    world.kill_at(JOBS, 0, &[]).await;
    for (route, passed) in [
        (POLLS, 0),
        (RESULTS, 0),
        (RESULTS, 1),
        (RESULTS, 0),
        (RESULTS, 6),
        (RESULTS, 7),
    ] {
        world.kill_at(route, passed, &["--resume"]).await;
    }
    assert_eq!(done_as_checkpointed(&world), 14 * 20);
    world.cloud.clear_log();
    world.finish(&["--resume"]).await;
    assert_eq!(world.cloud.api_calls_to(RESULTS), 1);
    assert_eq!(world.cloud.api_calls_to(JOBS), 0);
    assert_eq!(world.written(), whole);
}

#[tokio::test]
async fn what_is_done_is_not_done_again() {
    for mode in ["--details", "--job"] {
        let world = World::new(&format!("done{mode}"), Some(mode)).await;
        world.finish(&[]).await;
        let whole = world.written();
        world.cloud.clear_log();
        world.finish(&["--resume"]).await;
        assert_eq!(world.cloud.api_calls(), 0);
        assert_eq!(world.written(), whole);
        // Without --resume it is begun anew.
        world.finish(&[]).await;
        assert!(world.cloud.api_calls() > 0);
        assert_eq!(world.written(), whole);
    }
}

#[cfg(unix)]
#[tokio::test]
async fn an_interrupt_ends_it_with_what_it_has_and_a_chart() {
    for (mode, route, passed) in [
        (None, DETAILS, 100),
        (Some("--details"), DETAILS, 100),
        (Some("--job"), RESULTS, 5),
    ] {
        let world = World::new(&format!("interrupt{}", mode.unwrap_or_default()), mode).await;
        let chart = world.output.with_extension("svg");
        let plot = ["--plot", chart.to_str().unwrap()];
        let child = world.start_up_to(route, passed, &plot).await;
        let output = interrupt(child).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("interrupted; `--resume`"), "{said}");
        assert!(world.written().len() >= 80);
        assert!(
            std::fs::read_to_string(&chart)
                .unwrap()
                .contains("refused (429)")
        );

        world.cloud.clear_scripts();
        world.cloud.clear_log();
        world.finish(&["--resume"]).await;
        world.assert_all_are_there();
        assert!(world.cloud.api_calls_to(DETAILS) <= CONVERSATIONS - 80);
    }
}

async fn interrupt(child: Child) -> Output {
    let id = child.id().expect("it runs").to_string();
    let sent = Command::new("kill").args(["-INT", &id]).status().await;
    assert!(sent.unwrap().success());
    child.wait_with_output().await.unwrap()
}
