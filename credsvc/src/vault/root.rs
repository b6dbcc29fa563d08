//! Where the root key is. It wraps tenants' keys and nothing else.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures::future::{BoxFuture, FutureExt as _, ready};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::{Zeroize as _, Zeroizing};

use super::{Key, VaultError, bound::Bound};

/// The key that all others are under. Asking it may mean asking another machine, so callers do it outside transactions.
pub(crate) trait RootKey: Send + Sync + 'static {
    /// Which provider this is, for people.
    fn name(&self) -> String;
    /// The version that wraps now.
    fn version(&self) -> i32;
    /// Seals a tenant's key.
    fn wrap(&self, key: Key, bound: Bound) -> BoxFuture<'_, Result<String, VaultError>>;
    /// Opens a tenant's key.
    fn unwrap(&self, text: String, bound: Bound) -> BoxFuture<'_, Result<Key, VaultError>>;
    /// Whether it can be used now.
    fn check(&self) -> BoxFuture<'_, Result<(), RootKeyError>>;
    /// Sees to it that it can be used later too. Called every few seconds.
    fn tend(&self) -> BoxFuture<'_, ()> {
        ready(()).boxed()
    }
}

/// Why there is no root key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RootKeyError {
    /// The file cannot be used at all.
    #[error("the root key file {path}: {source}")]
    File {
        /// Which file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else could have read it.
    #[error("the root key file {0} can be read by others than its owner; make it mode 0600")]
    Open(String),
    /// It holds something else.
    #[error("the root key file {0} does not hold exactly 32 bytes")]
    Length(String),
    /// The file is gone while there are secrets under it; a new key could not open them.
    #[error("the root key file {0} is missing, but there are secrets sealed under it; put it back")]
    Missing(String),
    /// The variable holds something else.
    #[error("the root key is not 32 bytes in base64")]
    Base64,
    /// There is no randomness to make one.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// What to do when the key file does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfMissing {
    /// Make a new key: a first start.
    Create,
    /// Refuse: something is sealed under the old one.
    Refuse,
}

/// A key in a file of mode 0600: the local default.
pub(crate) struct FileRoot {
    path: PathBuf,
    version: i32,
    key: Key,
}

impl FileRoot {
    /// Reads the key file.
    pub(crate) fn load(
        path: &Path,
        version: i32,
        if_missing: IfMissing,
    ) -> Result<Self, RootKeyError> {
        if !path.try_exists().map_err(|source| failed(path, source))? {
            match if_missing {
                IfMissing::Refuse => return Err(RootKeyError::Missing(shown(path))),
                IfMissing::Create => create(path)?,
            }
        }
        Ok(Self { path: path.to_owned(), version, key: read(path)? })
    }
}

impl RootKey for FileRoot {
    fn name(&self) -> String {
        format!("file {}", shown(&self.path))
    }

    fn version(&self) -> i32 {
        self.version
    }

    fn wrap(&self, key: Key, bound: Bound) -> BoxFuture<'_, Result<String, VaultError>> {
        ready(self.key.wrap(&key, self.version, &bound)).boxed()
    }

    fn unwrap(&self, text: String, bound: Bound) -> BoxFuture<'_, Result<Key, VaultError>> {
        ready(self.key.unwrap(&text, self.version, &bound)).boxed()
    }

    /// The key is in memory, but a file that has become readable, or is gone before the next start, is news.
    fn check(&self) -> BoxFuture<'_, Result<(), RootKeyError>> {
        ready(
            File::open(&self.path)
                .map_err(|e| failed(&self.path, e))
                .and_then(|file| private(&file, &self.path)),
        )
        .boxed()
    }
}

/// A key from the environment, for places where secrets come as variables.
pub(crate) struct EnvRoot {
    version: i32,
    key: Key,
}

impl EnvRoot {
    /// Reads 32 bytes of base64.
    pub(crate) fn parse(text: &SecretString, version: i32) -> Result<Self, RootKeyError> {
        let bytes =
            STANDARD.decode(text.expose_secret().trim()).map_err(|_| RootKeyError::Base64)?;
        let bytes = Zeroizing::new(bytes);
        let mut bytes: [u8; 32] = bytes.as_slice().try_into().map_err(|_| RootKeyError::Base64)?;
        Ok(Self { version, key: Key::from_bytes(&mut bytes) })
    }
}

impl RootKey for EnvRoot {
    fn name(&self) -> String {
        "environment".into()
    }

    fn version(&self) -> i32 {
        self.version
    }

    fn wrap(&self, key: Key, bound: Bound) -> BoxFuture<'_, Result<String, VaultError>> {
        ready(self.key.wrap(&key, self.version, &bound)).boxed()
    }

    fn unwrap(&self, text: String, bound: Bound) -> BoxFuture<'_, Result<Key, VaultError>> {
        ready(self.key.unwrap(&text, self.version, &bound)).boxed()
    }

    fn check(&self) -> BoxFuture<'_, Result<(), RootKeyError>> {
        ready(Ok(())).boxed()
    }
}

/// Writes a new key beside the path and links it into place, so that a crash leaves either no key or a whole one, and
/// of two processes that start together both use the same.
fn create(path: &Path) -> Result<(), RootKeyError> {
    let fail = |source| failed(path, source);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(fail)?;
    }
    let draft = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .map_err(fail)?;
    file.write_all(Key::random()?.bytes()).and_then(|()| file.sync_all()).map_err(fail)?;
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft).map_err(fail)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(fail(error)),
        _ => {}
    }
    File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all()).map_err(fail)
}

fn read(path: &Path) -> Result<Key, RootKeyError> {
    let file = File::open(path).map_err(|source| failed(path, source))?;
    private(&file, path)?;
    // One byte more than a key has, to notice a longer file.
    let mut bytes = Zeroizing::new(Vec::with_capacity(33));
    file.take(33).read_to_end(&mut bytes).map_err(|source| failed(path, source))?;
    let mut key: [u8; 32] =
        bytes.as_slice().try_into().map_err(|_| RootKeyError::Length(shown(path)))?;
    let made = Key::from_bytes(&mut key);
    bytes.zeroize();
    Ok(made)
}

fn private(file: &File, path: &Path) -> Result<(), RootKeyError> {
    let mode = file.metadata().map_err(|source| failed(path, source))?.mode();
    let others = mode & 0o077;
    if others == 0 { Ok(()) } else { Err(RootKeyError::Open(shown(path))) }
}

fn failed(path: &Path, source: io::Error) -> RootKeyError {
    RootKeyError::File { path: shown(path), source }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
