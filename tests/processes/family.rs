//! Drives the processes, and tells from the server's log and the file what has to become of the session.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader},
    process::Child,
    sync::mpsc,
    thread::{self, JoinHandle},
    time::Duration,
};

use serde_json::Value;
use tokio::time::{sleep, timeout};
use tower_outbound::{
    oauth2::{AuthorizationCode, Login},
    store::{FileStore, TokenStore},
    test_util::{CLIENT_ID, Listener, LoopbackCloud},
    token::{Cause, TokenSource},
};

use super::{
    NUMBER, SENDER, STORE, URL,
    children::{Directory, command},
    login,
};

/// For how long the server takes a refresh token again whose reply may have been lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grace {
    None,
    TenSeconds,
}

/// An authorization server, a file, and the processes that share it.
pub struct Family {
    grace: Grace,
    cloud: LoopbackCloud,
    members: Vec<Member>,
    store: FileStore,
    /// Ours; it takes part when somebody has to log in.
    login: Login,
    born: u32,
    deaths: HashMap<u32, Death>,
    tell: mpsc::Sender<String>,
    told: mpsc::Receiver<String>,
    directory: Directory,
}

struct Member {
    number: u32,
    child: Child,
    reader: Option<JoinHandle<()>>,
}

/// What there was when a process had just been killed.
struct Death {
    /// How many refresh tokens the server had been sent.
    sent: usize,
    /// The refresh token that the file said was being spent.
    spending: Option<String>,
}

/// One refresh request, as the server saw it.
#[derive(Debug)]
struct Sent {
    refresh_token: String,
    sender: u32,
}

/// What the file says.
struct File(Value);

impl Family {
    pub async fn new(size: usize, grace: Grace) -> Self {
        let cloud = LoopbackCloud::builder()
            .configure(|knobs| {
                knobs.rotate_refresh = true;
                knobs.refresh_kills_old_access = size > 2;
                knobs.refresh_grace = match grace {
                    Grace::None => Duration::ZERO,
                    Grace::TenSeconds => Duration::from_secs(10),
                };
            })
            .start()
            .await
            .unwrap();
        let directory = Directory::new();
        let login = login(directory.login(), &cloud.token_url(), 0);
        let (tell, told) = mpsc::channel();
        let mut family = Self {
            grace,
            store: FileStore::new(directory.login()),
            cloud,
            members: Vec::new(),
            login,
            born: 0,
            deaths: HashMap::new(),
            tell,
            told,
            directory,
        };
        family.log_in().await;
        for _ in 0..size {
            family.give_birth();
        }
        family
    }

    /// Lets the processes renew so often.
    pub async fn renewals(&self, count: usize) {
        let enough = self.cloud.issued_tokens().len() + count;
        let renew = async {
            while self.cloud.issued_tokens().len() < enough {
                self.cloud
                    .configure(|knobs| knobs.login_latency = latency());
                sleep(LOOK).await;
            }
        };
        timeout(PATIENCE, renew).await.expect("nobody renews");
    }

    pub fn each_token_was_spent_once(&self) {
        let mut all: Vec<_> = self
            .sent()
            .into_iter()
            .map(|sent| sent.refresh_token)
            .collect();
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
        assert_eq!(self.told.try_iter().next(), None, "somebody has failed");
    }

    /// Kills a process in each of so many rounds, and another takes its place.
    pub async fn lose(mut self, rounds: usize) {
        let (mut in_the_middle, mut lost_replies, mut lost_sessions) = (0, 0, 0);
        let mut reasons = Vec::new();
        for round in 0..rounds {
            self.cloud
                .configure(|knobs| knobs.login_latency = latency());
            sleep(latency() * 2).await;

            // From here on the server decides about no request. Nothing else runs in this thread before
            // the next `await`, so a request whose body it has read is one that it has answered, or is
            // about to.
            let gate = self.cloud.gate(Listener::Login, TOKEN);
            let sent = self.sent();
            let minted = self.cloud.issued_tokens();
            let last = sent.last().map(|sent| sent.sender);
            let victim = self.victim(last);
            let dead = self.kill(victim);
            // Its connections are closed; let the server see that.
            sleep(LOOK).await;
            let file = self.file().await;
            let is_lost = last == Some(dead) && file.text("access_token") != minted.last().cloned();
            in_the_middle += usize::from(file.is_spending());
            lost_replies += usize::from(is_lost);
            let spending = file.text("refresh_token").filter(|_| file.is_spending());
            let sent = sent.len();
            self.deaths.insert(dead, Death { sent, spending });
            gate.release();
            self.give_birth();

            let goes_on = timeout(PATIENCE, self.goes_on(&minted)).await;
            let goes_on = goes_on.unwrap_or_else(|_| panic!("round {round}: nobody renews"));
            let must_go_on = !is_lost || self.grace == Grace::TenSeconds;
            assert_eq!(goes_on, must_go_on, "round {round}: is lost: {is_lost}");
            if !goes_on {
                lost_sessions += 1;
                let error = self.login.token(&Cause::Requested).await.unwrap_err();
                assert!(error.is_login_required(), "{error:?}");
                reasons.push(error.to_string());
                self.log_in().await;
            }
        }
        self.spent_twice_only_after_a_death();
        let size = self.members.len();
        for member in &mut self.members {
            member.end();
        }
        let mut told = 0;
        for line in self.told.try_iter() {
            assert!(line.starts_with("over: "), "{line}");
            reasons.push(line);
            told += 1;
        }
        assert!(told >= lost_sessions, "those who live on were not told");
        for reason in &reasons {
            assert!(reason.contains(LOST_REPLY), "{reason}");
        }
        assert!(in_the_middle > 0, "the test tests nothing");
        println!(
            "{size} processes, {rounds} kills, grace {:?}: {} renewals, {in_the_middle} kills in the \
             middle of one, {lost_replies} replies lost, {lost_sessions} sessions lost",
            self.grace,
            self.cloud.issued_tokens().len(),
        );
        if let Some(reason) = reasons.first() {
            println!("their reason: {reason}");
        }
    }

