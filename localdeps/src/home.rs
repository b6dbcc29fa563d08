//! Where the servers keep their state, and as whom they run.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::unistd::{User, geteuid};

use crate::child::confine;
use crate::error::Doing;
use crate::{Error, NatsOptions, PostgresOptions};

const TEMPORARY: &str = "switchyard-test-";
/// A socket's full path must fit into 104 bytes on a Mac; Postgres appends up to 16.
const LONGEST_SOCKET_DIR: usize = 80;
/// Two accounts every system with Postgres, or at all, has.
const SERVER_USERS: [&str; 2] = ["postgres", "nobody"];

/// The account the servers run as when we are root: Postgres refuses to run as root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUser {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

impl ServerUser {
    /// `None` when we are not root: then the servers run as we do.
    pub fn needed() -> Result<Option<ServerUser>, Error> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        for name in SERVER_USERS {
            if let Ok(Some(user)) = User::from_name(name) {
                let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
                return Ok(Some(ServerUser { name: user.name, uid, gid }));
            }
        }
        Err(Error::State(format!("one of the users {} is needed", SERVER_USERS.join(", "))))
    }
}

/// The folder of one installation. `dir` is ours, `state` is the servers'.
#[derive(Debug)]
pub struct Home {
    dir: PathBuf,
    state: PathBuf,
    user: Option<ServerUser>,
    /// Held while a temporary home is in use; what nobody holds is swept away.
    temporary: Option<File>,
}

impl Home {
    /// Opens or creates the home at `dir` (usually `.switchyard`).
    ///
    /// When we are root and the servers' user cannot reach `dir`, because it is under somebody's
    /// private home, the state goes to `/var/lib/switchyard`, and `dir/state` is a link to it.
    pub fn at(dir: impl AsRef<Path>) -> Result<Home, Error> {
        let dir = std::path::absolute(dir.as_ref()).doing("find", dir.as_ref())?;
        let user = ServerUser::needed()?;
        // The servers' user has to pass through, but need not see what is inside.
        let mode = if user.is_some() { 0o711 } else { 0o700 };
        create_private(&dir, mode, None)?;
        let link = dir.join("state");
        let state = match link.canonicalize() {
            Ok(existing) => existing,
            Err(_) => create_state(&dir, &link, user.as_ref())?,
        };
        if !can_use(&state, user.as_ref()) {
            return Err(Error::State(format!(
                "the user {} cannot write to {}; move it away to start afresh",
                user.map_or_else(|| String::from("running this"), |user| user.name),
                state.display()
            )));
        }
        Ok(Home { dir, state, user, temporary: None })
    }

    /// A home for one test or test run, removed when dropped. Those left by killed runs are swept.
    pub fn temporary() -> Result<Home, Error> {
        let user = ServerUser::needed()?;
        let mut places = vec![std::env::temp_dir()];
        places.extend(["/tmp", "/var/tmp"].map(PathBuf::from));
        for place in places {
            sweep(&place);
            let name = format!("{TEMPORARY}{:016x}", rand::random::<u64>());
            let state = place.join(name);
            if create_private(&state, 0o700, user.as_ref()).is_err() {
                continue;
            }
            let lock = File::create(state.join("lock")).doing("create", &state)?;
            if lock.try_lock().is_ok() && can_use(&state, user.as_ref()) {
                let dir = state.clone();
                return Ok(Home { dir, state, user, temporary: Some(lock) });
            }
            let _ = std::fs::remove_dir_all(&state);
        }
        Err(Error::State(String::from("no temporary folder that the servers can write to")))
    }

    /// Our own files: keys, the address, the lock.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The servers' files: data and logs.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// As whom the servers run, when not as us.
    pub fn user(&self) -> Option<&ServerUser> {
        self.user.as_ref()
    }

    /// Options for a durable Postgres in this home.
    pub fn postgres(&self) -> PostgresOptions {
        PostgresOptions {
            data_dir: self.state.join("postgres"),
            socket_dir: self.socket_dir(),
            log_file: self.state.join("postgres.log"),
            durable: true,
            port: None,
            max_connections: 300,
            user: self.user.clone(),
        }
    }

