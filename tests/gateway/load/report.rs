use std::{collections::HashMap, fmt, time::Duration};

use super::{
    chaos::Saw,
    program::{Call, Ended, Kind},
};

/// What came of a run, on both sides of the gateway.
pub struct Report {
    calls: Vec<Call>,
    saw: Saw,
    /// The resident memory of the gateway in KiB, once a second.
    memory: Vec<u64>,
    duration: Duration,
}

impl Report {
    pub fn new(mut calls: Vec<Call>, saw: Saw, memory: Vec<u64>, duration: Duration) -> Self {
        calls.sort_by_key(|call| call.took);
        Self {
            calls,
            saw,
            memory,
            duration,
        }
    }

    /// A call that is not answered is a `POST` that was cut, or is as `may_fail` says; each unmarked
    /// `POST` was carried out at most once, whatever its program was told.
    pub fn every_call_is_answered_but_cut_posts(&self, may_fail: impl Fn(&str) -> bool) {
        for call in &self.calls {
            let done = self.saw.done.get(&call.id).copied().unwrap_or_default();
            match &call.ended {
                Ended::Answered => assert!(done >= 1, "{call:?}"),
                Ended::Lost => {
                    assert_eq!((call.kind, done), (Kind::Post, 1), "{call:?}");
                }
                Ended::Otherwise(what) => assert!(may_fail(what), "{call:?}, done {done} times"),
            }
            if call.kind == Kind::Post {
                assert!(done <= 1, "doubled: {call:?}, done {done} times");
            }
        }
    }

    /// So that the check before this one has something to say.
    pub fn posts_were_cut(&self) {
        let lost = self.calls.iter().filter(|call| call.ended == Ended::Lost);
        assert!(lost.count() > 0);
    }

    /// A lower bound, which a slow machine cannot break.
    pub fn tokens_are_minted_a_second_apart(&self) {
        assert!(self.saw.mints.len() > 1, "tokens died");
        for pair in self.saw.mints.windows(2) {
            assert!(pair[1] - pair[0] >= Duration::from_secs(1), "{pair:?}");
        }
    }

    pub fn memory_does_not_grow(&self) {
        let after_the_start = self.memory.get(WARM_UP..).unwrap_or_default();
        let (Some(first), Some(most)) = (after_the_start.first(), after_the_start.iter().max())
        else {
            // A run that is as short as that shows nothing of memory.
            assert!(self.duration < Duration::from_secs(2 * WARM_UP as u64));
            return;
        };
        assert!(
            most - first < MAY_GROW_KIB,
            "KiB by second: {:?}",
            self.memory
        );
    }

    /// How long the given share of the calls took at most.
    fn percentile(&self, percent: usize) -> f64 {
        let index = (self.calls.len() * percent / 100).min(self.calls.len() - 1);
        self.calls[index].took.as_secs_f64() * 1000.0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Saw {
            mints,
            requests,
            answered_401,
            answered_429,
            cut,
            ..
        } = &self.saw;
        let calls = self.calls.len();
        let rate = calls as f64 / self.duration.as_secs_f64();
        writeln!(f, "  calls      {calls}, {rate:.0} a second")?;
        let (half, most) = (self.percentile(50), self.percentile(99));
        writeln!(f, "  latency    p50 {half:.1} ms, p99 {most:.1} ms")?;
        let replays = *requests - calls as u64;
        writeln!(
            f,
            "  requests   {requests}, of which {replays} were replays"
        )?;
        writeln!(
            f,
            "  upstream   401: {answered_401}, 429: {answered_429}, cut: {cut}"
        )?;
        writeln!(f, "  mints      {}", mints.len())?;
        let mut ends: HashMap<String, u32> = HashMap::new();
        for call in &self.calls {
            let end = match &call.ended {
                Ended::Answered => continue,
                Ended::Lost => format!("{:?} lost", call.kind),
                Ended::Otherwise(what) => format!("{:?} {what}", call.kind),
            };
            *ends.entry(end).or_default() += 1;
        }
        writeln!(f, "  failed     {ends:?}")?;
        let curve: Vec<_> = self.memory.iter().step_by(5).collect();
        write!(f, "  RSS in KiB, every 5 s: {curve:?}")
    }
}

/// In seconds: until then pools and buffers fill.
const WARM_UP: usize = 10;

const MAY_GROW_KIB: u64 = 5 * 1024;
