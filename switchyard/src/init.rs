//! `switchyard init`: everything secret that containers start with, each in a folder that only its own container gets.
//!
//! What is there stays: running it again gives a newer version what it needs besides, and changes no password.

use std::{
    fmt::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use reqwest::Url;
use shared_models::Service;

use crate::{
    demo::guide::say,
    migrate::{ADMIN_URL, Places},
    secrets::{ROOT_KEY, Secrets, write_private},
};

/// All secrets, for `migrate` and `bootstrap`.
const OPERATOR: &str = "operator";
const ADMIN_PASSWORD: &str = "POSTGRES_ADMIN_PASSWORD";
/// Far above any message of ours: larger payloads travel by reference.
const MAX_PAYLOAD: u32 = 2 * 1024 * 1024;

/// Fills `dir`: `<service>/env`, `operator/env`, `nats/nats.conf`, and `postgres/password.sql`, which gives the login of
/// `database` its password when the database is made.
pub(crate) fn init(dir: &Path, database: &Url) -> anyhow::Result<()> {
    let operator = folder(dir, OPERATOR)?.join("env");
    let mut secrets = Secrets::keep_at(&operator)?;
    let password = secrets.password(ADMIN_PASSWORD);
    let mut admin = database.clone();
    admin
        .set_password(Some(&password))
        .map_err(|()| anyhow::anyhow!("the database's address is not a URL with a host"))?;
    let places = Places {
        database_admin_url: admin.to_string().into(),
        database_base_url: None,
        nats_url: String::new(),
        stream_replicas: 1,
    };

    secrets.set(ADMIN_URL, admin.into());
    write_private(&operator, &secrets.lines())?;
    for &service in Service::ALL {
        let text = service_env(service, &places, &secrets)?;
        write_private(&folder(dir, service.name())?.join("env"), &text)?;
    }
    write_private(&folder(dir, "nats")?.join("nats.conf"), &nats_config(&secrets))?;
    postgres(&folder(dir, "postgres")?, &password)?;
    say(&format!("secrets and configuration are in {}", dir.display()));
    Ok(())
}

fn folder(dir: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let path = dir.join(name);
    std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok(path)
}

fn service_env(service: Service, places: &Places, secrets: &Secrets) -> anyhow::Result<String> {
    let mut text = String::new();
    for (name, value) in places.secrets_of(secrets, service)? {
        writeln!(text, "{name}={value}")?;
    }
    if service == Service::Credsvc {
        writeln!(text, "{ROOT_KEY}={}", secrets.root_key())?;
    }
    Ok(text)
}

/// Clients from anywhere on the network, by name and password; monitoring for the container itself.
fn nats_config(secrets: &Secrets) -> String {
    format!(
        "listen: \"0.0.0.0:4222\"\nhttp: \"127.0.0.1:8222\"\nmax_payload: {MAX_PAYLOAD}\n\
         jetstream {{ store_dir: \"/data\" }}\n{}\n",
        pubsub::topology::server_config(&secrets.nats())
    )
}

/// The database's own start-up runs this as another user, so it is readable within its folder.
fn postgres(folder: &Path, password: &str) -> anyhow::Result<()> {
    let path = folder.join("password.sql");
    // Passwords are made of letters, digits, `-` and `_`.
    write_private(&path, &format!("alter role current_user password '{password}';\n"))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use servicekit::Env;

    use super::*;
    use crate::roles::Role;

    fn run(dir: &Path) {
        init(dir, &"postgres://postgres@database:5432/switchyard".parse().unwrap()).unwrap();
    }

    fn pairs(path: &Path) -> BTreeMap<String, String> {
        let text = std::fs::read_to_string(path).unwrap();
        let pairs = text.lines().map(|line| line.split_once('=').unwrap());
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn a_service_can_start_with_its_folder_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        run(dir.path());

        for &service in Service::ALL {
            let mut env = Env::from_map(pairs(&dir.path().join(service.name()).join("env")));
            Role::read(service, &mut env);
            assert_eq!(env.finish(), Ok(()), "{service}");
        }
    }

    #[test]
    fn no_folder_but_the_operators_holds_what_is_another_services() {
        let dir = tempfile::tempdir().unwrap();
        run(dir.path());
        let values = |service: Service| -> Vec<String> {
            let path = dir.path().join(service.name()).join("env");
            pairs(&path).into_values().collect()
        };

        for &service in Service::ALL {
            let own = values(service);
            let others = Service::ALL.iter().filter(|&&other| other != service);
            for other in others.flat_map(|&other| values(other)) {
                assert!(!own.contains(&other), "{service} holds {other}");
            }
        }
        let root_key = &pairs(&dir.path().join("operator/env"))[ROOT_KEY];
        assert!(values(Service::Credsvc).contains(root_key));
        assert!(!values(Service::Engine).contains(root_key));
    }

    #[test]
    fn a_second_time_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let read = || {
            let names = ["operator/env", "gateway/env", "nats/nats.conf", "postgres/password.sql"];
            names.map(|name| std::fs::read_to_string(dir.path().join(name)).unwrap())
        };

        run(dir.path());
        let first = read();
        run(dir.path());

        assert_eq!(first, read());
    }
}
