use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{Lease, Session, Stored, Swap, TokenStore, Version};
use crate::token::Secret;

/// Tests a store against the contract of [`TokenStore`].
///
/// Every call of `open` gives another handle to one storage, which must be empty at first: for a
/// store that processes share, open it anew each time, as another process would. It takes about a
/// second, with a paused clock none, if the store measures with tokio's.
///
/// ```
/// use tower_outbound::store::{MemoryStore, conformance};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let store = MemoryStore::new();
/// conformance(async || store.clone()).await;
/// # }
/// ```
///
/// # Panics
/// The contract is broken, or the store fails. The message says how.
pub async fn conformance<S: TokenStore>(open: impl AsyncFn() -> S) {
    let one = Handle(Arc::new(open().await));
    let other = Handle(Arc::new(open().await));

    nothing_is_stored_at_first(&one, &other).await;
    versions_grow(&one, &other).await;
    every_member_of_a_session_comes_back(&one, &other).await;
    a_swap_from_another_version_changes_nothing(&one, &other).await;
    of_many_writers_exactly_one_wins(&one, &other).await;
    a_lease_keeps_others_out_until_it_is_dropped(&one, &other).await;
    of_many_takers_exactly_one_gets_the_lease(&one, &other).await;
    a_lease_ends_with_its_bound(&one, &other).await;
    of_many_takers_exactly_one_gets_an_overdue_lease(&one, &other).await;
    an_overdue_holder_harms_nobody(&one, &other).await;
    who_waits_learns_of_a_write(&one, &other).await;
    who_waits_learns_that_the_lease_is_free(&one, &other).await;
}

async fn nothing_is_stored_at_first<S: TokenStore>(one: &Handle<S>, other: &Handle<S>) {
    for handle in [one, other] {
        let stored = handle.load().await;
        assert!(
            stored.version == Version::NONE && stored.session.is_none(),
            "the storage must be empty at first: no session, and Version::NONE; it holds {stored:?}"
        );
    }
    let swap = one.swap(Version::new(1), &Session::new("early")).await;
    assert_eq!(
        swap,
        Swap::Moved,
        "nothing is stored, so a swap from any version but Version::NONE must be refused"
    );
    assert_eq!(
        other.load().await.version,
        Version::NONE,
        "a refused swap stored something"
    );
}

async fn versions_grow<S: TokenStore>(one: &Handle<S>, other: &Handle<S>) {
    for round in 0..10 {
        let writer = if round % 2 == 0 { one } else { other };
        let before = writer.load().await.version;
        let after = writer.write(&Session::new("the same every time")).await;
        assert!(
            after > before,
            "versions must grow with every write: {after:?} came after {before:?}"
        );
    }
}

async fn every_member_of_a_session_comes_back<S: TokenStore>(one: &Handle<S>, other: &Handle<S>) {
    for session in sessions() {
        let version = one.write(&session).await;
        for handle in [one, other] {
            let stored = handle.load().await;
            assert_eq!(
                stored.version, version,
                "what was written last must be what is loaded"
            );
            assert!(
                stored.is(&session),
                "a session came back altered: wrote {session:?}, loaded {stored:?}"
            );
        }
    }
}

async fn a_swap_from_another_version_changes_nothing<S: TokenStore>(
    one: &Handle<S>,
    other: &Handle<S>,
) {
    let present = Session::new("present");
    let before = one.load().await.version;
    let version = one.write(&present).await;
    for wrong in [Version::NONE, before, version.next()] {
        let swap = other.swap(wrong, &Session::new("overwritten")).await;
        assert_eq!(
            swap,
            Swap::Moved,
            "{version:?} is stored, so a swap from {wrong:?} must be refused"
        );
        let stored = one.load().await;
        assert!(
            stored.version == version && stored.is(&present),
            "a refused swap changed what is stored"
        );
    }
}

async fn of_many_writers_exactly_one_wins<S: TokenStore>(one: &Handle<S>, other: &Handle<S>) {
    for _ in 0..5 {
        let present = one.load().await.version;
        let mut writers = JoinSet::new();
        for number in 0..CROWD {
            let handle = if number % 2 == 0 { one } else { other }.clone();
            let session = Session::new(format!("writer {number}"));
            writers.spawn(async move { (handle.swap(present, &session).await, session) });
        }
        let written: Vec<(Version, Session)> = writers
            .join_all()
            .await
            .into_iter()
            .filter_map(|(swap, session)| match swap {
                Swap::Written(version) => Some((version, session)),
                Swap::Moved => None,
            })
            .collect();
        let [(version, session)] = written.as_slice() else {
            panic!(
                "of {CROWD} concurrent swaps from one version exactly one must be written, not {}",
                written.len()
            );
        };
        let stored = one.load().await;
        assert!(
            stored.version == *version && stored.is(session),
            "the swap that was written is not what is stored: another one overwrote it"
        );
    }
}

