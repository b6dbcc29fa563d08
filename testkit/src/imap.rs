//! An IMAP server over TLS with one mailbox, as far as reading new mail goes. It can be told to refuse, to number its messages
//! anew, and to answer with whatever a test likes.

use std::sync::{Arc, LazyLock, Mutex};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::{DateTime, Utc};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt, AsyncWrite, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

/// Who may read the mailbox.
pub const IMAP_USER: &str = "ann@example.com";
/// And with what.
pub const IMAP_PASSWORD: &str = "pass \"w\\ord";

/// The authority of the server's certificate, as PEM. Each process has one of its own.
pub fn imap_ca() -> &'static str {
    &IDENTITY.authority
}

struct Identity {
    authority: String,
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

static IDENTITY: LazyLock<Identity> = LazyLock::new(|| {
    let named = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        CertificateParams::new(names).expect("names of hosts")
    };
    let mut params = named(&[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = KeyPair::generate().expect("a key");
    let signed = params.self_signed(&authority).expect("a certificate");
    let body = STANDARD.encode(signed.der());
    let pem = format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
    let key = KeyPair::generate().expect("a key");
    let leaf = named(&["localhost", "127.0.0.1"]);
    let leaf = leaf.signed_by(&key, &Issuer::new(params, authority)).expect("a certificate");
    Identity { authority: pem, certificate: leaf.der().clone(), key: key.serialize_der() }
});

#[derive(Debug)]
struct Mailbox {
    validity: u32,
    next: u32,
    /// UID, when it arrived, what it says.
    messages: Vec<(u32, DateTime<Utc>, Vec<u8>)>,
    /// What is said in place of an answer to `UID FETCH`.
    nonsense: Option<Vec<u8>>,
    refusing: bool,
    /// Whether it can IDLE, and how many do.
    idles: bool,
    idling: usize,
    /// Whether it says all the time that there is something.
    noisy: bool,
    sessions: usize,
    /// In which of the sessions, counted from one, each IDLE was.
    idled: Vec<usize>,
}

/// A stand-in for a mail server; stops when dropped.
pub struct Imap {
    port: u16,
    mailbox: Arc<Mutex<Mailbox>>,
    server: JoinHandle<()>,
}

impl Drop for Imap {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Imap {
    /// Starts it, with an empty mailbox.
    pub async fn start() -> Self {
        let mailbox = Arc::new(Mutex::new(Mailbox {
            validity: 1,
            next: 1,
            messages: Vec::new(),
            nonsense: None,
            refusing: false,
            idles: false,
            idling: 0,
            noisy: false,
            sessions: 0,
            idled: Vec::new(),
        }));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let (acceptor, state) = (acceptor(), mailbox.clone());
        #[allow(
            clippy::disallowed_methods,
            reason = "a test server has no lifecycle but its test's"
        )]
        let server = tokio::spawn(async move {
            let mut sessions = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, state) = (acceptor.clone(), state.clone());
                // A client that hangs up ends its session.
                sessions.spawn(async move { drop(serve(stream, &acceptor, &state).await) });
            }
        });
        Self { port, mailbox, server }
    }

    /// The port it listens on, at 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// A message comes; its UID is answered.
    pub fn receive(&self, at: DateTime<Utc>, message: &[u8]) -> u32 {
        let mut mailbox = self.mailbox();
        let uid = mailbox.next;
        mailbox.next += 1;
        mailbox.messages.push((uid, at, message.to_vec()));
        uid
    }

    /// The next messages are numbered from here on.
    pub fn leap(&self, uid: u32) {
        let mut mailbox = self.mailbox();
        mailbox.next = mailbox.next.max(uid);
    }

    /// All messages get new numbers.
    pub fn renumber(&self) {
        let mut mailbox = self.mailbox();
        mailbox.validity += 1;
        let count = mailbox.messages.len() as u32;
        for (place, message) in mailbox.messages.iter_mut().enumerate() {
            message.0 = place as u32 + 1;
        }
        mailbox.next = count + 1;
    }

    /// What is said from now on in place of messages; none for what is right.
    pub fn talk(&self, nonsense: Option<&[u8]>) {
        self.mailbox().nonsense = nonsense.map(<[u8]>::to_vec);
    }

    /// Whether nobody may log in.
    pub fn refuse(&self, refusing: bool) {
        self.mailbox().refusing = refusing;
    }

    /// From now on it says so when it can IDLE.
    pub fn allow_idle(&self) {
        self.mailbox().idles = true;
    }

    /// From now on it says to who idles, all the time, that there is something.
    pub fn make_noise(&self) {
        self.mailbox().noisy = true;
    }

    /// How many idle now.
    pub fn idling(&self) -> usize {
        self.mailbox().idling
    }

    /// How many sessions there were.
    pub fn sessions(&self) -> usize {
        self.mailbox().sessions
    }

    /// In which of the sessions, counted from one, each IDLE was.
    pub fn idled(&self) -> Vec<usize> {
        self.mailbox().idled.clone()
    }

    fn mailbox(&self) -> std::sync::MutexGuard<'_, Mailbox> {
        self.mailbox.lock().expect("no poisoned lock")
    }
}

