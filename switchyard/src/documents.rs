//! The committed descriptions of the platform: OpenAPI per service and merged, and the schemas of events.

use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;
use shared_models::Service;

use crate::roles;

/// Writes all of them into `dir`.
pub(crate) fn write(dir: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir)?;
    let mut documents = Vec::new();
    for &service in Service::ALL {
        let document = serde_json::to_value(roles::openapi(service))?;
        put(dir, service.name(), &document)?;
        documents.push((service, document));
    }
    put(dir, "switchyard", &gateway::merge(&documents))?;
    put(dir, "events", &pubsub::event_schemas())
}

fn put(dir: &Path, name: &str, document: &Value) -> anyhow::Result<()> {
    let path = dir.join(format!("{name}.json"));
    let text = format!("{}\n", serde_json::to_string_pretty(document)?);
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}