async fn a_lease_keeps_others_out_until_it_is_dropped<S: TokenStore>(
    one: &Handle<S>,
    other: &Handle<S>,
) {
    let lease = one.must_lease(LONG).await;
    for handle in [other, one] {
        assert!(
            handle.lease(LONG).await.is_none(),
            "two have the lease at the same time"
        );
        assert!(
            handle.lease(TINY).await.is_none(),
            "a lease was taken away by one who asked for a shorter bound"
        );
    }
    let version = other.load().await.version;
    let swap = other.swap(version, &Session::new("login")).await;
    assert!(
        matches!(swap, Swap::Written(_)),
        "the lease must not keep anybody from writing: a user may log in meanwhile"
    );
    drop(lease);
    drop(other.must_lease(LONG).await);
    drop(one.must_lease(LONG).await);
}

async fn of_many_takers_exactly_one_gets_the_lease<S: TokenStore>(
    one: &Handle<S>,
    other: &Handle<S>,
) {
    for _ in 0..5 {
        let got = crowd_of_takers(one, other).await;
        assert_eq!(got, 1, "of {CROWD} who ask for a lease one must get it");
    }
}

async fn a_lease_ends_with_its_bound<S: TokenStore>(one: &Handle<S>, other: &Handle<S>) {
    let hung = one.must_lease(SHORT).await;
    let next = timeout(LONG, async {
        loop {
            if let Some(lease) = other.lease(LONG).await {
                return lease;
            }
            sleep(SHORT / 4).await;
        }
    })
    .await;
    assert!(
        next.is_ok(),
        "a lease of {SHORT:?} must be free for others after that time, though it is not dropped"
    );
    drop(hung);
}

async fn of_many_takers_exactly_one_gets_an_overdue_lease<S: TokenStore>(
    one: &Handle<S>,
    other: &Handle<S>,
) {
    for _ in 0..5 {
        let hung = one.must_lease(TINY).await;
        sleep(TINY * 10).await;
        let got = crowd_of_takers(one, other).await;
        assert_eq!(
            got, 1,
            "of {CROWD} who find a lease overdue one must get it"
        );
        drop(hung);
    }
}

/// How many get the lease when many ask for it at once.
async fn crowd_of_takers<S: TokenStore>(one: &Handle<S>, other: &Handle<S>) -> usize {
    let mut takers = JoinSet::new();
    for number in 0..CROWD {
        let handle = if number % 2 == 0 { one } else { other }.clone();
        takers.spawn(async move { handle.lease(LONG).await });
    }
    let leases = takers.join_all().await; // held until they are counted
    leases.iter().flatten().count()
}

async fn an_overdue_holder_harms_nobody<S: TokenStore>(one: &Handle<S>, other: &Handle<S>) {
    let overdue = one.must_lease(SHORT).await;
    let seen = one.load().await.version;
    sleep(SHORT * 2).await;

    let next = other.must_lease(LONG).await;
    let theirs = Session::new("of the next holder");
    let version = other.write(&theirs).await;
    let swap = one.swap(seen, &Session::new("of the overdue one")).await;
    assert_eq!(
        swap,
        Swap::Moved,
        "an overdue holder overwrote what the next one wrote"
    );
    let stored = other.load().await;
    assert!(
        stored.version == version && stored.is(&theirs),
        "an overdue holder altered what the next one wrote"
    );

    drop(overdue);
    assert!(
        one.lease(LONG).await.is_none(),
        "an overdue holder released the lease of the next one"
    );
    drop(next);
    drop(one.must_lease(LONG).await);
}

async fn who_waits_learns_of_a_write<S: TokenStore>(one: &Handle<S>, other: &Handle<S>) {
    let lease = one.must_lease(LONG).await;
    let seen = other.load().await.version;
    let waiter = tokio::spawn({
        let other = other.clone();
        async move {
            while other.load().await.version == seen {
                other.0.changed(seen).await;
            }
        }
    });
    sleep(SHORT / 4).await;
    one.write(&Session::new("news")).await;
    assert!(
        timeout(LONG, waiter).await.is_ok_and(|end| end.is_ok()),
        "`changed` did not return after a write"
    );
    assert!(
        timeout(LONG, other.0.changed(seen)).await.is_ok(),
        "`changed` did not return though the version had changed before it was called"
    );
    drop(lease);
}

