//! What a refusal teaches.

use super::{super::history::Trail, *};

impl Learned {
    /// Takes in what was let through between two refusals.
    ///
    /// `open` and `closed` are the seconds that the limit was open and closed of that time.
    pub(super) fn learn(
        &mut self,
        trail: &Trail,
        refused: Sent,
        open: f64,
        closed: f64,
        pause: Pause,
    ) {
        let accepted = (refused.number - 1) as f64;
        self.burst.since_refuted += accepted;
        self.burst.counted = 0;
        if self.second_explains_more() && self.since_opened.beyond > SAVED_UP {
            self.second.doubt();
        }
        self.second.refused(refused.counted, self.jitter());
        if refused.rush
            && let Some(rate) = self.rate
        {
            // It held less than was dared. Of the rate that says nothing.
            self.burst.least = self.burst.least.min(accepted).max(1.0);
            self.burst.most = self.burst.least + 1.0;
            self.burst.tried = self.burst.least;
            self.burst.since_refuted = 0.0;
            self.burst.count(accepted);
            (self.buckets, self.bucket) = (None, None);
            if let Some(ramp) = self.ramp
                && self.starts_below(rate, self.forgone(rate, closed))
            {
                self.ramp = Some(ramp.begun_below());
            }
            return;
        }

        let before = self.rate();
        let held = self.burst.most.min(GROWN * self.burst.least) + 1.0;
        self.fills |= self.since_opened.quiet_until.is_some() && accepted > held;
        let rate = self.measure(trail, accepted, open, pause);
        let first = self.rate.replace(rate).is_none();
        self.size_up(trail, rate, first, accepted, open, closed);
        let bucket = self.find_bucket(trail, rate);
        self.slowest = 1.0 / self.asked_every(trail, pause);
        let bucket = bucket.filter(|bucket| bucket.rate.most >= self.slowest);
        let known = self.second_as_bucket(rate).or(bucket);
        self.bucket = known.filter(|_| !self.windowed);
        let rate = self.rate().unwrap_or(rate);
        let planned = self.ramp.map_or(f64::INFINITY, |ramp| ramp.planned());
        if accepted > MANY.min(planned) || before.is_none_or(|before| rate.is_news_after(before)) {
            self.lean = (self.lean + 0.05).min(MOST_LEAN);
        } else {
            // It has refused soon, and that told nothing.
            self.lean -= 0.15;
        }
        if self.lean < LEAST_LEAN {
            // Again and again: it would do what was seen, and is another one all the same.
            (self.buckets, self.bucket) = (None, None);
            self.second.doubt();
            self.lean = MOST_LEAN;
            self.doubt();
        }

        let forgone = self.forgone(rate, closed);
        self.burst.tried = self.dare(accepted, forgone);
        self.ramp = Some(self.next_ramp(rate, first, closed, forgone));
        let is_search = self.ramp.is_some_and(|ramp| ramp.is_search());
        let least = if is_search { LEAST_OF_SEARCH } else { 1.0 };
        self.since_opened.window = (refused.trickled as f64 - 1.0).max(least);
    }

    /// How much is sent at once at the next opening.
    fn dare(&self, accepted: f64, forgone: f64) -> f64 {
        if let Some(bucket) = self.bucket {
            return bucket.burst;
        }
        // More is dared where a refusal costs little, and not so often that it would be felt.
        let Burst { least, most, .. } = self.burst;
        let requests_between = 50.0 + 10.0 * least;
        if forgone < least && self.burst.since_refuted > requests_between {
            let more = least * 1.25 + 1.0;
            more.min(accepted).min(most).max(least)
        } else {
            least
        }
    }

