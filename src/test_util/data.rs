//! Remember: what the API server has: users, queues, conversations, jobs, evaluations.

use std::collections::HashMap;

use serde_json::{Value, json};

/// The entities that can be read and made through the API.
#[derive(Debug)]
pub(super) struct Data {
    pub(super) users: Vec<User>,
    /// Users before this index were there from the start.
    pub(super) first_created: usize,
    pub(super) queues: usize,
    pub(super) conversations: usize,
    /// Reporting turns of every bot flow.
    pub(super) turns: usize,
    pub(super) jobs: HashMap<String, Job>,
    pub(super) evaluations: Vec<Value>,
    /// The index of the evaluation that a key made.
    pub(super) idempotency_keys: HashMap<String, usize>,
}

/// A user of the loopback organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct User {
    /// A UUID.
    pub id: String,
    /// The full name.
    pub name: String,
    /// The address; no two users have the same.
    pub email: String,
    /// `active` or `inactive`.
    pub state: String,
    /// Counts the changes, from 1. A `PATCH` has to name it.
    pub version: u64,
}

/// An asynchronous query.
#[derive(Debug)]
pub(super) struct Job {
    /// How many more times it says that it is not done.
    pub(super) polls_left: u32,
    pub(super) polled: bool,
    /// Which conversations it found, by index.
    pub(super) found: std::ops::Range<usize>,
}

impl Data {
    pub(super) fn new(users: usize, queues: usize, conversations: usize) -> Self {
        let users: Vec<_> = (0..users).map(User::seeded).collect();
        Self {
            first_created: users.len(),
            users,
            queues,
            conversations,
            turns: TURNS,
            jobs: HashMap::new(),
            evaluations: Vec::new(),
            idempotency_keys: HashMap::new(),
        }
    }
}

impl User {
    fn seeded(index: usize) -> Self {
        Self {
            id: uuid(Kind::User, index),
            name: format!("Agent {index:05}"),
            email: format!("agent{index:05}@example.com"),
            state: if index % 10 == 9 {
                "inactive"
            } else {
                "active"
            }
            .to_owned(),
            version: 1,
        }
    }

    pub(super) fn created(name: &str, email: &str) -> Self {
        Self {
            id: random_uuid(),
            name: name.to_owned(),
            email: email.to_owned(),
            state: "active".to_owned(),
            version: 1,
        }
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "id": self.id,
            "name": self.name,
            "email": self.email,
            "username": self.email,
            "state": self.state,
            "version": self.version,
            "division": {"id": uuid(Kind::Division, 0), "name": "Home"},
            "selfUri": format!("/api/v2/users/{}", self.id),
        })
    }
}

pub(super) fn queue(index: usize) -> Value {
    let id = uuid(Kind::Queue, index);
    json!({
        "id": id,
        "name": format!("Queue {index:03}"),
        "division": {"id": uuid(Kind::Division, 0), "name": "Home"},
        "memberCount": index % 17,
        "selfUri": format!("/api/v2/routing/queues/{id}"),
    })
}

/// The `index`th turn of a bot flow.
pub(super) fn turn(flow: &str, index: usize) -> Value {
    json!({
        "userInput": format!("What about order {index}?"),
        "botPrompts": ["Let me see."],
        "sessionId": uuid(Kind::Session, index / 4),
        "askAction": {"actionId": index % 7, "flowId": flow},
        "dateCreated": conversation_start(index, TURNS),
    })
}

/// The `index`th of `total` conversations, in the order of their start.
pub(super) fn conversation(index: usize, total: usize) -> Value {
    let direction = if index.is_multiple_of(3) {
        "outbound"
    } else {
        "inbound"
    };
    let start = conversation_start(index, total);
    json!({
        "conversationId": conversation_id(index),
        "conversationStart": start,
        "conversationEnd": timestamp(start_millis(index, total) + 1000 * (30 + index as u64 % 900)),
        "originatingDirection": direction,
        "divisionIds": [uuid(Kind::Division, 0)],
        "participants": [
            {
                "participantId": uuid(Kind::Participant, 2 * index),
                "participantName": format!("Customer {}", index % 1009),
                "purpose": "customer",
                "sessions": [{
                    "sessionId": uuid(Kind::Session, 2 * index),
                    "mediaType": "voice",
                    "ani": format!("tel:+1317555{:04}", index % 10_000),
                    "direction": direction,
                }],
            },
            {
                "participantId": uuid(Kind::Participant, 2 * index + 1),
                "purpose": "agent",
                "userId": uuid(Kind::User, index % 50),
                "sessions": [{
                    "sessionId": uuid(Kind::Session, 2 * index + 1),
                    "mediaType": "voice",
                    "segments": [{
                        "segmentType": "interact",
                        "segmentStart": start,
                        "queueId": uuid(Kind::Queue, index % 30),
                    }],
                }],
            },
        ],
    })
}

