//! Named scenarios: a server, and what befalls it.

use std::time::Duration;

use super::{
    latency::Latency,
    server::{
        Settings,
        hint::{Fields, Hint},
        quota::Quota,
        weather::Weather,
    },
};

/// A server, and how many processes share it.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub name: String,
    pub group: Group,
    pub settings: Settings,
    pub processes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// The usual limits: what every client should manage.
    Usual,
    /// The same, with `RateLimit` fields on every answer.
    WithFields,
    /// What nobody is known to manage.
    Harder,
}

impl Scenario {
    /// A server that tells the exact time, rounded up, and answers within 50 ms.
    pub fn new(group: Group, name: &str, quota: Quota) -> Self {
        let settings = Settings {
            weather: Weather::fair(quota),
            hint: Hint::Exact,
            fields: Fields::None,
            latency: Latency::Constant { millis: 50 },
        };
        Self {
            name: name.to_owned(),
            group,
            settings,
            processes: 1,
        }
    }

    pub fn hint(mut self, hint: Hint) -> Self {
        self.settings.hint = hint;
        self
    }

    pub fn fields(mut self, fields: Fields) -> Self {
        self.settings.fields = fields;
        self
    }

    pub fn weather(mut self, change: impl FnOnce(Weather) -> Weather) -> Self {
        self.settings.weather = change(self.settings.weather);
        self
    }

    pub fn processes(mut self, processes: usize) -> Self {
        self.processes = processes;
        self
    }

    pub fn latency(mut self, latency: Latency) -> Self {
        self.settings.latency = latency;
        self
    }
}

/// All of them.
pub fn all() -> Vec<Scenario> {
    let with_fields = usual().into_iter().map(|scenario| Scenario {
        name: format!("{}, RateLimit", scenario.name),
        group: Group::WithFields,
        ..scenario.fields(Fields::RateLimit)
    });
    [usual(), with_fields.collect(), harder()].concat()
}

fn usual() -> Vec<Scenario> {
    let new = |name: &str, quota| Scenario::new(Group::Usual, name, quota);
    let bucket = Quota::bucket::<u32>;
    vec![
        new("window 300/60 s", window_of_a_minute()),
        new(
            "window 100/10 s",
            Quota::fixed_window(100, 10 * SECOND, Duration::ZERO),
        ),
        new("bucket 7/s, burst 7", bucket(7, 7)),
        new("bucket 7/s, burst 7, no hint", bucket(7, 7)).hint(Hint::Absent),
        new("bucket 20/s, burst 20", bucket(20, 20)),
        new("bucket 20/s, burst 20, no hint", bucket(20, 20)).hint(Hint::Absent),
        new("bucket 50/s, burst 50", bucket(50, 50)),
        new("bucket 20/s, burst 5, always 1 s", bucket(20, 5)).hint(Hint::Constant { seconds: 1 }),
        new("bucket 20/s, burst 1, no hint", bucket(20, 1)).hint(Hint::Absent),
    ]
}

