//! The provider: sends each delivery again until it is taken.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    time::{Duration, Instant},
};

use futures::StreamExt as _;
use rand::{RngExt as _, rngs::StdRng, seq::IndexedRandom as _};
use serde_json::json;
use tokio::sync::Semaphore;

use super::Plan;
use crate::sign;

/// Deliveries under way at once.
const CONNECTIONS: usize = 16;
/// After so long a provider gives up.
const GIVE_UP: Duration = Duration::from_secs(180);
/// What a provider has to expect while something is down.
const PASSING: [&str; 7] = ["429", "502", "503", "504", "not connected", "timed out", "cut off"];

/// Where deliveries go.
pub(super) struct Target {
    pub(super) url: String,
    pub(super) secret: String,
}

/// All deliveries, in the order in which they are first sent, and what was answered.
pub(super) struct Mail {
    /// An id that is here twice is sent twice.
    ids: Vec<String>,
    /// How many may be sent so far.
    gate: Semaphore,
    /// How many more may be sent with each wave; the last is the rest.
    shares: Vec<usize>,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    accepted: BTreeSet<String>,
    given_up: BTreeSet<String>,
    answers: BTreeMap<String, usize>,
}

impl Mail {
    pub(super) fn new(plan: &Plan, waves: usize, chance: &mut StdRng) -> Self {
        let distinct: Vec<String> =
            (0..plan.deliveries).map(|n| format!("msg_{}_{n:05}", plan.seed)).collect();
        let mut ids = distinct.clone();
        for _ in 0..plan.deliveries * plan.duplicates / 100 {
            let again = distinct.choose(chance).expect("there are deliveries").clone();
            ids.insert(chance.random_range(0..=ids.len()), again);
        }
        let each = ids.len() / (waves + 1);
        let mut shares = vec![each; waves];
        shares.push(ids.len() - each * waves);
        Self { ids, gate: Semaphore::new(0), shares, told: Mutex::default() }
    }

    /// Lets a wave's share be sent.
    pub(super) fn release(&self, wave: usize) {
        self.gate.add_permits(self.shares[wave]);
    }

    /// Sends everything, as it is let; returns when each was taken or given up.
    pub(super) async fn send(&self, target: &Target) {
        let http = servicekit::peer::internal_http().unwrap();
        futures::stream::iter(&self.ids)
            .for_each_concurrent(CONNECTIONS, async |id| {
                self.gate.acquire().await.expect("an open gate").forget();
                self.deliver(&http, target, id).await;
            })
            .await;
    }

    async fn deliver(&self, http: &reqwest::Client, target: &Target, id: &str) {
        let body = json!({ "id": id }).to_string();
        let began = Instant::now();
        loop {
            let answer = sign(&target.secret, id, &body).try_send(http, &target.url).await;
            let taken = matches!(answer, Ok(200 | 202));
            let answer = answer.map_or_else(str::to_owned, |status| status.to_string());
            if self.note(id, answer, taken, began) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Keeps an answer; says whether that was the last attempt.
    fn note(&self, id: &str, answer: String, taken: bool, began: Instant) -> bool {
        let mut told = self.told.lock().unwrap();
        *told.answers.entry(answer).or_default() += 1;
        let given_up = !taken && began.elapsed() > GIVE_UP;
        if taken {
            told.accepted.insert(id.to_owned());
        } else if given_up {
            told.given_up.insert(id.to_owned());
        }
        taken || given_up
    }

    /// How many requests there would be if each were taken at once.
    pub(super) fn total(&self) -> usize {
        self.ids.len()
    }

    /// The ids that were taken.
    pub(super) fn accepted(&self) -> Vec<String> {
        self.told.lock().unwrap().accepted.iter().cloned().collect()
    }

    /// The deliveries that no attempt got through.
    pub(super) fn unaccepted(&self) -> Vec<String> {
        let told = self.told.lock().unwrap();
        let never = told.given_up.iter().filter(|id| !told.accepted.contains(*id));
        never.map(|id| format!("{id} was not taken within {GIVE_UP:?}")).collect()
    }

    /// How often each answer came.
    pub(super) fn answers(&self) -> String {
        let told = self.told.lock().unwrap();
        let answers: Vec<_> =
            told.answers.iter().map(|(answer, times)| format!("{times}× {answer}")).collect();
        answers.join(", ")
    }

    /// Answers that a provider must not get for a good delivery, whatever is down.
    pub(super) fn wrong_answers(&self) -> Vec<String> {
        let told = self.told.lock().unwrap();
        let fine = |answer: &str| ["200", "202"].contains(&answer) || PASSING.contains(&answer);
        let wrong = told.answers.iter().filter(|(answer, _)| !fine(answer));
        wrong.map(|(answer, times)| format!("{times} deliveries were answered {answer}")).collect()
    }
}
