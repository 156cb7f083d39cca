//! What a server says of what is left.

use tokio::time::sleep;

use super::*;

const POLICY: &str = "ratelimit-policy";

#[tokio::test(start_paused = true)]
async fn what_is_said_to_be_left_is_sent_and_the_rest_held_until_the_reset() {
    let probe = Probe::new(|count, _| {
        let response = status(200);
        Ok(match count {
            1 => with_field(response, "ratelimit", r#""default";r=2;t=10"#),
            2 => with_field(response, "ratelimit", r#""default";r=1;t=10"#),
            3 => with_field(response, "ratelimit", r#""default";r=0;t=10"#),
            _ => response,
        })
    });
    let (api, pacer) = paced(Pacer::new(), &probe);
    served(send(&api, numbered(0))).await;
    let told = now();
    all_served(send_all(&api, 1..5)).await;
    let times = times(&probe, told);
    assert_eq!(times.len(), 5);
    let (at_once, held) = times[1..].split_at(2);
    assert!(at_once.iter().all(Duration::is_zero), "{times:?}");
    assert!(held.iter().all(|time| *time >= 10 * SECOND), "{times:?}");
    assert!(held[1] < 11 * SECOND, "{times:?}");
    assert_eq!(only(&pacer).refusals, 0);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_tells_its_window_never_has_to_refuse() {
    // Five in any window of ten seconds, and each answer says how many are left.
    let windows = Mutex::new((None, 0_u32));
    let probe = Probe::new(move |_, _| {
        let mut window = windows.lock().unwrap();
        if window
            .0
            .is_none_or(|from: Instant| from.elapsed() >= 10 * SECOND)
        {
            *window = (Some(now()), 0);
        }
        window.1 += 1;
        let response = status(if window.1 > 5 { 429 } else { 200 });
        let left = 5_u32.saturating_sub(window.1);
        let reset = 10 - window.0.unwrap().elapsed().as_secs();
        let mut response = with_field(response, POLICY, r#""default";q=5;w=10"#);
        let field = format!(r#""default";r={left};t={reset}"#);
        response.headers_mut().insert("ratelimit", field.parse()?);
        Ok(response)
    });
    let (api, pacer) = paced(Pacer::new(), &probe);
    served(send(&api, numbered(0))).await;
    let start = now();
    all_served(send_all(&api, 1..50)).await;
    assert_eq!(only(&pacer).refusals, 0);
    assert!(start.elapsed() < 102 * SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn fields_that_cannot_be_read_are_as_good_as_none() {
    for field in [
        "default;r",
        r#""default";r=;t="#,
        r#""default";r=-1;t=-1"#,
        r#""default""#,
        "r=0, t=10",
        "\u{7f}",
        "",
    ] {
        let Ok(value) = HeaderValue::from_str(field) else {
            continue;
        };
        let probe = Probe::new(move |_, _| {
            let mut response = status(200);
            response.headers_mut().insert("ratelimit", value.clone());
            Ok(response)
        });
        let (api, _) = paced(Pacer::new(), &probe);
        let start = now();
        for number in 0..3 {
            served(send(&api, numbered(number))).await;
        }
        all_served(send_all(&api, 3..100)).await;
        assert_eq!(start.elapsed(), 4 * LATENCY, "{field:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_telling_is_not_asked_one_request_at_a_time() {
    let probe = Probe::slow(SECOND, |count, _| {
        let response = status(200);
        Ok(match count {
            1 | 2 => with_field(response, "ratelimit", r#""default";r=0;t=2"#),
            _ => response,
        })
    });
    let (api, _) = paced(Pacer::new(), &probe);
    for number in 0..3 {
        served(send(&api, numbered(number))).await;
        sleep(5 * SECOND).await;
    }
    let start = now();
    all_served(send_all(&api, 3..103)).await;
    assert!(start.elapsed() < 20 * SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_telling_does_not_stop_the_job() {
    let probe = Probe::new(|count, _| {
        let response = status(200);
        Ok(match count {
            1 | 2 => {
                let response = with_field(response, POLICY, r#""default";q=5;w=10"#);
                with_field(response, "ratelimit", r#""default";r=0;t=10"#)
            }
            _ => response,
        })
    });
    let (api, _) = paced(Pacer::new(), &probe);
    for number in 0..2 {
        served(send(&api, numbered(number))).await;
        sleep(11 * SECOND).await;
    }
    let start = now();
    all_served(send_all(&api, 2..50)).await;
    assert!(start.elapsed() < 200 * SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn answers_that_never_come_do_not_stop_the_job_that_a_server_has_told_of_its_window() {
    // Four callers of the new window give up before they have an answer.
    let probe = Probe::slow(SECOND, |_, _| {
        let response = with_field(status(200), POLICY, r#""default";q=4;w=10"#);
        Ok(with_field(response, "ratelimit", r#""default";r=0;t=10"#))
    });
    let (api, _) = paced(Pacer::new(), &probe);
    for number in 0..2 {
        served(send(&api, numbered(number))).await;
        sleep(11 * SECOND).await;
    }
    let lost = send_all(&api, 2..6);
    sleep(SECOND / 2).await;
    lost.iter().for_each(JoinHandle::abort);
    let start = now();
    served(send(&api, numbered(6))).await;
    assert!(start.elapsed() < 60 * SECOND, "{:?}", start.elapsed());
}
