use std::{
    os::unix::fs::PermissionsExt as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use futures::future::ready;

use super::{root::IfMissing, *};

const SECRET: &[u8] = b"correct horse battery staple";

fn root(byte: u8, version: i32) -> Arc<EnvRoot> {
    Arc::new(EnvRoot::parse(&STANDARD.encode([byte; 32]).into(), version).unwrap())
}

fn vault(byte: u8) -> Vault {
    Vault::new(Ring::of(root(byte, 1)), Duration::from_secs(60))
}

#[tokio::test]
async fn a_tenants_key_is_put_under_a_newer_root_key_and_seals_the_same() {
    let whose = whose();
    let old = vault(1);
    let stored = new_key(&old, whose.tenant, 1).await;
    let sealed = old.tenant_key(whose.tenant, &stored).await.unwrap().seal(&whose, SECRET).unwrap();
    let both = Vault::new(Ring::of(root(2, 2)).with(root(1, 1)), Duration::ZERO);

    let newer = both.rewrap(whose.tenant, &stored).await.unwrap();

    let alone = Vault::new(Ring::of(root(2, 2)), Duration::ZERO);
    let key = alone.tenant_key(whose.tenant, &newer).await.unwrap();
    assert_eq!(key.open(&whose, &sealed).unwrap().as_slice(), SECRET);
    assert_eq!((newer.root_version, newer.version), (2, 1));
    let anothers = both.rewrap(TenantId::mint(), &stored).await.unwrap_err();
    assert_eq!(anothers, VaultError::Refused);
}

fn whose() -> Whose {
    let (tenant, credential) = (TenantId::mint(), CredentialId::mint());
    Whose { tenant, credential, user: Some(UserId::mint()), version: 1 }
}

async fn new_key(vault: &Vault, tenant: TenantId, version: i32) -> WrappedKey {
    let prints = PrintKey::random(tenant).unwrap();
    vault.new_tenant_key(tenant, version, &prints).await.unwrap().0
}

async fn tenant_key(vault: &Vault, tenant: TenantId) -> TenantKey {
    let wrapped = new_key(vault, tenant, 3).await;
    vault.tenant_key(tenant, &wrapped).await.unwrap()
}

#[tokio::test]
async fn what_is_sealed_opens_again_and_names_its_key_versions() {
    let whose = Whose { version: 7, ..whose() };
    let key = tenant_key(&vault(1), whose.tenant).await;

    let sealed = key.seal(&whose, SECRET).unwrap();

    assert_eq!(key.open(&whose, &sealed).unwrap().as_slice(), SECRET);
    assert!(sealed.data_key.starts_with("sy:v3:"), "{}", sealed.data_key);
    assert!(sealed.secret.starts_with("sy:v7:"), "{}", sealed.secret);
}

#[tokio::test]
async fn the_same_secret_never_gives_the_same_text() {
    let whose = whose();
    let key = tenant_key(&vault(1), whose.tenant).await;

    let (first, second) = (key.seal(&whose, SECRET).unwrap(), key.seal(&whose, SECRET).unwrap());

    assert_ne!(first.secret, second.secret);
    assert_ne!(first.data_key, second.data_key);
}

#[tokio::test]
async fn a_secret_opens_in_its_own_row_only() {
    let own = whose();
    let key = tenant_key(&vault(1), own.tenant).await;
    let sealed = key.seal(&own, SECRET).unwrap();

    for (what, other) in [
        ("tenant", Whose { tenant: TenantId::mint(), ..own }),
        ("credential", Whose { credential: CredentialId::mint(), ..own }),
        ("owner", Whose { user: Some(UserId::mint()), ..own }),
        ("no owner", Whose { user: None, ..own }),
    ] {
        assert_eq!(key.open(&other, &sealed).unwrap_err(), VaultError::Refused, "{what}");
    }
    let old = Whose { version: 2, ..own };
    assert_eq!(key.open(&old, &sealed).unwrap_err(), VaultError::Refused);
}

#[tokio::test]
async fn halves_of_two_rows_do_not_fit_together() {
    let (mine, yours) = (whose(), whose());
    let yours = Whose { tenant: mine.tenant, ..yours };
    let key = tenant_key(&vault(1), mine.tenant).await;
    let (a, b) = (key.seal(&mine, SECRET).unwrap(), key.seal(&yours, SECRET).unwrap());

    let mixed = Sealed { secret: b.secret.clone(), ..a.clone() };

    assert_eq!(key.open(&mine, &mixed).unwrap_err(), VaultError::Refused);
    assert_eq!(key.open(&mine, &b).unwrap_err(), VaultError::Refused);
}

#[tokio::test]
async fn an_edited_or_cut_text_is_refused_and_says_how() {
    let whose = whose();
    let key = tenant_key(&vault(1), whose.tenant).await;
    let sealed = key.seal(&whose, SECRET).unwrap();
    let open =
        |text: String| key.open(&whose, &Sealed { secret: text, ..sealed.clone() }).unwrap_err();

    let text = &sealed.secret;
    let flipped = if text.as_bytes()[20] == b'A' { "B" } else { "A" };
    assert_eq!(open(format!("{}{flipped}{}", &text[..20], &text[21..])), VaultError::Refused);
    assert_eq!(open(text[..text.len() - 3].into()), VaultError::Refused);
    assert_eq!(open("sy:v1:AAAA".into()), VaultError::Truncated);
    assert_eq!(
        open(text.replace("sy:v1", "sy:v2")),
        VaultError::OtherVersion { expected: 1, found: 2 }
    );
    for broken in ["", "sy:", "sy:v1", "sy:vx:AAAA", "xx:v1:AAAA", "sy:v1:not base64!"] {
        assert_eq!(open(broken.into()), VaultError::Malformed, "{broken}");
    }
}

#[tokio::test]
async fn another_root_key_unwraps_nothing() {
    let tenant = TenantId::mint();
    let wrapped = new_key(&vault(1), tenant, 1).await;

    let wrong = vault(2).tenant_key(tenant, &wrapped).await.unwrap_err();
    let newer = Vault::new(Ring::of(root(1, 2)), Duration::ZERO).tenant_key(tenant, &wrapped).await;

    assert_eq!(wrong, VaultError::Refused);
    assert_eq!(newer.unwrap_err(), VaultError::OtherRoot { wanted: 1, present: 2 });
}

#[tokio::test]
async fn a_tenants_key_is_no_other_tenants_key() {
    let vault = vault(1);
    let wrapped = new_key(&vault, TenantId::mint(), 1).await;

    let moved = vault.tenant_key(TenantId::mint(), &wrapped).await;

    assert_eq!(moved.unwrap_err(), VaultError::Refused);
}

#[tokio::test]
async fn fingerprints_differ_between_tenants() {
    let vault = vault(1);
    let (a, b) =
        (tenant_key(&vault, TenantId::mint()).await, tenant_key(&vault, TenantId::mint()).await);

    assert_eq!(a.fingerprint(SECRET), a.fingerprint(SECRET));
    assert_ne!(a.fingerprint(SECRET), b.fingerprint(SECRET));
}

#[tokio::test]
async fn a_lasting_fingerprint_outlives_the_tenants_key_and_is_no_other_tenants() {
    let (vault, tenant) = (vault(1), TenantId::mint());
    let prints = PrintKey::random(tenant).unwrap();
    let older = tenant_key(&vault, tenant).await;
    let older = older.print_key(&older.wrap_print_key(&prints).unwrap()).unwrap();
    let (next, wrapped) = vault.new_tenant_key(tenant, 4, &older).await.unwrap();

    let newer = vault.tenant_key(tenant, &next).await.unwrap().print_key(&wrapped).unwrap();

    assert_eq!(newer.fingerprint(SECRET), prints.fingerprint(SECRET));
    assert_ne!(newer.fingerprint(SECRET), prints.fingerprint(b"another"));
    let others =
        TenantKey { tenant: TenantId::mint(), ..vault.tenant_key(tenant, &next).await.unwrap() };
    assert_eq!(others.print_key(&wrapped).unwrap_err(), VaultError::Refused);
}

#[tokio::test]
async fn a_key_file_is_made_once_and_is_private() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/root.key");

    let first = FileRoot::load(&path, 1, IfMissing::Create).unwrap();
    let again = FileRoot::load(&path, 1, IfMissing::Refuse).unwrap();

    let tenant = TenantId::mint();
    let first = Vault::new(Ring::of(Arc::new(first)), Duration::ZERO);
    let wrapped = new_key(&first, tenant, 1).await;
    Vault::new(Ring::of(Arc::new(again)), Duration::ZERO)
        .tenant_key(tenant, &wrapped)
        .await
        .unwrap();
    let metadata = std::fs::metadata(&path).unwrap();
    assert_eq!((metadata.permissions().mode() & 0o777, metadata.len()), (0o600, 32));
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn a_key_file_that_cannot_be_trusted_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("root.key");
    let load = || FileRoot::load(&path, 1, IfMissing::Refuse).map(drop).unwrap_err().to_string();

    assert!(load().contains("is missing"), "{}", load());
    std::fs::write(&path, [1; 32]).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(load().contains("make it mode 0600"), "{}", load());
    std::fs::write(&path, [1; 33]).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(load().contains("exactly 32 bytes"), "{}", load());
}

