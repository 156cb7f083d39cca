//! How the rate of sending rises from one refusal to the next.

/// A rate that rises with each request that had to wait for its turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ramp {
    /// In requests a second.
    rate: f64,
    /// By which share of it the rate rises over `length` requests.
    step: f64,
    length: f64,
    /// Where it begins, in lengths; below 0 that is under the rate.
    start: f64,
    /// Of the third power, and of the sixth.
    bend: f64,
    late_bend: f64,
}

impl Ramp {
    /// From a rate that is surely too low, doubled in so many seconds, and again.
    pub(super) fn search(rate: f64, doubled_in: f64) -> Self {
        Self {
            rate,
            step: 1.0,
            // As much for each request is twice as much for each such time.
            length: (rate * doubled_in / 2f64.ln()).max(0.5),
            start: 0.0,
            bend: 0.0,
            late_bend: 0.0,
        }
    }

    /// Through all that a rate may be.
    pub(super) fn through(rate: f64, step: f64, length: f64) -> Self {
        Self {
            rate,
            step,
            length,
            start: 0.0,
            bend: BEND,
            late_bend: 0.0,
        }
    }

    /// Hardly at all: one request more than the rate gives after so many. `from_below` it is at the rate
    /// after half of them. Beyond them it rises ever faster, so that a quota that has grown is found.
    pub(super) fn creep(rate: f64, requests: f64, from_below: bool) -> Self {
        Self {
            rate,
            step: 0.6 / requests,
            length: requests / 2.0,
            start: if from_below { -1.0 } else { 0.0 },
            bend: BEND,
            late_bend: LATE_BEND,
        }
    }

    pub(super) fn begun_below(self) -> Self {
        Self {
            start: BELOW,
            ..self
        }
    }

    /// So many requests are to wait for their turn before one is refused.
    pub(super) fn planned(&self) -> f64 {
        PLANNED * self.length
    }

    pub(super) fn is_search(&self) -> bool {
        self.bend == 0.0
    }

    /// The rate of sending when so many requests have waited for their turn.
    pub(super) fn pace(&self, waited: f64) -> f64 {
        let risen = self.start + waited / self.length;
        let bent = self.bend * risen.powi(3) + self.late_bend * risen.powi(6);
        let pace = self.rate * (1.0 + self.step * (risen + bent));
        pace.max(self.rate * LEAST_SHARE)
    }
}

/// A hundredth above the rate it is a straight line, far above a cubic, so that a quota that has
/// doubled is found.
const BEND: f64 = 0.3;
/// After three times as many requests as were to be let through the limit is not what it was.
const LATE_BEND: f64 = 0.02;
const BELOW: f64 = -0.25;
/// In lengths: beyond that a rate was surely too high.
const PLANNED: f64 = 1.2;
const LEAST_SHARE: f64 = 0.1;

#[cfg(test)]
mod tests {
    use super::*;

    /// What is sent beyond the rate with so many requests.
    fn beyond(ramp: Ramp, rate: f64, requests: u32) -> f64 {
        let each = (0..requests).map(|waited| 1.0 - rate / ramp.pace(waited.into()));
        each.sum()
    }

    #[test]
    fn a_search_doubles_its_rate_in_the_time_that_it_is_given() {
        for (rate, doubled_in) in [(20.0, 1.0), (100.0, 0.25), (1000.0, 0.1)] {
            let ramp = Ramp::search(rate, doubled_in);
            let (mut seconds, mut sent) = (0.0, 0.0);
            while ramp.pace(sent) < 8.0 * rate {
                seconds += 1.0 / ramp.pace(sent);
                sent += 1.0;
            }
            let off = seconds / (3.0 * doubled_in) - 1.0;
            assert!(off.abs() < 0.1, "{rate}: {seconds}");
        }
    }

    #[test]
    fn a_creep_sends_one_request_too_many_in_the_time_that_it_is_given() {
        for requests in [150, 1000, 4000] {
            let ramp = Ramp::creep(20.0, requests.into(), false);
            let beyond = beyond(ramp, 20.0, requests);
            assert!((0.9..1.2).contains(&beyond), "{requests}: {beyond}");
            assert!(ramp.pace(0.0) == 20.0);
        }
    }

    #[test]
    fn a_creep_from_below_is_at_its_rate_after_half_of_it() {
        let ramp = Ramp::creep(20.0, 300.0, true);
        assert!(ramp.pace(140.0) < 20.0 && ramp.pace(160.0) > 20.0);
        assert!(ramp.pace(0.0) > 0.99 * 20.0);
    }

    #[test]
    fn a_creep_that_nothing_ends_finds_twice_the_rate_before_five_times_as_many() {
        for requests in [150.0, 1000.0, 4000.0] {
            let ramp = Ramp::creep(20.0, requests, false);
            assert!(ramp.pace(1.5 * requests) < 1.15 * 20.0);
            assert!(ramp.pace(5.0 * requests) > 2.0 * 20.0);
        }
    }

    #[test]
    fn a_ramp_through_what_may_be_begins_below_and_never_stands_still() {
        let ramp = Ramp::through(20.0, 0.1, 50.0).begun_below();
        assert!(ramp.pace(0.0) < 20.0 && ramp.pace(100.0) > 1.1 * 20.0);
        assert!(Ramp::through(20.0, 40.0, 50.0).begun_below().pace(0.0) > 0.0);
    }
}
