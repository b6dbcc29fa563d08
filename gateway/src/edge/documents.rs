//! What the services say of themselves, put together: one OpenAPI document, one list of error codes.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use servicekit::shell;
use shared_models::Service;
use tokio::sync::Mutex;
use url::Url;

use crate::{codes, config::Upstreams, merge::merge, routes};

const KEPT: Duration = Duration::from_secs(30);
/// While a service has not yet said anything.
const ASK_AGAIN: Duration = Duration::from_secs(1);

pub(super) struct Documents {
    http: reqwest::Client,
    bases: Vec<(Service, Url)>,
    kept: Mutex<Kept>,
}

/// The last good answers.
#[derive(Default)]
struct Kept {
    asked: Option<Instant>,
    specs: BTreeMap<Service, Value>,
    errors: BTreeMap<Service, Value>,
}

impl Documents {
    pub(super) fn new(upstreams: &Upstreams, http: reqwest::Client) -> Self {
        let bases = Upstreams::ALL
            .iter()
            .filter_map(|&service| Some((service, upstreams.base(service)?.clone())))
            .collect();
        let mut kept = Kept::default();
        let own = serde_json::to_value(routes::openapi()).unwrap_or_default();
        kept.specs.insert(Service::Gateway, own);
        kept.errors.insert(Service::Gateway, shell::code_list(codes::ALL));
        Self { http, bases, kept: Mutex::new(kept) }
    }

    /// The merged OpenAPI document.
    pub(super) async fn openapi(&self) -> Value {
        let mut kept = self.kept.lock().await;
        self.refresh(&mut kept).await;
        let documents: Vec<(Service, Value)> =
            kept.specs.iter().map(|(service, document)| (*service, document.clone())).collect();
        drop(kept);
        merge(&documents)
    }

    /// Every error code of every service, once.
    pub(super) async fn errors(&self) -> Value {
        let mut kept = self.kept.lock().await;
        self.refresh(&mut kept).await;
        let mut codes: BTreeMap<String, Value> = BTreeMap::new();
        for list in kept.errors.values() {
            for item in list["items"].as_array().into_iter().flatten() {
                if let Some(code) = item["code"].as_str() {
                    codes.entry(code.to_owned()).or_insert_with(|| item.clone());
                }
            }
        }
        json!({ "items": codes.into_values().collect::<Vec<_>>() })
    }

    async fn refresh(&self, kept: &mut Kept) {
        let missing = kept.specs.len() <= self.bases.len() || kept.errors.len() <= self.bases.len();
        let good_for = if missing { ASK_AGAIN } else { KEPT };
        if kept.asked.is_some_and(|asked| asked.elapsed() < good_for) {
            return;
        }
        let answers = self.bases.iter().map(|(service, base)| async move {
            let both = (self.fetch(base, "openapi.json"), self.fetch(base, "errors"));
            let (spec, errors) = futures::future::join(both.0, both.1).await;
            (*service, spec, errors)
        });
        for (service, spec, errors) in futures::future::join_all(answers).await {
            kept.specs.extend(spec.map(|spec| (service, spec)));
            kept.errors.extend(errors.map(|errors| (service, errors)));
        }
        kept.asked = Some(Instant::now());
    }

    async fn fetch(&self, base: &Url, path: &str) -> Option<Value> {
        let url = base.join(path).ok()?;
        let answer = self.http.get(url).timeout(Duration::from_secs(2)).send().await.ok()?;
        answer.error_for_status().ok()?.json().await.ok()
    }
}