#[test]
fn nothing_prints_a_key() {
    let key = Key::from_bytes(&mut [0xAB; 32]);

    assert_eq!(format!("{key:?}"), "Key(…)");
    assert!(EnvRoot::parse(&"c2hvcnQ=".to_owned().into(), 1).is_err());
}

/// A root key on a machine that hangs, and then says that it cannot.
#[derive(Default)]
struct Hanging {
    asked: AtomicUsize,
    gives_up: tokio::sync::Notify,
}

impl RootKey for Hanging {
    fn name(&self) -> String {
        "hanging".into()
    }

    fn version(&self) -> i32 {
        1
    }

    fn wrap(&self, _: Key, _: Bound) -> BoxFuture<'_, Result<String, VaultError>> {
        ready(Err(VaultError::Random)).boxed()
    }

    fn unwrap(&self, _: String, _: Bound) -> BoxFuture<'_, Result<Key, VaultError>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        async {
            self.gives_up.notified().await;
            Err(VaultError::RootDown("it hangs".into()))
        }
        .boxed()
    }

    fn check(&self) -> BoxFuture<'_, Result<(), RootKeyError>> {
        ready(Ok(())).boxed()
    }
}

#[tokio::test]
async fn all_who_wait_for_a_key_take_what_became_of_one_attempt_and_hold_up_nobody_else() {
    let root = Arc::new(Hanging::default());
    let vault = Vault::new(Ring::of(root.clone()), Duration::from_secs(60));
    let (tenant, others) = (TenantId::mint(), [(); 1_000].map(|()| TenantId::mint()));
    let stored = WrappedKey { version: 1, wrapped: "sealed".into(), root_version: 1 };

    let mut waiting: Vec<_> =
        (0..10).map(|_| Box::pin(vault.tenant_key(tenant, &stored))).collect();
    for one in &mut waiting {
        assert!(one.now_or_never().is_none());
    }
    // Who goes away leaves the attempt to those who stay.
    drop(waiting.remove(0));
    assert_eq!(root.asked.load(Ordering::SeqCst), 1);
    for other in others {
        assert!(vault.tenant_key(other, &stored).now_or_never().is_none());
    }
    assert_eq!(root.asked.load(Ordering::SeqCst), 1_001, "another tenant waits for this one");

    root.gives_up.notify_waiters();
    for one in waiting {
        assert_eq!(one.await.unwrap_err(), VaultError::RootDown("it hangs".into()));
    }
    assert_eq!(root.asked.load(Ordering::SeqCst), 1_001, "each asks again");
    assert!(vault.tenant_key(tenant, &stored).now_or_never().is_none());
    assert_eq!(root.asked.load(Ordering::SeqCst), 1_002, "an error is kept");
}
