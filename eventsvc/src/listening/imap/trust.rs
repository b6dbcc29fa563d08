//! Which mail servers are believed to be who they say: those with a certificate of a public authority, or of one that the
//! operator named.

use std::sync::Arc;

use anyhow::Context as _;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject as _},
};

/// The authorities. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Trust(pub(super) Arc<ClientConfig>);

impl Trust {
    /// The public authorities, and those in this PEM.
    pub(crate) fn new(pem: Option<&str>) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        for certificate in CertificateDer::pem_slice_iter(pem.unwrap_or_default().as_bytes()) {
            let certificate = certificate.context("reading the authorities of mail servers")?;
            roots.add(certificate).context("reading the authorities of mail servers")?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }
}

#[cfg(test)]
mod tests {
    use servicekit::egress::{Egress, EgressPolicy};
    use testkit::{Imap, imap_ca};
    use url::Url;

    use super::*;
    use crate::listening::{Ask, Providers, imap::session::Session};

    async fn opens(host: &str, trust: Trust) -> Result<(), String> {
        let imap = Imap::start().await;
        let url: Url = "http://unused.invalid".parse().unwrap();
        let (gmail, github, hubspot, slack, stripe) =
            (url.clone(), url.clone(), url.clone(), url.clone(), url);
        let ask = Ask {
            egress: Egress::new(EgressPolicy::parse("127.0.0.0/8").unwrap()).unwrap(),
            providers: Providers { gmail, github, hubspot, slack, stripe },
            imap: trust,
            fields: std::collections::BTreeMap::new(),
            now: chrono::DateTime::UNIX_EPOCH,
            rung: false,
            until: std::time::Instant::now(),
        };
        let opened = Session::open(&ask, host, imap.port()).await;
        opened.map(drop).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_server_is_believed_whose_certificate_comes_from_a_known_authority() {
        let (known, public) = (Trust::new(Some(imap_ca())).unwrap(), Trust::new(None).unwrap());

        assert_eq!(opens("127.0.0.1", known).await, Ok(()));
        let refused = opens("127.0.0.1", public).await.unwrap_err();
        assert!(refused.contains("invalid peer certificate"), "{refused}");
        assert!(
            Trust::new(Some("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----")).is_err()
        );
    }
}
