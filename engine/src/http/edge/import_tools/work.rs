//! An import at work: operation by operation it makes, changes and leaves tools.

use std::collections::{BTreeMap, BTreeSet};

use dbutil::TenantTx;
use shared_models::{AgentId, ToolImportId, UserId};

use super::report::{Action, OperationReport};
use crate::{
    error::Error,
    store::{self, tool_import},
    tools::{
        ToolFields,
        openapi::{self, DescribedOperation},
    },
};

/// The tools there are, and the names that are given away.
pub(super) struct Work {
    import: ToolImportId,
    owner: UserId,
    known: BTreeMap<String, tool_import::Imported>,
    taken: BTreeSet<String>,
    /// Agents that had one of the tools that go: see [`crate::lost_tools`].
    pub(super) lost: Vec<AgentId>,
}

impl Work {
    pub(super) async fn begin(
        tx: &mut TenantTx,
        import: ToolImportId,
        owner: UserId,
        operations: &[DescribedOperation],
    ) -> Result<Self, Error> {
        let known = tool_import::tools(tx, import).await?;
        let known = known.into_iter().map(|tool| (tool.key.clone(), tool)).collect();
        let tools = operations.iter().filter_map(|operation| operation.tool.as_ref().ok());
        let names: Vec<String> = tools.map(|tool| tool.name.clone()).collect();
        let taken = tool_import::taken_names(tx, &names).await?.into_iter().collect();
        Ok(Self { import, owner, known, taken, lost: Vec::new() })
    }

    pub(super) async fn take(
        &mut self,
        tx: &mut TenantTx,
        operation: DescribedOperation,
    ) -> Result<OperationReport, Error> {
        let DescribedOperation { key, tool, warnings } = operation;
        let mut fields = match tool {
            Ok(tool) => *tool,
            Err(why) => {
                let report = OperationReport::new(key, Action::Skipped);
                return Ok(OperationReport { reason: Some(why), warnings, ..report });
            }
        };
        let report = if let Some(known) = self.known.remove(&key) {
            // Agents and people know it by this name.
            fields.name.clone_from(&known.fields.name);
            let changes = changes(&known.fields, &fields);
            let action = if changes.is_empty() { Action::Unchanged } else { Action::Updated };
            if action == Action::Updated {
                store::tool::update(tx, known.tool_id, &fields).await?;
            }
            let report = OperationReport::new(key, action);
            OperationReport { tool_id: Some(known.tool_id), changes, ..report }
        } else {
            fields.name = self.free(tx, &fields.name).await?;
            let made = tool_import::insert(tx, self.import, self.owner, &key, &fields).await?;
            OperationReport { tool_id: Some(made), ..OperationReport::new(key, Action::Created) }
        };
        let credential = fields.config.get("credential").cloned();
        Ok(OperationReport {
            effect: Some(fields.effect_in_force()),
            credential: credential.and_then(|place| serde_json::from_value(place).ok()),
            name: Some(fields.name),
            warnings,
            ..report
        })
    }

    /// The name, or with a number if another tool has it.
    async fn free(&mut self, tx: &mut TenantTx, wanted: &str) -> Result<String, Error> {
        loop {
            let name = openapi::numbered(wanted, |name| self.taken.contains(name));
            let is_new = self.taken.insert(name.clone());
            if (name == wanted && is_new)
                || tool_import::taken_names(tx, std::slice::from_ref(&name)).await?.is_empty()
            {
                return Ok(name);
            }
        }
    }

    /// What earlier imports have made and this one has not met.
    pub(super) async fn gone(
        &mut self,
        tx: &mut TenantTx,
        prune: bool,
    ) -> Result<Vec<OperationReport>, Error> {
        let mut reports = Vec::new();
        for (key, tool) in std::mem::take(&mut self.known) {
            let action = if prune { Action::Deleted } else { Action::Gone };
            if prune {
                self.lost.extend(store::tool::delete(tx, tool.tool_id).await?);
            }
            let name = Some(tool.fields.name.clone());
            let report = OperationReport::new(key, action);
            reports.push(OperationReport { tool_id: Some(tool.tool_id), name, ..report });
        }
        Ok(reports)
    }
}

fn changes(old: &ToolFields, new: &ToolFields) -> Vec<&'static str> {
    let parts = [
        ("description", old.description != new.description),
        ("parameters", old.parameters != new.parameters),
        ("effect", old.effect != new.effect),
        ("config", old.config != new.config),
    ];
    parts.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
}