    /// Half of the time the one that has asked last, which may be in the middle of it.
    fn victim(&self, last: Option<u32>) -> usize {
        let is_last = |member: &Member| Some(member.number) == last;
        let any = fastrand::usize(..self.members.len());
        let last = self.members.iter().position(is_last);
        last.filter(|_| fastrand::bool()).unwrap_or(any)
    }

    fn kill(&mut self, index: usize) -> u32 {
        let mut victim = self.members.swap_remove(index);
        victim.end();
        victim.number
    }

    fn give_birth(&mut self) {
        self.born += 1;
        let mut child = command("child_that_renews_until_it_is_killed")
            .env(STORE, self.directory.login())
            .env(URL, self.cloud.token_url())
            .env(NUMBER, self.born.to_string())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let tell = self.tell.clone();
        let reader = thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        self.members.push(Member {
            number: self.born,
            child,
            reader: Some(reader),
        });
    }

    async fn log_in(&self) {
        let code = self.cloud.issue_code(CLIENT_ID, REDIRECT, None);
        let code = AuthorizationCode::new(code, REDIRECT);
        self.login.log_in(code).await.unwrap();
    }

    /// Whether a token is stored that was minted after these, or else the session has ended.
    async fn goes_on(&self, before: &[String]) -> bool {
        loop {
            let file = self.file().await;
            if file.has_ended() {
                return false;
            }
            let stored = file.text("access_token");
            if stored.is_some_and(|token| !before.contains(&token)) {
                return true;
            }
            sleep(LOOK).await;
        }
    }

    async fn file(&self) -> File {
        let session = self.store.load().await.unwrap().session.unwrap();
        File(serde_json::from_str(session.to_json().expose()).unwrap())
    }

    /// All refresh requests that the server has read, in order.
    fn sent(&self) -> Vec<Sent> {
        let requests = self.cloud.log().into_iter();
        requests
            .filter_map(|request| {
                let form = request.body.as_ref()?;
                let (_, token) =
                    form_urlencoded::parse(form).find(|(name, _)| name == "refresh_token")?;
                Some(Sent {
                    refresh_token: token.into_owned(),
                    sender: request.header(SENDER)?.parse().ok()?,
                })
            })
            .collect()
    }

    /// No two processes spend a token, unless the first is dead and the file says what it was doing.
    ///
    /// So no two ask at the same time either: to have another token to spend, one must have read the
    /// reply to the request before.
    fn spent_twice_only_after_a_death(&self) {
        let mut spenders: HashMap<String, u32> = HashMap::new();
        for (at, sent) in self.sent().into_iter().enumerate() {
            let before = spenders.insert(sent.refresh_token.clone(), sent.sender);
            let Some(before) = before else { continue };
            let death = self.deaths.get(&before);
            let death = death.unwrap_or_else(|| panic!("{before} lives, and {sent:?}"));
            assert!(death.sent <= at, "{before} lived, and {sent:?}");
            assert_eq!(death.spending.as_ref(), Some(&sent.refresh_token));
        }
    }
}

impl Member {
    /// By SIGKILL. Waits until it is gone, and until all is read that it said.
    fn end(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl File {
    fn text(&self, name: &str) -> Option<String> {
        self.0.get(name)?.as_str().map(str::to_owned)
    }

    fn is_spending(&self) -> bool {
        self.0.get("spending").is_some_and(|time| !time.is_null())
    }

    fn has_ended(&self) -> bool {
        self.text("ended").is_some()
    }
}

/// How long an answer is on its way: long enough that many are killed while they wait for it.
fn latency() -> Duration {
    Duration::from_micros(fastrand::u64(0..20_000))
}

const TOKEN: &str = "POST /oauth/token";
const REDIRECT: &str = "http://127.0.0.1/back";

const LOST_REPLY: &str = "the reply to an earlier renewal was lost";

/// Between two looks at the file.
const LOOK: Duration = Duration::from_millis(3);

/// For what comes at once on any machine that is not broken.
const PATIENCE: Duration = Duration::from_secs(60);
