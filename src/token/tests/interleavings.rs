//! Every order, up to a depth, in which three callers, a flight and the clock can take their steps.
//!
//! Nothing runs by itself here: the callers and the flight's task are polled by hand, the clock is moved by
//! hand, and the source answers when it is told to. After each sequence of steps everything is run to its
//! end, and nobody may be left waiting.

use std::collections::VecDeque;

use super::*;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    PollCaller(usize),
    DropCaller(usize),
    PollFlight,
    /// The runtime that carried the flight goes away.
    LoseFlight,
    AdvanceClock,
    Grant,
    Fail,
}

const STEPS: [Step; 11] = [
    Step::PollCaller(0),
    Step::PollCaller(1),
    Step::PollCaller(2),
    Step::DropCaller(0),
    Step::DropCaller(1),
    Step::DropCaller(2),
    Step::PollFlight,
    Step::LoseFlight,
    Step::AdvanceClock,
    Step::Grant,
    Step::Fail,
];

/// How many steps are tried in every order before all is run to its end.
const DEPTH: usize = 5;

#[test]
fn no_order_of_steps_leaves_a_caller_waiting_for_the_first_token() {
    explore(World::cold);
}

#[test]
fn no_order_of_steps_leaves_a_refused_caller_waiting() {
    explore(World::refused);
}

fn explore(start: fn() -> World) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    let mut runs = 0;
    each_order(&mut Vec::new(), &mut |steps| {
        // Many futures are polled within one task here, so tokio's budget for a task must not bind.
        runtime.block_on(tokio::task::unconstrained(async {
            start().live(steps).await
        }));
        runs += 1;
    });
    assert!(runs > 50_000, "{runs}");
}

fn each_order(steps: &mut Vec<Step>, visit: &mut impl FnMut(&[Step])) {
    if steps.len() == DEPTH {
        return visit(steps);
    }
    for step in STEPS {
        if is_worth_taking(steps, step) {
            steps.push(step);
            each_order(steps, visit);
            steps.pop();
        }
    }
}

/// Leaves out what cannot differ: steps of callers that are gone, and names of callers that are alike.
fn is_worth_taking(before: &[Step], step: Step) -> bool {
    match step {
        Step::PollCaller(caller) | Step::DropCaller(caller) => {
            let is_touched = |caller| {
                before.contains(&Step::PollCaller(caller))
                    || before.contains(&Step::DropCaller(caller))
            };
            !before.contains(&Step::DropCaller(caller)) && (caller != 1 || is_touched(0))
        }
        _ => true,
    }
}

type Caller = Pin<Box<dyn Future<Output = Result<u64, TokenError>>>>;

/// A cache whose parts move only when they are told to.
struct World {
    tokens: TokenCache,
    tasks: Arc<Mutex<Vec<Task>>>,
    source: Arc<Source>,
    callers: Vec<Option<Caller>>,
    /// What every caller must get, if it gets a token.
    newer_than: [u64; 3],
}

#[derive(Default)]
struct Source {
    answers: Mutex<VecDeque<bool>>,
    asked: AtomicUsize,
    asking: AtomicUsize,
}

struct Told(Arc<Source>);

impl TokenSource for Told {
    async fn token(&self, _: &Cause) -> Result<Grant, TokenError> {
        let source = &*self.0;
        let asked = source.asked.fetch_add(1, Ordering::Relaxed);
        let _asking = Asking::new(&source.asking);
        let answer = std::future::poll_fn(|_| match source.answers.lock().unwrap().pop_front() {
            Some(answer) => Poll::Ready(answer),
            None => Poll::Pending,
        });
        match answer.await {
            true => Ok(Grant::new(format!("token {asked}")).expires_in(24 * 3600 * SECOND)),
            false => Err(TokenError::rejected("told to fail")),
        }
    }
}

/// Nobody else may be asking meanwhile.
struct Asking<'a>(&'a AtomicUsize);