    /// `first` if this is the first one by a rate that was measured.
    pub(super) fn next_ramp(&self, rate: Rate, first: bool, closed: f64, forgone: f64) -> Ramp {
        if self.windowed {
            return self.search(rate.value(), closed);
        }
        let burst = self.burst();
        let under_way = rate.value() * self.round_trip;
        let shortest = LEAST_RAMP.max(2.0 * burst).max(4.0 * under_way);
        // So that one in a few hundred is refused. A large burst forgives a ramp that is too steep, and
        // takes long to be used up.
        let mut longest = (150.0 + 150.0 / burst).max(5.0 * burst);
        // Requests from one refusal to the next, at the least.
        let mut between = 100.0;
        if !self.is_proven() {
            // A share that others have left is found as soon at a low rate as at a high one.
            let soon = LONGEST_RAMP * rate.value();
            longest = longest.min(soon);
            between = soon.clamp(25.0, between);
        }

        if self.bucket.is_some() && rate.spread() < SURE {
            // With each refusal others are refused that are under way.
            let refused = 1.0 + 0.5 * under_way;
            let worth = (forgone / SHARE_OF_REFUSALS).min(LONGEST_CREEP * rate.value());
            let requests = longest.max(shortest).max(between * refused).max(worth);
            // One that saves nothing refuses at the first request that is too fast.
            return Ramp::creep(rate.leaning(self.lean), requests, burst < 2.0);
        }
        let searched = self.ramp.is_some_and(|ramp| ramp.is_search());
        // What is found out too late is how much a large burst hides.
        let soon = self.round_trip < closed / 4.0 || burst < 2.0;
        if first && !searched && rate.spread() > UNKNOWN && soon {
            return self.search(rate.least, closed);
        }
        let step = (rate.spread() - 1.0) / 2.0 + 1.0 / rate.seen;
        let step = step.clamp(LEAST_STEP, MOST_STEP);
        // As long as its slowness costs what the next refusal will cost; twice as long at first, since
        // from a longer stretch more is learnt.
        let worth = if first { 2.0 } else { 1.0 } * forgone / step;
        let length = rate.seen.min(longest).max(shortest).max(worth);
        let middle = rate.leaning(self.lean);
        let ramp = Ramp::through(middle, step, length);
        if self.starts_below(rate, forgone) {
            ramp.begun_below()
        } else {
            ramp
        }
    }

    /// From a rate that is surely too low, as fast as it is heard of.
    pub(super) fn search(&self, rate: f64, closed: f64) -> Ramp {
        let doubled_in = (closed / 8.0).min(0.25).max(self.round_trip / 2.0);
        let least = if self.opening.by_hint {
            // A first request that takes as long to come as the pause was would save nothing.
            2.0 * START / closed.max(LEAST_PAUSE.as_secs_f64())
        } else {
            // Nothing is heard any sooner of one that is sent earlier.
            (1.0 / self.round_trip).min(START)
        };
        Ramp::search(rate.max(least), doubled_in)
    }

    /// The bucket that would have done what was seen since the refusal before last, if there is one. Where
    /// none would, nothing says that the limit fills up.
    pub(super) fn find_bucket(&mut self, trail: &Trail, rate: Rate) -> Option<Bucket> {
        let newest = Buckets::of(trail, self.jitter().as_secs_f64());
        let known = self.buckets.take();
        let agreed = known.as_ref().map(|known| known.and(&newest));
        let agreed = agreed.filter(|agreed| !agreed.is_empty());
        if known.is_some() && agreed.is_none() {
            self.fills = false;
            self.doubt();
        } else {
            self.agreements = self.agreements.saturating_add(1);
            self.doubted &= !self.is_proven();
        }
        let is_agreed = agreed.is_some();
        self.buckets = Some(agreed.unwrap_or(newest));
        self.common_bucket(rate).filter(|_| is_agreed)
    }

