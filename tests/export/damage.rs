//! What a crash leaves at the worst moments, and what others do to the files.

use std::{
    fs::{self, OpenOptions},
    io::Write,
};

use crate::program::{DETAILS, JOBS, RESULTS, World};

#[tokio::test]
async fn half_a_line_and_half_a_checkpoint_are_not_gone_on_with() {
    for (mode, route, passed) in [("--details", DETAILS, 100), ("--job", RESULTS, 5)] {
        let world = World::new(&format!("half{mode}"), Some(mode)).await;
        world.finish(&[]).await;
        let whole = world.written();
        world.kill_at(route, passed, &[]).await;

        let mut output = OpenOptions::new().append(true).open(&world.output).unwrap();
        output.write_all(b"{\"conversationId\":\"half").unwrap();
        fs::write(world.output.with_extension("checkpoint.new"), b"{\"of\":").unwrap();
        world.finish(&["--resume"]).await;
        assert_eq!(world.written(), whole);
    }
}

#[tokio::test]
async fn without_a_checkpoint_too_half_a_line_is_not_gone_on_with() {
    let world = World::new("half", None).await;
    world.kill_at(DETAILS, 100, &[]).await;
    append_half_a_line(&world);
    world.finish(&["--resume"]).await;
    world.assert_all_are_there();
}

fn append_half_a_line(world: &World) {
    let mut options = OpenOptions::new();
    let mut output = options.append(true).open(&world.output).unwrap();
    output.write_all(b"{\"conversationId\":\"half").unwrap();
}

#[tokio::test]
async fn a_job_that_the_server_has_forgotten_is_begun_anew() {
    let world = World::new("forgotten", Some("--job")).await;
    world.finish(&[]).await;
    let whole = world.written();
    world.kill_at(RESULTS, 5, &[]).await;
    let text = fs::read_to_string(world.checkpoint()).unwrap();
    let (before, after) = text.split_once("/jobs/").unwrap();
    let other_job = "00000000-0000-4000-8000-000000000000";
    let text = format!("{before}/jobs/{other_job}{}", &after[other_job.len()..]);
    fs::write(world.checkpoint(), text).unwrap();

    world.cloud.clear_log();
    world.finish(&["--resume"]).await;
    assert_eq!(world.cloud.api_calls_to(JOBS), 1);
    assert_eq!(world.written(), whole);
}

#[tokio::test]
async fn what_does_not_fit_is_an_error_and_stays_as_it_is() {
    let world = World::new("misfit", Some("--details")).await;
    world.kill_at(DETAILS, 100, &[]).await;
    let (output, checkpoint) = (fs::read(&world.output).unwrap(), world.checkpoint());
    let text = fs::read_to_string(&checkpoint).unwrap();

    fs::write(&checkpoint, &text[..text.len() / 2]).unwrap();
    assert_says(&world, "is no checkpoint").await;
    fs::write(&checkpoint, text.replace("Details", "Job")).unwrap();
    assert_says(&world, "is of another export").await;
    assert_eq!(fs::read(&world.output).unwrap(), output);
    fs::write(&checkpoint, &text).unwrap();
    fs::write(&world.output, &output[..100]).unwrap();
    assert_says(&world, "shorter than its checkpoint says").await;
    assert_eq!(fs::read(&world.output).unwrap(), &output[..100]);
}

#[tokio::test]
async fn a_checkpoint_does_not_outlive_an_output_that_is_begun_anew() {
    let details = World::new("anew", Some("--details")).await;
    details.finish(&[]).await;
    let whole = details.written();
    details.kill_at(DETAILS, 100, &[]).await;

    let query = details.in_mode(None);
    query.finish(&[]).await;
    query.assert_all_are_there();
    details.finish(&["--resume"]).await;
    assert_eq!(details.written(), whole);
}

async fn assert_says(world: &World, what: &str) {
    let ended = world.run(&["--resume"]).await;
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success() && said.contains(what), "{said}");
}