    /// Options for a NATS in this home. `authorization` is configuration text.
    pub fn nats(&self, authorization: impl Into<String>) -> NatsOptions {
        NatsOptions {
            store_dir: self.state.join("nats"),
            log_file: self.state.join("nats.log"),
            authorization: authorization.into(),
            port: None,
            user: self.user.clone(),
        }
    }

    fn socket_dir(&self) -> PathBuf {
        let inside = self.state.join("run");
        if inside.as_os_str().len() <= LONGEST_SOCKET_DIR {
            return inside;
        }
        PathBuf::from(format!(
            "/tmp/switchyard-{:016x}",
            fnv(inside.as_os_str().as_encoded_bytes())
        ))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.temporary.is_some() {
            let _ = std::fs::remove_dir_all(self.socket_dir());
            let _ = std::fs::remove_dir_all(&self.state);
        }
    }
}

/// In the home when the servers' user can get there, elsewhere with a link when not.
fn create_state(dir: &Path, link: &Path, user: Option<&ServerUser>) -> Result<PathBuf, Error> {
    // A link whose target is gone would make every attempt fail.
    if link.is_symlink() {
        std::fs::remove_file(link).doing("remove", link)?;
    }
    create_private(link, 0o700, user)?;
    if can_use(link, user) {
        return link.canonicalize().doing("find", link);
    }
    std::fs::remove_dir(link).doing("remove", link)?;

    // The name is random and the link the only way to it: a home that was removed and made again
    // must not find the data of the old one, whose keys are gone.
    let project = dir.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    let name = format!("{project}-{:08x}", rand::random::<u32>());
    for place in ["/var/lib/switchyard", "/var/tmp/switchyard"] {
        let state = Path::new(place).join(&name);
        if create_private(Path::new(place), 0o711, None).is_ok()
            && create_private(&state, 0o700, user).is_ok()
            && can_use(&state, user)
        {
            symlink(&state, link).doing("create", link)?;
            return Ok(state);
        }
    }
    Err(Error::State(String::from("no folder for the state that the servers can write to")))
}

/// Creates a folder that only its owner can enter or list; refuses one that belongs to a stranger.
pub(crate) fn create_private(
    dir: &Path,
    mode: u32,
    owner: Option<&ServerUser>,
) -> Result<(), Error> {
    match DirBuilder::new().mode(mode).create(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let existing = dir.symlink_metadata().doing("look at", dir)?;
            let allowed = [geteuid().as_raw(), owner.map_or(geteuid().as_raw(), |user| user.uid)];
            if !existing.is_dir() || !allowed.contains(&existing.uid()) {
                return Err(Error::State(format!("{} belongs to somebody else", dir.display())));
            }
        }
        other => other.doing("create", dir)?,
    }
    give(dir, owner)?;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(mode)).doing("protect", dir)
}

/// Hands a file or folder to the servers' user.
pub(crate) fn give(path: &Path, owner: Option<&ServerUser>) -> Result<(), Error> {
    match owner {
        Some(user) => {
            std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid)).doing("give away", path)
        }
        None => Ok(()),
    }
}

/// Asks by trying, as the servers' user: modes, mounts and access lists all count.
fn can_use(dir: &Path, user: Option<&ServerUser>) -> bool {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", r#"cd "$1" && : >.writable && rm .writable"#, "sh"]).arg(dir);
    confine(&mut command, Path::new("/"), user);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Removes temporary homes whose owner is gone. Young ones may not have taken their lock yet.
fn sweep(place: &Path) {
    let Ok(entries) = std::fs::read_dir(place) else { return };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(TEMPORARY);
        let Ok(metadata) = entry.path().symlink_metadata() else { continue };
        let age = metadata.modified().ok().and_then(|at| at.elapsed().ok()).unwrap_or_default();
        if !ours || !metadata.is_dir() || age < Duration::from_mins(1) {
            continue;
        }
        let lock = File::open(entry.path().join("lock"));
        if lock.is_ok_and(|lock| lock.try_lock().is_ok()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// FNV-1a: short names that stay the same between releases of the standard library.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
