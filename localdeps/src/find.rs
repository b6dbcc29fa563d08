//! Where the servers are installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;

/// The oldest Postgres the platform's SQL runs on.
pub const OLDEST_POSTGRES: u32 = 15;

const POSTGRES_PLACES: [&str; 7] = [
    "/usr/lib/postgresql",
    "/opt/homebrew/opt",
    "/usr/local/opt",
    "/home/linuxbrew/.linuxbrew/opt",
    "/usr",
    "/usr/local",
    "/Applications/Postgres.app/Contents/Versions",
];

/// Distributions put `nats-server` into `sbin`, which is not on everybody's `PATH`.
const PROGRAM_PLACES: [&str; 6] = [
    "/usr/sbin",
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/bin",
    "/opt/homebrew/bin",
    "/home/linuxbrew/.linuxbrew/bin",
];

/// The newest installed Postgres that is new enough: the folder with `postgres` and `initdb`.
pub fn postgres_bin_dir() -> Result<PathBuf, Error> {
    let newest = installed().into_iter().max_by_key(|(major, _)| *major);
    match newest {
        Some((major, dir)) if major >= OLDEST_POSTGRES => Ok(dir),
        Some((major, dir)) => Err(Error::NotInstalled(format!(
            "PostgreSQL {major} in {} is too old: version {OLDEST_POSTGRES} or newer is needed. {}",
            dir.display(),
            how_to_install("postgresql", "postgresql@17"),
        ))),
        None => Err(Error::NotInstalled(format!(
            "a PostgreSQL server (version {OLDEST_POSTGRES} or newer) is needed and was not found \
             on PATH or in /usr/lib/postgresql/*/bin. {}",
            how_to_install("postgresql", "postgresql@17"),
        ))),
    }
}

/// The Postgres that wrote a data folder: its files are readable by the same major version only.
pub(crate) fn postgres_bin_dir_of(major: u32) -> Result<PathBuf, Error> {
    let same = installed().into_iter().find(|(installed, _)| *installed == major);
    same.map(|(_, dir)| dir).ok_or_else(|| {
        Error::NotInstalled(format!(
            "the data was written by PostgreSQL {major}, which is not installed any more; install \
             postgresql-{major}, or move the state folder away to start afresh"
        ))
    })
}

/// The `nats-server` program.
pub fn nats_server() -> Result<PathBuf, Error> {
    path_folders()
        .into_iter()
        .chain(PROGRAM_PLACES.map(PathBuf::from))
        .map(|dir| dir.join("nats-server"))
        .find(|program| program.is_file())
        .ok_or_else(|| {
            Error::NotInstalled(format!(
                "nats-server is needed and was not found on PATH. {}",
                how_to_install("nats-server", "nats-server"),
            ))
        })
}

fn how_to_install(apt: &str, brew: &str) -> String {
    format!(
        "Install it with `apt-get install {apt}` (Debian, Ubuntu) or `brew install {brew}` (macOS)."
    )
}

fn path_folders() -> Vec<PathBuf> {
    std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default()
}

/// Every installed Postgres with its major version; `PATH` first, so that it wins a tie.
fn installed() -> Vec<(u32, PathBuf)> {
    let mut dirs: Vec<PathBuf> = path_folders();
    for place in POSTGRES_PLACES {
        let Ok(entries) = std::fs::read_dir(place) else { continue };
        dirs.extend(entries.flatten().map(|entry| entry.path().join("bin")));
    }
    // On PATH there may be links to some of the programs; they live together where those lead.
    let real = dirs.iter().filter_map(|dir| dir.join("postgres").canonicalize().ok());
    let complete = real
        .filter_map(|program| program.parent().map(Path::to_owned))
        .filter(|dir| dir.join("initdb").is_file());
    let mut found: Vec<(u32, PathBuf)> =
        complete.filter_map(|dir| Some((major_of(&dir)?, dir))).collect();
    found.reverse(); // `max_by_key` takes the last of equals
    found
}

pub(crate) fn major_of(bin_dir: &Path) -> Option<u32> {
    let output = Command::new(bin_dir.join("postgres")).arg("--version").output().ok()?;
    parse_major(&String::from_utf8_lossy(&output.stdout))
}

fn parse_major(version: &str) -> Option<u32> {
    let number = version.split_once("PostgreSQL) ")?.1;
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::parse_major;

    #[test]
    fn the_major_version_is_read_from_what_postgres_says() {
        let cases = [
            ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", Some(15)),
            ("postgres (PostgreSQL) 17.0", Some(17)),
            ("postgres (PostgreSQL) 18beta1", Some(18)),
            ("something else", None),
        ];
        for (said, major) in cases {
            assert_eq!(parse_major(said), major, "{said}");
        }
    }
}