    /// What became of those that were under way at the last refusal may tell more of a bucket, before the
    /// next.
    pub(super) fn learn_of_late(&mut self) {
        let (Some(history), Some(known), Some(rate)) = (&self.history, &self.buckets, self.rate)
        else {
            return;
        };
        let trail = history.after_the_refusal();
        if trail.is_empty() || self.windowed || self.second_explains_more() {
            return;
        }
        let agreed = known.and(&Buckets::of(&trail, self.jitter().as_secs_f64()));
        if agreed.is_empty() {
            // What to think of that, the next refusal will show.
            return;
        }
        self.buckets = Some(agreed);
        if let Some(bucket) = self.common_bucket(rate)
            && self
                .rate()
                .is_none_or(|before| bucket.rate.is_news_after(before))
        {
            self.bucket = Some(bucket);
            self.burst.tried = bucket.burst;
            let closed = self.opening.closed;
            let forgone = self.forgone(bucket.rate, closed);
            self.ramp = Some(self.next_ramp(bucket.rate, false, closed, forgone));
        }
    }

    /// What the buckets have in common that would have done all that was seen.
    fn common_bucket(&self, rate: Rate) -> Option<Bucket> {
        let (least, most, burst) = self.buckets.as_ref()?.common()?;
        // One bucket may do by chance what others caused.
        let similar = least <= SIMILAR * rate.most && rate.least <= SIMILAR * most;
        let believed = self.bucket.is_some() || similar;
        (most < KNOWN * least && believed).then_some(Bucket {
            rate: Rate {
                least,
                most,
                seen: rate.seen,
            },
            burst,
        })
    }

    /// The rate by this stretch of time, and what was known before where the two agree.
    pub(super) fn measure(
        &mut self,
        trail: &Trail,
        accepted: f64,
        open: f64,
        pause: Pause,
    ) -> Rate {
        let (requests, seconds) = match self.since_opened.quiet_until {
            // It was not asked for long, and then slowly at first.
            Some(_) => trail.later_half(accepted),
            None => (accepted, open),
        };
        let most = 2.0 * (requests + 1.0) / seconds.max(trail.seconds() / 1000.0).max(1e-6);
        let least = trail.rate(self.burst.most, most);
        // A bucket would have let through the next request sooner than the server says.
        self.windowed = match pause {
            Pause::Hint(hint) => !self.fills && least * (hint.as_secs_f64() - 1.0) > 2.0,
            Pause::Outage(_) | Pause::Guess(_) => false,
        };
        let most = if self.windowed {
            least
        } else {
            trail.rate(self.burst.least, most).max(least)
        };
        let noise = 1.0 + 0.5 / (accepted + 1.0);
        let mut rate = Rate {
            least,
            most,
            seen: accepted,
        };
        if let Some(known) = self.rate {
            let slack = 1.02 + 4.0 / known.seen;
            let (known_least, known_most) = (known.least / slack, known.most * slack);
            let (least, most) = (least / noise, most * noise);
            if known_least <= most && least <= known_most {
                rate.least = least.max(known_least);
                rate.most = most.min(known_most);
                rate.seen += known.seen;
            } else if accepted < FEW {
                // By chance, or since the limit is no bucket: what was known may be true all the same.
                rate.least = least.min(known_least);
                rate.most = most.max(known_most);
            }
        }
        rate.seen = rate.seen.clamp(1.0, MOST_SEEN);
        rate
    }

    /// Whether the limit seems to be a bucket that nobody else uses.
    pub(super) fn is_alone(&self) -> bool {
        !self.doubted
    }

    /// Whether it is known for so long that it is so.
    fn is_proven(&self) -> bool {
        self.agreements >= AGREED
    }

    fn doubt(&mut self) {
        self.agreements = 0;
        self.doubted = true;
    }

    /// In how many seconds a request is let through, at the least, for one who asks only when told to.
    pub(super) fn asked_every(&self, trail: &Trail, pause: Pause) -> f64 {
        let pause = pause.length().max(LEAST_PAUSE).as_secs_f64();
        if self.is_alone() {
            // A bucket names the rest of what it takes to gain one.
            pause + trail.end()
        } else {
            // Others took what was gained: refusals come by chance.
            pause
        }
    }

    /// Whether a limit on the requests in a second has explained more refusals in a row than a bucket has.
    fn second_explains_more(&self) -> bool {
        let second = self.second.limit();
        second.is_some_and(|(_, agreed)| agreed > self.agreements)
    }