fn acceptor() -> TlsAcceptor {
    let Identity { certificate, key, .. } = &*IDENTITY;
    let key = PrivateKeyDer::Pkcs8(key.clone().into());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions of TLS")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .expect("a key for the certificate");
    TlsAcceptor::from(Arc::new(config))
}

async fn serve(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    mailbox: &Mutex<Mailbox>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(acceptor.accept(stream).await?);
    let number = {
        let mut mailbox = mailbox.lock().expect("no poisoned lock");
        mailbox.sessions += 1;
        mailbox.sessions
    };
    say(stream.get_mut(), b"* OK ready\r\n").await?;
    // How many messages this client was told of.
    let (mut known, mut line) = (0, String::new());
    loop {
        line.clear();
        if (&mut stream).take(8192).read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let (tag, command) = line.trim_end().split_once(' ').unwrap_or_default();
        let (tag, command) = (tag.to_owned(), command.to_owned());
        if command == "AUTHENTICATE PLAIN" {
            say(stream.get_mut(), b"+ \r\n").await?;
            line.clear();
            stream.read_line(&mut line).await?;
            let proof = STANDARD.decode(line.trim_end()).unwrap_or_default();
            let right = proof == format!("\0{IMAP_USER}\0{IMAP_PASSWORD}").as_bytes();
            let refusing = mailbox.lock().expect("no poisoned lock").refusing;
            let word = if right && !refusing { "OK" } else { "NO [AUTHENTICATIONFAILED]" };
            say(stream.get_mut(), format!("{tag} {word} said\r\n").as_bytes()).await?;
            continue;
        }
        if command == "IDLE" {
            mailbox.lock().expect("no poisoned lock").idled.push(number);
            idle(&mut stream, mailbox, &tag, &mut known).await?;
            continue;
        }
        let (mut told, end) = {
            let mailbox = mailbox.lock().expect("no poisoned lock");
            if command.starts_with("EXAMINE ") {
                known = mailbox.messages.len();
            }
            answer(&mailbox, &command)
        };
        told.extend_from_slice(format!("{tag} {end}\r\n").as_bytes());
        say(stream.get_mut(), &told).await?;
        if command == "LOGOUT" {
            return stream.get_mut().shutdown().await;
        }
    }
}