impl<'a> Asking<'a> {
    fn new(asking: &'a AtomicUsize) -> Self {
        assert_eq!(
            asking.fetch_add(1, Ordering::Relaxed),
            0,
            "two flights at a time"
        );
        Self(asking)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl World {
    /// No token yet, and all three want one.
    fn cold() -> Self {
        let tasks = Arc::<Mutex<Vec<Task>>>::default();
        let queue = Arc::clone(&tasks);
        let spawner = Spawner::new(move |task| queue.lock().unwrap().push(task));
        let source = Arc::<Source>::default();
        let tokens = TokenCache::builder()
            .spawner(spawner)
            .build(Told(Arc::clone(&source)));
        let mut world = Self {
            tokens,
            tasks,
            source,
            callers: Vec::new(),
            newer_than: [0; 3],
        };
        world.callers = (0..3).map(|_| Some(world.caller(Need::Good))).collect();
        world
    }

    /// Two of the three were refused with the token that there is.
    fn refused() -> Self {
        let mut world = Self::cold();
        world.take(Step::PollCaller(0));
        world.take(Step::Grant);
        world.take(Step::PollFlight);
        world.newer_than = [1, 1, 0];
        let refused = || Need::NewerThan(1, refusal());
        world.callers = [refused(), refused(), Need::Good]
            .map(|need| Some(world.caller(need)))
            .into();
        world
    }

    fn caller(&self, need: Need) -> Caller {
        let tokens = self.tokens.clone();
        Box::pin(async move {
            tokens
                .obtain(need)
                .await
                .map(|held| held.token.generation())
        })
    }

    async fn live(mut self, steps: &[Step]) {
        for step in steps {
            match step {
                Step::AdvanceClock => advance(10 * SECOND).await,
                step => self.take(*step),
            }
        }
        for _ in 0..ROUNDS {
            (0..3).for_each(|caller| self.take(Step::PollCaller(caller)));
            self.take(Step::PollFlight);
            self.take(Step::Grant);
            self.take(Step::PollFlight);
            advance(10 * SECOND).await;
        }
        let waiting = self
            .callers
            .iter()
            .filter(|caller| caller.is_some())
            .count();
        assert_eq!(waiting, 0, "left waiting after {steps:?}");
        assert!(
            self.tasks.lock().unwrap().is_empty(),
            "a task is left after {steps:?}"
        );
        self.still_works(steps).await;
    }

    /// Whatever happened before, a new caller gets a token when the cool-down is over.
    async fn still_works(mut self, steps: &[Step]) {
        advance(60 * SECOND).await;
        self.source.answers.lock().unwrap().clear();
        self.callers = vec![Some(self.caller(Need::Good))];
        self.newer_than = [0; 3];
        for _ in 0..ROUNDS {
            self.take(Step::PollCaller(0));
            self.take(Step::Grant);
            self.take(Step::PollFlight);
            advance(10 * SECOND).await;
        }
        assert!(self.callers[0].is_none(), "no token ever after {steps:?}");
        assert!(
            self.tokens.with_ready(|_| ()).is_some(),
            "no token ever after {steps:?}"
        );
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::PollCaller(index) => {
                let Some(caller) = &mut self.callers[index] else {
                    return;
                };
                if let Poll::Ready(result) = poll_once(caller.as_mut()) {
                    self.callers[index] = None;
                    let newer_than = self.newer_than[index];
                    assert!(result.is_err() || result.is_ok_and(|token| token > newer_than));
                }
            }
            Step::DropCaller(index) => self.callers[index] = None,
            Step::PollFlight => {
                let tasks = std::mem::take(&mut *self.tasks.lock().unwrap());
                let mut unfinished = Vec::new();
                for mut task in tasks {
                    if poll_once(task.as_mut()).is_pending() {
                        unfinished.push(task);
                    }
                }
                self.tasks.lock().unwrap().append(&mut unfinished);
            }
            Step::LoseFlight => self.tasks.lock().unwrap().clear(),
            Step::Grant | Step::Fail => {
                let mut answers = self.source.answers.lock().unwrap();
                if answers.is_empty() {
                    answers.push_back(step == Step::Grant);
                }
            }
            Step::AdvanceClock => unreachable!("the clock is moved by the one who may wait"),
        }
    }
}

/// Enough for a flight that times out, another that is told to fail, and a third that succeeds.
const ROUNDS: usize = 12;