fn harder() -> Vec<Scenario> {
    let new = |name: &str, quota| Scenario::new(Group::Harder, name, quota);
    let bucket = Quota::bucket::<u32>;
    let two_limits = || {
        Quota::All(vec![
            bucket(20, 20),
            Quota::fixed_window(600, MINUTE, Duration::ZERO),
        ])
    };
    let mut harder = vec![
        // Other shapes.
        new("window 300/60 s, no hint", window_of_a_minute()).hint(Hint::Absent),
        new(
            "window 100/10 s, 7 s in",
            Quota::fixed_window(100, 10 * SECOND, 7 * SECOND),
        ),
        new("sliding 300/60 s", Quota::sliding_window(300, MINUTE)),
        new(
            "sliding 300/60 s, no hint",
            Quota::sliding_window(300, MINUTE),
        )
        .hint(Hint::Absent),
        new("sliding 100/10 s", Quota::sliding_window(100, 10 * SECOND)),
        new("window 10/1 s", window_of_a_second(10)),
        new("window 10/1 s, no hint", window_of_a_second(10)).hint(Hint::Absent),
        new("window 10/1 s, RateLimit", window_of_a_second(10)).fields(Fields::RateLimit),
        new("sliding 10/1 s", Quota::sliding_window(10, SECOND)),
        new("sliding 10/1 s, no hint", Quota::sliding_window(10, SECOND)).hint(Hint::Absent),
        new(
            "sliding 10/1 s, RateLimit",
            Quota::sliding_window(10, SECOND),
        )
        .fields(Fields::RateLimit),
        new("window 100/1 s", window_of_a_second(100)),
        new("window 100/1 s, RateLimit", window_of_a_second(100)).fields(Fields::RateLimit),
        new("nginx 20/s", bucket(20, 1)).hint(Hint::Constant { seconds: 1 }),
        new(
            "nginx 20/s, burst 20 queued",
            Quota::queueing_bucket(20, 20),
        )
        .hint(Hint::Absent),
        new("nginx 100/s, no hint", bucket(100, 1)).hint(Hint::Absent),
        new("bucket 1/s, burst 1", bucket(1, 1)),
        new("bucket 1/s, burst 1, no hint", bucket(1, 1)).hint(Hint::Absent),
        new("bucket 0.2/s, burst 1", Quota::bucket(0.2, 1)),
        new("bucket 0.2/s, burst 1, no hint", Quota::bucket(0.2, 1)).hint(Hint::Absent),
        new("bucket 0.2/s, burst 5", Quota::bucket(0.2, 5)),
        new("20/s and 600/60 s", two_limits()),
        new("20/s and 600/60 s, no hint", two_limits()).hint(Hint::Absent),
        new("20/s and 600/60 s, RateLimit", two_limits()).fields(Fields::RateLimit),
        new("8 at a time, always 1 s", Quota::concurrency(8)).hint(Hint::Constant { seconds: 1 }),
        new("8 at a time, no hint", Quota::concurrency(8)).hint(Hint::Absent),
        // Other hints.
        new(
            "window 100/10 s, date",
            Quota::fixed_window(100, 10 * SECOND, Duration::ZERO),
        )
        .hint(Hint::Date),
        new(
            "window 100/10 s, too early",
            Quota::fixed_window(100, 10 * SECOND, Duration::ZERO),
        )
        .hint(Hint::TooEarly),
        new(
            "window 100/10 s, too late",
            Quota::fixed_window(100, 10 * SECOND, Duration::ZERO),
        )
        .hint(Hint::TooLate),
        new("bucket 20/s, burst 20, always 10 s", bucket(20, 20))
            .hint(Hint::Constant { seconds: 10 }),
        new("bucket 20/s, burst 5, always 60 s", bucket(20, 5))
            .hint(Hint::Constant { seconds: 60 }),
        new("bucket 0.2/s, burst 1, always 1 s", Quota::bucket(0.2, 1))
            .hint(Hint::Constant { seconds: 1 }),
        new(
            "window 5/60 s, always 1 s",
            Quota::fixed_window(5, MINUTE, 20 * SECOND),
        )
        .hint(Hint::Constant { seconds: 1 }),
        new("bucket 20/s, burst 20, date", bucket(20, 20)).hint(Hint::Date),
        new("bucket 20/s, burst 20, too late", bucket(20, 20)).hint(Hint::TooLate),
        new("bucket 20/s, burst 20, X-RateLimit", bucket(20, 20)).fields(Fields::XRateLimit),
        new(
            "window 100/10 s, penalising",
            Quota::fixed_window(100, 10 * SECOND, Duration::ZERO),
        )
        .weather(Weather::penalising),
        new("bucket 20/s, burst 20, penalising", bucket(20, 20)).weather(Weather::penalising),
        // Other weather.
        new("window 300/60 s, halved at 130 s", window_of_a_minute())
            .weather(|weather| weather.then_times(130 * SECOND, 0.5)),
        new("window 300/60 s, doubled at 130 s", window_of_a_minute())
            .weather(|weather| weather.then_times(130 * SECOND, 2.0)),
        new("bucket 20/s, burst 20, halved at 50 s", bucket(20, 20))
            .weather(|weather| weather.then_times(50 * SECOND, 0.5)),
        new("bucket 20/s, burst 20, doubled at 50 s", bucket(20, 20))
            .weather(|weather| weather.then_times(50 * SECOND, 2.0)),
        new(
            "bucket 50/s, burst 50, down for 30 s, weak for 30 s",
            bucket(50, 50),
        )
        .weather(|weather| {
            weather
                .down_between(10 * SECOND, 40 * SECOND)
                .then_times(10 * SECOND, 0.25)
                .then_times(70 * SECOND, 1.0)
        }),
        new(
            "bucket 50/s, burst 50, down for 30 s, always 5 s",
            bucket(50, 50),
        )
        .hint(Hint::Constant { seconds: 5 })
        .weather(|weather| weather.down_between(10 * SECOND, 40 * SECOND)),
        // Latency and failures.
        new("bucket 20/s, burst 20, latency varies", bucket(20, 20)).latency(VARYING),
        new(
            "bucket 20/s, burst 20, RateLimit, latency varies",
            bucket(20, 20),
        )
        .fields(Fields::RateLimit)
        .latency(VARYING),
        new(
            "bucket 20/s, burst 1, no hint, latency varies",
            bucket(20, 1),
        )
        .hint(Hint::Absent)
        .latency(VARYING),
        new(
            "bucket 20/s, burst 1, no hint, RateLimit, latency varies",
            bucket(20, 1),
        )
        .hint(Hint::Absent)
        .fields(Fields::RateLimit)
        .latency(VARYING),
        new("window 300/60 s, latency varies", window_of_a_minute()).latency(VARYING),
        new(
            "window 300/60 s, RateLimit, latency varies",
            window_of_a_minute(),
        )
        .fields(Fields::RateLimit)
        .latency(VARYING),
        new("bucket 20/s, burst 20, 1 % fail", bucket(20, 20))
            .weather(|weather| weather.failing(0.01)),
    ];
    // Several processes that know nothing of each other.
    for processes in [2, 5, 10] {
        for (name, quota) in [
            ("window 300/60 s", window_of_a_minute()),
            ("bucket 20/s, burst 20", bucket(20, 20)),
        ] {
            let with_fields = format!("{name}, RateLimit, {processes} processes");
            let name = format!("{name}, {processes} processes");
            harder.push(new(&name, quota.clone()).processes(processes));
            harder.push(
                new(&with_fields, quota)
                    .fields(Fields::RateLimit)
                    .processes(processes),
            );
        }
        let name = format!("bucket 20/s, burst 20, no hint, {processes} processes");
        harder.push(
            new(&name, bucket(20, 20))
                .hint(Hint::Absent)
                .processes(processes),
        );
    }
    harder
}

fn window_of_a_second(quota: u32) -> Quota {
    Quota::fixed_window(quota, SECOND, Duration::ZERO)
}

/// Its first window ends 40 s after the start of the run.
fn window_of_a_minute() -> Quota {
    Quota::fixed_window(300, MINUTE, 20 * SECOND)
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const VARYING: Latency = Latency::Varying { median_millis: 50 };