/// Says how many messages there are whenever one came, until the client is done.
async fn idle(
    stream: &mut BufReader<tokio_rustls::server::TlsStream<TcpStream>>,
    mailbox: &Mutex<Mailbox>,
    tag: &str,
    known: &mut usize,
) -> std::io::Result<()> {
    let there = || {
        let mailbox = mailbox.lock().expect("no poisoned lock");
        (mailbox.messages.len(), mailbox.noisy)
    };
    say(stream.get_mut(), b"+ idling\r\n").await?;
    mailbox.lock().expect("no poisoned lock").idling += 1;
    let mut line = String::new();
    let done = loop {
        let look = tokio::time::sleep(std::time::Duration::from_millis(5));
        tokio::select! {
            read = stream.read_line(&mut line) => break read,
            () = look => {}
        }
        let (count, noisy) = there();
        if count > *known || noisy {
            *known = count;
            let told = format!("* {known} EXISTS\r\n");
            if let Err(error) = say(stream.get_mut(), told.as_bytes()).await {
                break Err(error);
            }
        }
    };
    mailbox.lock().expect("no poisoned lock").idling -= 1;
    if done? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    say(stream.get_mut(), format!("{tag} OK done\r\n").as_bytes()).await
}

async fn say(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}

fn answer(mailbox: &Mailbox, command: &str) -> (Vec<u8>, &'static str) {
    if command.starts_with("EXAMINE ") {
        let told = format!(
            "* {} EXISTS\r\n* OK [UIDVALIDITY {}] ok\r\n* OK [UIDNEXT {}] ok\r\n",
            mailbox.messages.len(),
            mailbox.validity,
            mailbox.next
        );
        return (told.into_bytes(), "OK [READ-ONLY] done");
    }
    if let Some(what) = command.strip_prefix("UID SEARCH UID ") {
        return (list(&search(mailbox, what)), "OK done");
    }
    if let Some(rest) = command.strip_prefix("UID FETCH ") {
        if let Some(nonsense) = &mailbox.nonsense {
            return (nonsense.clone(), "OK done");
        }
        let (set, _) = rest.split_once(' ').unwrap_or_default();
        let uids: Vec<u32> = set.split(',').filter_map(|uid| uid.parse().ok()).collect();
        let mut told = Vec::new();
        for (place, (uid, at, message)) in mailbox.messages.iter().enumerate() {
            if uids.contains(uid) {
                let part = &message[..message.len().min(256 * 1024)];
                let head = format!(
                    "* {} FETCH (UID {uid} INTERNALDATE \"{}\" RFC822.SIZE {} BODY[]<0> {{{}}}\r\n",
                    place + 1,
                    at.format("%d-%b-%Y %H:%M:%S +0000"),
                    message.len(),
                    part.len()
                );
                told.extend_from_slice(head.as_bytes());
                told.extend_from_slice(part);
                told.extend_from_slice(b")\r\n");
            }
        }
        return (told, "OK done");
    }
    match command {
        "CAPABILITY" if mailbox.idles => (b"* CAPABILITY IMAP4rev1 IDLE\r\n".to_vec(), "OK done"),
        "CAPABILITY" => (b"* CAPABILITY IMAP4rev1\r\n".to_vec(), "OK done"),
        "LOGOUT" => (b"* BYE\r\n".to_vec(), "OK done"),
        _ => (Vec::new(), "BAD what"),
    }
}

/// `from:to`, where `to` may be `*`, and perhaps ` SINCE ` and a day.
fn search(mailbox: &Mailbox, what: &str) -> Vec<u32> {
    let (range, day) = what.split_once(" SINCE ").unwrap_or((what, ""));
    let day = chrono::NaiveDate::parse_from_str(day, "%d-%b-%Y").unwrap_or_default();
    let (from, to) = range.split_once(':').unwrap_or((range, range));
    // `*` is the last one, whatever stands before it; a range may stand the wrong way round.
    let last = mailbox.messages.last().map_or(0, |message| message.0);
    let number = |text: &str| if text == "*" { last } else { text.parse().unwrap_or_default() };
    let (from, to) = (number(from), number(to));
    let range = from.min(to)..=from.max(to);
    let found = mailbox.messages.iter().filter(|message| range.contains(&message.0));
    found.filter(|message| message.1.date_naive() >= day).map(|message| message.0).collect()
}

fn list(uids: &[u32]) -> Vec<u8> {
    let words: Vec<String> =
        ["* SEARCH".to_owned()].into_iter().chain(uids.iter().map(u32::to_string)).collect();
    format!("{}\r\n", words.join(" ")).into_bytes()
}
