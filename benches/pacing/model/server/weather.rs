//! What befalls a server in the course of a run: pure decisions that are told the time.

use std::time::Duration;

use super::{
    super::clock::whole_seconds,
    quota::{Decision, Quota},
};

/// A quota, and what happens to it.
#[derive(Clone, Debug)]
pub struct Weather {
    quota: Quota,
    /// At which times the quota changes, and to how many times what it was at first; in order.
    steps: Vec<(Duration, f64)>,
    factor: f64,
    down: Option<Outage>,
    penalty: Option<Penalty>,
    /// The share of processed requests that are answered 502.
    failing: f64,
}

/// A time in which every request is answered 503.
#[derive(Clone, Copy, Debug)]
struct Outage {
    from: Duration,
    until: Duration,
}

/// Coming back before the time that was named makes that time longer.
#[derive(Clone, Copy, Debug)]
struct Penalty {
    /// The limit is closed until then; requests that come before lengthen it.
    until: Duration,
    /// The pause that was last asked for.
    pause: Duration,
    /// Requests that were under way when the limit closed are forgiven until then.
    grace: Duration,
}

/// What becomes of a request that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Answered after a time in the server's queue: 200, or 502 for no reason of the client's.
    Processed { after: Duration, fails: bool },
    /// 429, and after which time it would not be.
    Refused { opens_in: Duration },
    /// 503: down, or overloaded.
    Unavailable,
}

impl Weather {
    pub fn fair(quota: Quota) -> Self {
        Self {
            quota,
            steps: Vec::new(),
            factor: 1.0,
            down: None,
            penalty: None,
            failing: 0.0,
        }
    }

    /// From this time on, the quota is so many times what it was at first. Call it in order of time.
    pub fn then_times(mut self, at: Duration, factor: f64) -> Self {
        self.steps.push((at, factor));
        self
    }

    pub fn down_between(mut self, from: Duration, until: Duration) -> Self {
        self.down = Some(Outage { from, until });
        self
    }

    pub fn penalising(mut self) -> Self {
        self.penalty = Some(Penalty {
            until: Duration::ZERO,
            pause: Duration::ZERO,
            grace: Duration::ZERO,
        });
        self
    }

    pub fn failing(mut self, share: f64) -> Self {
        self.failing = share;
        self
    }

    pub fn quota(&mut self) -> &mut Quota {
        &mut self.quota
    }

    /// Decides on a request that arrives now.
    pub fn fate(&mut self, now: Duration, rng: &mut fastrand::Rng) -> Fate {
        self.turn(now);
        if self.is_down(now) {
            return Fate::Unavailable;
        }
        if let Some(opens_in) = self.penalised(now) {
            return Fate::Refused { opens_in };
        }
        match self.quota.admit(now) {
            Decision::Admit { after } => Fate::Processed {
                after,
                fails: self.failing > 0.0 && rng.f64() < self.failing,
            },
            Decision::Refuse { .. } if matches!(self.quota, Quota::Overload(_)) => {
                Fate::Unavailable
            }
            Decision::Refuse { opens_in } => Fate::Refused {
                opens_in: self.closing(opens_in, now),
            },
        }
    }

    /// When a request would be processed at the earliest, if none came before it; `None` if that
    /// depends on those that are being processed.
    pub fn next_admission(&mut self, mut now: Duration) -> Option<Duration> {
        loop {
            self.turn(now);
            if let Some(outage) = self.down.filter(|_| self.is_down(now)) {
                now = outage.until;
                continue;
            }
            match self.quota.opens_in(now) {
                None => return Some(now),
                Some(Duration::ZERO) => return None,
                // It may change, or be down, before it opens.
                Some(opens_in) => now = self.next_step(now, now + opens_in),
            }
        }
    }

    fn next_step(&self, after: Duration, before: Duration) -> Duration {
        let step = self.steps.iter().map(|(at, _)| *at).find(|at| *at > after);
        step.map_or(before, |step| step.min(before))
    }

    fn turn(&mut self, now: Duration) {
        let begun = self.steps.iter().take_while(|(at, _)| *at <= now).last();
        let factor = begun.map_or(1.0, |(_, factor)| *factor);
        if factor != self.factor {
            self.quota.scale(factor / self.factor);
            self.factor = factor;
        }
    }

    fn is_down(&self, now: Duration) -> bool {
        self.down
            .is_some_and(|outage| outage.from <= now && now < outage.until)
    }

    /// The wait of a request that comes too early to a server that minds.
    fn penalised(&mut self, now: Duration) -> Option<Duration> {
        let penalty = self.penalty.as_mut()?;
        if now >= penalty.until {
            return None;
        }
        if now >= penalty.grace {
            penalty.pause = (2 * penalty.pause).min(LONGEST_PENALTY);
            penalty.until = penalty.until.max(now + penalty.pause);
            penalty.grace = now + GRACE;
        }
        Some(penalty.until - now)
    }

    fn closing(&mut self, opens_in: Duration, now: Duration) -> Duration {
        let Some(penalty) = &mut self.penalty else {
            return opens_in;
        };
        // It minds requests before the time that it tells, which is in whole seconds.
        let pause = Duration::from_secs(whole_seconds(opens_in).max(1));
        *penalty = Penalty {
            until: now + pause,
            pause,
            grace: now + GRACE,
        };
        pause
    }
}

/// A server that penalises cannot tell an impatient request from one that was under way.
const GRACE: Duration = Duration::from_secs(1);

const LONGEST_PENALTY: Duration = Duration::from_secs(60);
