//! For how long a lease is held: a pure decision on what its holder wrote down.

use std::time::Duration;

use crate::time::CENTURY;

/// When a lease was taken and until when it holds, in milliseconds since 1970.
///
/// Both are written down, not only the end, so that a clock that was set back shows itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Term {
    from: u64,
    until: u64,
}

/// What a waiter makes of the term of a lease that somebody holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It holds.
    Running,
    /// Its holder is overdue.
    Over,
    /// It says nothing that can be true. From now on this is the term, so that it ends.
    Restate(Term),
}

impl Term {
    pub(super) fn new(now: u64, bound: Duration) -> Self {
        // A part of a millisecond counts as a whole one: a lease must not end early.
        let bound = bound.min(CENTURY).as_nanos().div_ceil(1_000_000);
        Self {
            from: now,
            until: now.saturating_add(u64::try_from(bound).unwrap_or(u64::MAX)),
        }
    }

    /// Reads what [`to_text`](Self::to_text) wrote.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let text = str::from_utf8(text.get(..Self::LENGTH)?).ok()?;
        let (from, until) = text.strip_suffix('\n')?.split_once(' ')?;
        let term = Self {
            from: from.parse().ok()?,
            until: until.parse().ok()?,
        };
        (term.from <= term.until).then_some(term)
    }

    /// Always of the same length, so that one text can be written over another in one go.
    pub(super) fn to_text(self) -> String {
        format!("{:020} {:020}\n", self.from, self.until)
    }

    pub(super) const LENGTH: usize = 42;
}

/// Judges a lease that is held by somebody else; `bound` is what the waiter would ask for.
pub(super) fn judge(term: Option<Term>, now: u64, bound: Duration) -> Verdict {
    match term {
        // Its holder died before or while writing, and yet the lock is held; or it is not ours.
        None => Verdict::Restate(Term::new(now, bound)),
        // The clock was set back. How much of the term is over, nobody knows: let it begin again.
        // Without this, a lease could last for as long as the clock was set back.
        Some(term) if now < term.from => Verdict::Restate(Term {
            from: now,
            until: now.saturating_add(term.until - term.from),
        }),
        Some(term) if now >= term.until => Verdict::Over,
        Some(_) => Verdict::Running,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_millis(300);

    #[test]
    fn a_term_ends_when_its_bound_is_over_and_not_before() {
        let term = Term::new(1000, BOUND);
        assert_eq!(judge(Some(term), 1000, BOUND), Verdict::Running);
        assert_eq!(judge(Some(term), 1299, BOUND), Verdict::Running);
        assert_eq!(judge(Some(term), 1300, BOUND), Verdict::Over);
    }

    #[test]
    fn a_waiter_with_another_bound_does_not_alter_the_term() {
        let term = Term::new(1000, BOUND);
        assert_eq!(judge(Some(term), 1100, Duration::ZERO), Verdict::Running);
        assert_eq!(judge(Some(term), 1300, Duration::MAX), Verdict::Over);
    }

    #[test]
    fn a_clock_that_is_set_back_lengthens_a_term_to_twice_its_bound_at_most() {
        let term = Term::new(1_000_000, BOUND);
        let Verdict::Restate(term) = judge(Some(term), 500, BOUND) else {
            panic!("the clock was set back");
        };
        assert_eq!(judge(Some(term), 799, BOUND), Verdict::Running);
        assert_eq!(judge(Some(term), 800, BOUND), Verdict::Over);
    }

    #[test]
    fn a_term_that_nobody_can_read_ends_as_well() {
        for text in ["", "1 2\n", &"x".repeat(42), &"9".repeat(42)] {
            assert_eq!(Term::parse(text.as_bytes()), None, "{text}");
        }
        let Verdict::Restate(term) = judge(None, 1000, BOUND) else {
            panic!("nothing to believe");
        };
        assert_eq!(judge(Some(term), 1300, BOUND), Verdict::Over);
    }

    #[test]
    fn a_term_that_ends_before_it_begins_is_not_believed() {
        let text = format!("{:020} {:020}\n", 2, 1);
        assert_eq!(Term::parse(text.as_bytes()), None);
    }

    #[test]
    fn terms_are_read_as_they_were_written() {
        for term in [
            Term::new(0, Duration::ZERO),
            Term::new(1_700_000_000_000, BOUND),
            Term::new(u64::MAX, Duration::MAX),
        ] {
            let text = term.to_text();
            assert_eq!(text.len(), Term::LENGTH);
            assert_eq!(Term::parse(text.as_bytes()), Some(term));
        }
    }

    #[test]
    fn a_part_of_a_millisecond_is_rounded_up() {
        assert_eq!(Term::new(0, Duration::from_nanos(1)).until, 1);
    }
}
