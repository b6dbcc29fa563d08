//! Who dies, in which order, and what comes back.

use std::{
    fmt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use shared_models::Service;

use super::sender::Mail;
use crate::Fleet;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Victim {
    Service(Service),
    Postgres,
    Nats,
    /// It comes back with the store it had when it was first killed.
    NatsRolledBack,
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(service) => write!(f, "{service}"),
            Self::Postgres => f.write_str("postgres"),
            Self::Nats => f.write_str("nats"),
            Self::NatsRolledBack => f.write_str("nats (rolled back)"),
        }
    }
}

/// Each as often as told, in random order, and one roll-back after NATS was killed for the first time.
pub(super) fn schedule(kills: usize, chance: &mut StdRng) -> Vec<Victim> {
    let services = [Service::Eventsvc, Service::Engine, Service::Credsvc].map(Victim::Service);
    let each: Vec<_> = services.into_iter().chain([Victim::Postgres, Victim::Nats]).collect();
    let mut order = each.repeat(kills);
    order.shuffle(chance);
    let Some(copied) = order.iter().position(|victim| *victim == Victim::Nats) else {
        return order;
    };
    // Something has to happen in between, or nothing is rolled back.
    let earliest = (copied + 2).min(order.len());
    order.insert(chance.random_range(earliest..=order.len()), Victim::NatsRolledBack);
    order
}

/// Kills while deliveries are on their way.
pub(super) struct Wave<'a> {
    mail: &'a Mail,
    chance: StdRng,
}

impl<'a> Wave<'a> {
    pub(super) fn new(mail: &'a Mail, chance: &mut StdRng) -> Self {
        Self { mail, chance: StdRng::seed_from_u64(chance.random()) }
    }

    /// Lets a share of the deliveries go and, at some moment soon after, kills; says who was killed.
    pub(super) async fn run(mut self, fleet: &mut Fleet, victims: &[Victim]) -> Vec<String> {
        let copy = tempfile::tempdir().unwrap();
        let mut copied = None;
        for (number, victim) in victims.iter().enumerate() {
            self.mail.release(number);
            self.pause(1_000).await;
            kill(fleet, *victim).await;
            match victim {
                Victim::Nats if copied.is_none() => {
                    copied = Some(keep(&fleet.nats_store(), copy.path()));
                }
                Victim::NatsRolledBack => {
                    put_back(copied.as_ref().expect("a copy"), &fleet.nats_store());
                }
                _ => {}
            }
            self.pause(1_500).await;
            revive(fleet, *victim).await;
        }
        self.mail.release(victims.len());
        victims.iter().map(Victim::to_string).collect()
    }

    /// A moment of chance, not a wait for anything.
    async fn pause(&mut self, most: u64) {
        let millis = self.chance.random_range(0..=most);
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
}

async fn kill(fleet: &mut Fleet, victim: Victim) {
    match victim {
        Victim::Service(service) => fleet.kill(service.name()),
        Victim::Postgres => fleet.postgres.kill().await,
        Victim::Nats | Victim::NatsRolledBack => fleet.nats.kill().await,
    }
}

async fn revive(fleet: &mut Fleet, victim: Victim) {
    match victim {
        Victim::Service(service) => {
            fleet.launch(service.name(), service);
            fleet.alive(service.name()).await;
        }
        Victim::Postgres => fleet.postgres.restart().await.unwrap(),
        Victim::Nats | Victim::NatsRolledBack => fleet.nats.restart().await.unwrap(),
    }
}

/// Copies the store while nobody writes to it.
fn keep(store: &Path, place: &Path) -> PathBuf {
    let copy = place.join("store");
    run(Command::new("cp").arg("-a").arg(store).arg(&copy));
    copy
}

/// The folder itself stays: the next server runs in it.
fn put_back(copy: &Path, store: &Path) {
    for entry in std::fs::read_dir(store).unwrap() {
        let path = entry.unwrap().path();
        run(Command::new("rm").arg("-r").arg(path));
    }
    run(Command::new("cp").arg("-a").arg(copy.join(".")).arg(store));
}

fn run(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?} ended with {status}");
}