async fn who_waits_learns_that_the_lease_is_free<S: TokenStore>(
    one: &Handle<S>,
    other: &Handle<S>,
) {
    let lease = one.must_lease(LONG).await;
    let seen = other.load().await.version;
    let waiter = tokio::spawn({
        let other = other.clone();
        async move {
            loop {
                match other.lease(LONG).await {
                    Some(lease) => return lease,
                    None => other.0.changed(seen).await,
                }
            }
        }
    });
    sleep(SHORT / 4).await;
    drop(lease);
    assert!(
        timeout(LONG / 2, waiter).await.is_ok_and(|end| end.is_ok()),
        "`changed` did not return after the lease was dropped without a write"
    );
    assert!(
        timeout(LONG / 2, other.0.changed(seen)).await.is_ok(),
        "`changed` must return after a pause when the lease is free: it may have been dropped \
         just before"
    );
}

/// A store of which everything succeeds.
struct Handle<S>(Arc<S>);

impl<S: TokenStore> Handle<S> {
    async fn load(&self) -> Stored {
        match self.0.load().await {
            Ok(stored) => stored,
            Err(error) => panic!("the store does not load: {error:?}"),
        }
    }

    async fn swap(&self, expected: Version, session: &Session) -> Swap {
        match self.0.swap(expected, session).await {
            Ok(swap) => swap,
            Err(error) => panic!("the store does not write: {error:?}"),
        }
    }

    async fn lease(&self, bound: Duration) -> Option<Lease> {
        match self.0.lease(bound).await {
            Ok(lease) => lease,
            Err(error) => panic!("the store gives no lease: {error:?}"),
        }
    }

    /// Writes while nobody else does.
    async fn write(&self, session: &Session) -> Version {
        let present = self.load().await.version;
        match self.swap(present, session).await {
            Swap::Written(version) => version,
            Swap::Moved => panic!("a swap from the version that is stored was refused"),
        }
    }

    /// Takes the lease when it must be free.
    async fn must_lease(&self, bound: Duration) -> Lease {
        match self.lease(bound).await {
            Some(lease) => lease,
            None => panic!("nobody has the lease any more, and yet it is not to be had"),
        }
    }
}

impl<S> Clone for Handle<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl Stored {
    fn is(&self, session: &Session) -> bool {
        let text = self.session.as_ref().map(Session::to_json);
        text.as_ref().map(Secret::expose) == Some(session.to_json().expose())
    }
}

/// Sessions in which every member is once there and once not, with text that is hard to keep.
fn sessions() -> Vec<Session> {
    let at = |millis| Some(SystemTime::UNIX_EPOCH + Duration::from_millis(millis));
    let mut sessions = vec![
        Session::empty(),
        Session {
            access_token: Some("access".into()),
            expires_at: at(1_893_456_000_123),
            scope: Some("users:read users:write".into()),
            refresh_token: Some("refresh".into()),
            bound_to: Some("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I".into()),
            spending: at(1_700_000_000_001),
            ended: Some("invalid_grant: the user logged out".into()),
        },
    ];
    for text in [
        "",
        " ",
        "\"quoted\" \\ and \\u0041",
        "\0 \u{1} \u{7f} \r\n \t \u{2028}",
        "é ß 漢 𝄞 \u{fffd} \u{feff}",
        "{\"access_token\":\"nested\"}",
        "%s %00 $1 '; -- <!--",
    ] {
        sessions.push(Session {
            access_token: Some(text.into()),
            scope: Some(text.into()),
            bound_to: Some(text.into()),
            ended: Some(text.into()),
            ..Session::new(text)
        });
    }
    // As long as an access token of a large organisation.
    sessions.push(Session::new("x".repeat(20_000)));
    sessions
}

/// How many try the same thing at once.
const CROWD: usize = 20;

/// A bound that is waited out: longer than a slow disk keeps a writer busy.
const SHORT: Duration = Duration::from_millis(300);

/// A bound that is over before anybody looks: the least that some databases can count.
const TINY: Duration = Duration::from_millis(1);

/// A bound that nobody lives to see, unless the store is broken.
const LONG: Duration = Duration::from_secs(60);