    /// A limit on the requests in a second, if it is one. It is used as a bucket that saves nothing up.
    fn second_as_bucket(&self, rate: Rate) -> Option<Bucket> {
        let limit = self.second.limit().filter(|_| self.second_explains_more());
        let (limit, _) = limit?;
        let (least, most) = (limit.least as f64 / TICKS, limit.most as f64);
        (most < KNOWN * least).then_some(Bucket {
            rate: Rate {
                least,
                most,
                seen: rate.seen,
            },
            burst: 1.0,
        })
    }

    /// By so much a request may arrive earlier or later than others, in either direction.
    fn jitter(&self) -> Duration {
        TIMER + Duration::from_secs_f64(2.0 * self.deviation)
    }

    /// What the limit holds, by what it let through at once.
    fn size_up(
        &mut self,
        trail: &Trail,
        rate: Rate,
        first: bool,
        accepted: f64,
        open: f64,
        closed: f64,
    ) {
        let burst = trail.burst(rate.value() * 1.1);
        // Less than two is one, and some jitter.
        let burst = if burst < 2.0 { 1.0 } else { burst };
        if first || burst > self.burst.least {
            self.burst.least = burst;
        }
        if self.windowed {
            self.burst.count(accepted);
            self.burst.least = accepted.min(self.burst.most * FORGETTING).max(1.0);
            self.burst.most = (self.burst.most * FORGETTING).max(self.burst.least);
        }
        // It cannot have held more, or it would not have refused so soon.
        let held = accepted + 1.0 - rate.least * open;
        let bound = if rate.value() * closed > held {
            held
        } else {
            f64::INFINITY
        };
        self.burst.most = (self.burst.most * FORGETTING)
            .min(bound)
            .max(self.burst.least);
    }

    /// The requests that a pause of this length costs, beyond what the limit can save up meanwhile.
    fn forgone(&self, rate: Rate, closed: f64) -> f64 {
        (rate.value() * closed - self.burst()).max(0.0)
    }

    fn starts_below(&self, rate: Rate, forgone: f64) -> bool {
        rate.spread() <= 1.1 || forgone >= 1.0
    }
}

/// What lets through more than so many times what a window held seems to fill up. A quota that has grown
/// by more passes for that until the next refusal.
const GROWN: f64 = 1.5;
/// A rate that may be so many times as high is not known.
const UNKNOWN: f64 = 4.0;
/// A bucket whose rate may be so many times as high tells more than what is known of any limit.
const KNOWN: f64 = 2.0;
/// Rates of the same limit differ by less.
const SIMILAR: f64 = 1.5;
/// A rate that may be so many times as high needs no search.
const SURE: f64 = 1.08;
/// What refusals may cost where the rate of a bucket is known.
const SHARE_OF_REFUSALS: f64 = 0.004;
/// Requests that may be under way while a rate is searched for, which is a bound, too.
const LEAST_OF_SEARCH: f64 = 8.0;
/// In seconds: after so long it is looked whether there is more.
const LONGEST_CREEP: f64 = 200.0;
/// After six refusals that came too soon it is another one.
const LEAST_LEAN: f64 = -0.3;
/// Requests that are to be a second apart may be closer by a tick of the timer at either end.
const TICKS: f64 = 1.002;
/// What lets through more than that beyond its rate had saved it up.
const SAVED_UP: f64 = 3.0;
/// A stretch with fewer requests tells little of a rate.
const FEW: f64 = 3.0;
/// After so many requests a refusal is no surprise.
const MANY: f64 = 100.0;
/// By so much a request may arrive earlier or later at the best.
const TIMER: Duration = Duration::from_micros(200);
const LEAST_RAMP: f64 = 8.0;
/// In seconds, where others may use the same quota.
const LONGEST_RAMP: f64 = 20.0;
const LEAST_STEP: f64 = 0.01;
const MOST_STEP: f64 = 0.5;
/// No measurement counts for more requests: a limit may change.
const MOST_SEEN: f64 = 1000.0;
/// An upper bound is relaxed by this factor with every refusal.
const FORGETTING: f64 = 1.1;
