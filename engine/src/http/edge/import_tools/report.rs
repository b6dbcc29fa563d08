//! What an import tells of itself.

use std::collections::BTreeMap;

use serde::Serialize;
use shared_models::{Effect, ToolId, ToolImportId};
use utoipa::ToSchema;

use crate::tools::http::CredentialPlace;

/// What was done, operation by operation.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ImportReport {
    /// None after a dry run.
    pub(super) import_id: Option<ToolImportId>,
    pub(super) name: String,
    pub(super) title: String,
    /// The description's own version.
    pub(super) api_version: String,
    pub(super) dry_run: bool,
    /// How many operations came to which end.
    pub(super) counts: BTreeMap<&'static str, usize>,
    pub(super) operations: Vec<OperationReport>,
}

/// What became of one operation.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OperationReport {
    /// Such as `GET /pets/{id}`.
    pub(super) operation: String,
    pub(super) action: Action,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tool_id: Option<ToolId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    /// What a repeat of a call does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) effect: Option<Effect>,
    /// Where a credential goes, once an agent has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) credential: Option<CredentialPlace>,
    /// The parts of the tool that change.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) changes: Vec<&'static str>,
    /// Why there is no tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) warnings: Vec<String>,
}

/// What is done about an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    Created,
    Updated,
    Unchanged,
    /// It cannot be a tool.
    Skipped,
    /// A tool of an earlier import whose operation is not there any more; it is still there.
    Gone,
    Deleted,
}

impl OperationReport {
    pub(super) fn new(operation: String, action: Action) -> Self {
        Self {
            operation,
            action,
            tool_id: None,
            name: None,
            effect: None,
            credential: None,
            changes: Vec::new(),
            reason: None,
            warnings: Vec::new(),
        }
    }
}

/// How many operations came to which end.
pub(super) fn counts(operations: &[OperationReport]) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for operation in operations {
        let word = match operation.action {
            Action::Created => "created",
            Action::Updated => "updated",
            Action::Unchanged => "unchanged",
            Action::Skipped => "skipped",
            Action::Gone => "gone",
            Action::Deleted => "deleted",
        };
        *counts.entry(word).or_insert(0) += 1;
    }
    counts
}