pub(super) fn conversation_id(index: usize) -> String {
    uuid(Kind::Conversation, index)
}

pub(super) fn conversation_index(id: &str) -> Option<usize> {
    index_of(Kind::Conversation, id)
}

/// The start of the `index`th of `total` conversations: they are spread evenly over January 2026.
pub(super) fn conversation_start(index: usize, total: usize) -> String {
    timestamp(start_millis(index, total))
}

fn start_millis(index: usize, total: usize) -> u64 {
    let total = total.max(1) as u64;
    MONTH_MILLIS / total * index as u64 + MONTH_MILLIS % total * index as u64 / total
}

/// The time `millis` after the beginning of 2026; the ends of late conversations may lie in
/// February.
fn timestamp(millis: u64) -> String {
    let (seconds, millis) = (millis / 1000, millis % 1000);
    let days = seconds / 86_400;
    let (month, day) = if days < 31 {
        (1, days + 1)
    } else {
        (2, days - 30)
    };
    format!(
        "2026-{month:02}-{day:02}T{:02}:{:02}:{:02}.{millis:03}Z",
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60,
    )
}

/// What an id is of: ids of different kinds differ.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Organization,
    Division,
    User,
    Queue,
    Conversation,
    Participant,
    Session,
}

/// The same UUID for the same thing in every run. Its last 48 bits hold the index, scrambled.
pub(super) fn uuid(kind: Kind, index: usize) -> String {
    let index = index as u64;
    let noise = mix((kind as u64) << 56 ^ index);
    let node = index.wrapping_mul(SCRAMBLE) & NODE;
    format_uuid(u128::from(noise) << 64 | u128::from(noise & !NODE | node))
}

/// The index of which `id` was made.
fn index_of(kind: Kind, id: &str) -> Option<usize> {
    let node = u64::from_str_radix(id.get(24..)?, 16).ok()?;
    let index = usize::try_from(node.wrapping_mul(UNSCRAMBLE) & NODE).ok()?;
    (uuid(kind, index) == id).then_some(index)
}

pub(super) fn random_uuid() -> String {
    format_uuid(fastrand::u128(..))
}

pub(super) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text
            .bytes()
            .enumerate()
            .all(|(position, byte)| match position {
                8 | 13 | 18 | 23 => byte == b'-',
                _ => byte.is_ascii_hexdigit(),
            })
}

/// Version 4, variant 1.
fn format_uuid(bits: u128) -> String {
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        bits >> 96,
        bits >> 80 & 0xffff,
        bits >> 64 & 0xfff,
        bits >> 48 & 0x3fff | 0x8000,
        bits & 0xffff_ffff_ffff,
    )
}

/// SplitMix64's finalizer.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The 48 bits of a UUID that once named a node of the network.
const NODE: u64 = (1 << 48) - 1;
/// Odd, so that multiplying by it can be undone.
const SCRAMBLE: u64 = 0x9e37_79b9_7f4a_7c15;
/// `SCRAMBLE * UNSCRAMBLE == 1`, by Newton's iteration: each round doubles the bits that are right.
const UNSCRAMBLE: u64 = {
    let mut inverse = SCRAMBLE;
    let mut round = 0;
    while round < 5 {
        inverse = inverse.wrapping_mul(2_u64.wrapping_sub(SCRAMBLE.wrapping_mul(inverse)));
        round += 1;
    }
    inverse
};
/// Three pages of the usual size of a listing of turns, the last one short.
const TURNS: usize = 120;
const MONTH_MILLIS: u64 = 31 * 86_400 * 1000;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn conversations_are_the_same_in_every_run_and_lie_in_order_in_one_month() {
        let starts: Vec<_> = (0..1000)
            .map(|index| conversation_start(index, 1000))
            .collect();
        assert!(starts.is_sorted());
        assert_eq!(starts[0], "2026-01-01T00:00:00.000Z");
        assert!(starts[999].starts_with("2026-01-31T"));
        assert_eq!(conversation(7, 1000), conversation(7, 1000));
        assert_eq!(timestamp(MONTH_MILLIS + 61_002), "2026-02-01T00:01:01.002Z");
    }

    #[test]
    fn ids_are_distinct_uuids() {
        let ids: HashSet<_> = (0..10_000).map(conversation_id).collect();
        assert_eq!(ids.len(), 10_000);
        assert!(ids.iter().all(|id| is_uuid(id)));
        for index in (0..10_000).chain([1 << 40]) {
            assert_eq!(conversation_index(&conversation_id(index)), Some(index));
        }
        for other in ["", "é", &uuid(Kind::User, 5), &random_uuid()] {
            assert_eq!(conversation_index(other), None, "{other}");
        }
        assert!(!ids.contains(&uuid(Kind::User, 5)));
        assert!(is_uuid(&random_uuid()));
        for bad in ["", "x", "0000000-00000-4000-8000-000000000000"] {
            assert!(!is_uuid(bad), "{bad}");
        }
    }
}
