//! What was answered when: counts for equal spans of time, of which there are never too many.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use http::StatusCode;

pub(crate) struct Timeline {
    started: Instant,
    spans: Mutex<Spans>,
}

/// What was answered in one span of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) done: u32,
    pub(crate) refused: u32,
}

/// All spans, each as long as the next.
#[derive(Clone, Debug)]
pub(crate) struct Spans {
    pub(crate) length: Duration,
    pub(crate) counts: Vec<Span>,
}

impl Timeline {
    #[allow(clippy::disallowed_methods)] // a stopwatch; nothing is decided by it
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            spans: Mutex::new(Spans {
                length: SHORTEST,
                counts: Vec::new(),
            }),
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Counts an answer that has just come.
    pub(crate) fn count(&self, status: StatusCode) {
        let now = self.elapsed();
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        let span = spans.at(now);
        if status == StatusCode::TOO_MANY_REQUESTS {
            span.refused += 1;
        } else if status.is_success() {
            span.done += 1;
        }
    }

    pub(crate) fn spans(&self) -> Spans {
        let spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        spans.clone()
    }
}

impl Spans {
    fn at(&mut self, time: Duration) -> &mut Span {
        while time >= self.length * MOST {
            self.double();
        }
        let index = (time.as_nanos() / self.length.as_nanos()) as usize;
        if self.counts.len() <= index {
            self.counts.resize(index + 1, Span::default());
        }
        &mut self.counts[index]
    }

    /// Makes one span of every two.
    fn double(&mut self) {
        self.length *= 2;
        let pairs = self.counts.chunks(2);
        self.counts = pairs
            .map(|pair| Span {
                done: pair.iter().map(|span| span.done).sum(),
                refused: pair.iter().map(|span| span.refused).sum(),
            })
            .collect();
    }
}

/// As many as can be told apart in a chart.
const MOST: u32 = 256;
const SHORTEST: Duration = Duration::from_millis(100);
