//! Every route of a service with bad credentials. The routes come from the OpenAPI document, so a new one that the test
//! does not know how to fill in fails it.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value, json};
use servicekit::scope;
use shared_models::{Role, Service};

use crate::{Api, Person, Trust};

/// What the walk needs to know about a service.
pub struct Walk<'a> {
    /// The service's OpenAPI document.
    pub openapi: Value,
    /// The service's address or router, without credentials.
    pub api: Api,
    /// Which service it is.
    pub service: Service,
    /// The tenant's owner, who made everything the path parameters name.
    pub owner: Person,
    /// Path parameter → the id of something that exists and is private to the owner.
    pub params: BTreeMap<&'a str, String>,
    /// `METHOD /path` → a body that would be accepted.
    pub bodies: BTreeMap<&'a str, Value>,
    /// `METHOD /path` of routes that are open to the world on purpose.
    pub open: &'a [&'a str],
    /// `METHOD /path` of routes with parameters whose things the whole tenant may see, with the status a colleague (a member
    /// in another team) gets.
    pub shared: BTreeMap<&'a str, u16>,
}

struct Operation {
    name: String,
    method: Method,
    path: String,
    body: Option<Value>,
    scope: Option<String>,
    has_params: bool,
}

impl Walk<'_> {
    /// Tries every operation with no token, wrong tokens, missing scopes, as a viewer, as a colleague and as the owner of
    /// another tenant. Collects everything that is not refused as it should be, and fails with the list.
    pub async fn run(&self) {
        let mut wrong = Vec::new();
        let operations = self.operations();
        assert!(!operations.is_empty(), "the OpenAPI document names no operation");
        for operation in &operations {
            match &operation.scope {
                None if self.open.contains(&operation.name.as_str()) => {}
                None => wrong
                    .push(format!("{}: open to the world, and not listed as such", operation.name)),
                Some(scope) => self.try_all(operation, scope, &mut wrong).await,
            }
        }
        assert!(
            wrong.is_empty(),
            "{} refusals are not as they should be:\n{}",
            wrong.len(),
            wrong.join("\n")
        );
    }

    async fn try_all(&self, operation: &Operation, scope: &str, wrong: &mut Vec<String>) {
        let rival = Trust::new().owner();
        let unauthenticated: [(&str, Option<String>); 5] = [
            ("no token", None),
            ("a token that is none", Some("not-a-token".into())),
            ("an expired token", Some(self.owner.expired_token(self.service))),
            ("a token for another service", Some(self.owner.token(other(self.service)))),
            ("a token signed by a service", Some(self.owner.forged_token(self.service))),
        ];
        for (what, token) in unauthenticated {
            self.check(operation, what, token, (401, "unauthenticated"), wrong).await;
        }
        let missing = (403, "scope_missing");
        let powerless = self.owner.with_scopes(&[]).token(self.service);
        self.check(operation, "no scopes", Some(powerless), missing, wrong).await;
        if !scope::of_role(Role::Viewer).contains(&scope) {
            let viewer = self.owner.colleague(Role::Viewer).token(self.service);
            self.check(operation, "a viewer", Some(viewer), missing, wrong).await;
        }
        let for_people = scope::of_role(Role::Owner).contains(&scope);
        if !for_people {
            let person = self.owner.token(self.service);
            self.check(operation, "a person", Some(person), missing, wrong).await;
        }
        if for_people && operation.has_params {
            self.check(
                operation,
                "another tenant",
                Some(rival.token(self.service)),
                (404, ""),
                wrong,
            )
            .await;
            let status = self.shared.get(operation.name.as_str()).copied().unwrap_or(404);
            if scope::of_role(Role::Member).contains(&scope) {
                let colleague = self.owner.colleague(Role::Member).token(self.service);
                self.check(operation, "a colleague", Some(colleague), (status, ""), wrong).await;
            }
        }
    }

    /// An empty code means any.
    async fn check(
        &self,
        operation: &Operation,
        what: &str,
        token: Option<String>,
        expected: (u16, &str),
        wrong: &mut Vec<String>,
    ) {
        let api = token.map_or_else(|| self.api.clone(), |token| self.api.token(&token));
        let reply =
            api.send(operation.method.clone(), &operation.path, operation.body.as_ref()).await;
        let code_fits = expected.1.is_empty() || reply.code() == expected.1;
        if reply.status != expected.0 || !code_fits {
            wrong.push(format!(
                "{}: {what} got {} {} instead of {} {}",
                operation.name, reply.status, reply.text, expected.0, expected.1
            ));
        }
    }

    fn operations(&self) -> Vec<Operation> {
        let empty = serde_json::Map::new();
        let paths = self.openapi["paths"].as_object().unwrap_or(&empty);
        let mut found = Vec::new();
        for (template, item) in paths {
            for (method, operation) in item.as_object().unwrap_or(&empty) {
                if let Ok(method) = Method::from_bytes(method.to_uppercase().as_bytes())
                    && operation.is_object()
                    && operation.get("responses").is_some()
                {
                    found.push(self.operation(template, method, operation));
                }
            }
        }
        found
    }

    fn operation(&self, template: &str, method: Method, operation: &Value) -> Operation {
        let name = format!("{method} {template}");
        let body = match self.bodies.get(name.as_str()) {
            Some(body) => Some(body.clone()),
            None => operation.get("requestBody").map(|_| json!({})),
        };
        Operation {
            path: self.fill(template, &name),
            method,
            body,
            scope: operation["security"][0]["token"][0].as_str().map(str::to_owned),
            has_params: template.contains('{'),
            name,
        }
    }

    fn fill(&self, template: &str, name: &str) -> String {
        let mut path = template.to_owned();
        while let (Some(start), Some(end)) = (path.find('{'), path.find('}')) {
            let param = path[start + 1..end].to_owned();
            let value = self.params.get(param.as_str());
            let value = value
                .unwrap_or_else(|| panic!("{name}: the walk does not know what `{param}` names"));
            path.replace_range(start..=end, value);
        }
        path
    }
}

fn other(service: Service) -> Service {
    if service == Service::Credsvc { Service::Eventsvc } else { Service::Credsvc }
}
