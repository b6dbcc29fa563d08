//! Filters: CEL expressions over `payload`, `headers` and `system`, checked when they are saved.
//!
//! Invariant: a filter's work is bounded. A loop inside a loop may only walk what the outer loop's variable holds, so
//! that everything is visited once, and a filter with a loop runs off the request threads against a deadline.

mod bounds;
mod values;

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
    time::Duration,
};

use cel::{Context, Program, Value as Cel};
use serde_json::{Map, Value};
use shared_models::TenantId;

use self::values::{describe, to_cel};
use crate::turns::Turns;

const LONGEST: usize = 2048;
const DEADLINE: Duration = Duration::from_secs(1);
/// Filters without loops look at a payload this large in no time worth speaking of.
const SMALL: usize = 64 * 1024;
/// How long a filter waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);
/// Filters that may burn a thread at the same time; no tenant's have all of them.
static HEAVY: LazyLock<Turns> = LazyLock::new(|| Turns::new(4));

/// A filter ready to be asked.
#[derive(Clone)]
pub(crate) struct Filter {
    program: Arc<Program>,
    loops: bool,
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filter").field("loops", &self.loops).finish_non_exhaustive()
    }
}

/// Why an expression gave nothing. In words it says what kind of thing went wrong, never what was received.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unanswered {
    /// It does not fit what was received, and never will.
    #[error("{0}")]
    Wrong(String),
    /// There was no time for it; asked again later it may well answer.
    #[error("{0}")]
    NoTime(String),
}

impl From<Unanswered> for String {
    fn from(why: Unanswered) -> Self {
        why.to_string()
    }
}

/// What a filter looks at.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Whose it is: work that takes long is shared out among tenants.
    pub tenant: TenantId,
    /// What was received.
    pub payload: Arc<Value>,
    /// How large it was, in bytes.
    pub size: usize,
    /// The headers that were kept.
    pub headers: Arc<Map<String, Value>>,
    /// The trigger's system.
    pub system: &'static str,
}

impl Filter {
    /// Reads a filter; the error is fit for the person who wrote it.
    pub(crate) fn compile(source: &str) -> Result<Self, String> {
        if source.len() > LONGEST {
            return Err(format!("longer than {LONGEST} bytes"));
        }
        let program = Program::compile(source).map_err(|errors| errors.to_string())?;
        let loops = bounds::loops(&program)?;
        Ok(Self { program: Arc::new(program), loops })
    }

    /// Whether a delivery passes. The error says what kind of thing went wrong, never what was received.
    pub(crate) async fn passes(&self, seen: &Seen) -> Result<bool, String> {
        match self.evaluate(seen).await? {
            Cel::Bool(passes) => Ok(passes),
            other => Err(format!("the filter gave a {}, not true or false", other.type_of())),
        }
    }

    /// What the expression gives, as JSON.
    pub(crate) async fn gives(&self, seen: &Seen) -> Result<Value, Unanswered> {
        let found = self.evaluate(seen).await?;
        let wrong = |_| Unanswered::Wrong(format!("the expression gave a {}", found.type_of()));
        found.json().map_err(wrong)
    }

    async fn evaluate(&self, seen: &Seen) -> Result<Cel, Unanswered> {
        if !self.loops && seen.size <= SMALL {
            return evaluate(&self.program, seen).map_err(Unanswered::Wrong);
        }
        let turn = tokio::time::timeout(PATIENCE, HEAVY.wait(seen.tenant)).await;
        let turn = turn.map_err(|_| {
            Unanswered::NoTime(format!(
                "the filter had no turn within {} s: too many that take long",
                PATIENCE.as_secs()
            ))
        })?;
        let (program, seen) = (self.program.clone(), seen.clone());
        let work = tokio::task::spawn_blocking(move || {
            // Held until the thread is free, also when nobody waits any more.
            let _turn = turn;
            evaluate(&program, &seen)
        });
        let done = tokio::time::timeout(DEADLINE, work).await.map_err(|_| {
            let why = format!("the filter took longer than {} s", DEADLINE.as_secs());
            Unanswered::NoTime(why)
        })?;
        done.unwrap_or_else(|_| Err("the filter broke".into())).map_err(Unanswered::Wrong)
    }
}

fn evaluate(program: &Program, seen: &Seen) -> Result<Cel, String> {
    let mut context = Context::default();
    let headers = seen.headers.iter().map(|(name, value)| (name.clone(), to_cel(value)));
    context.add_variable_from_value("payload", to_cel(&seen.payload));
    context.add_variable_from_value("headers", headers.collect::<HashMap<String, Cel>>());
    context.add_variable_from_value("system", seen.system);
    program.execute(&context).map_err(|error| describe(&error))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::intake::expressed;

    async fn ask(source: &str, payload: Value) -> Result<bool, String> {
        let seen = Seen {
            tenant: TenantId::mint(),
            payload: Arc::new(payload),
            size: 10,
            headers: Arc::new(json!({ "x-github-event": "push" }).as_object().unwrap().clone()),
            system: "webhook",
        };
        Filter::compile(source)?.passes(&seen).await
    }

    #[tokio::test]
    async fn a_filter_sees_payload_headers_and_system() {
        let payload = json!({ "n": 5, "f": 1.5, "s": "abc", "l": [{ "t": ["x"] }, { "t": ["y"] }], "z": null });
        for (source, expected) in [
            ("payload.n > 4 && payload.n == 5", true),
            ("payload.f < 2.0", true),
            ("payload.s.startsWith('ab')", true),
            ("payload.s.matches('^a.c$')", true),
            ("has(payload.q) && payload.q == 1", false),
            ("payload.z == null", true),
            ("headers['x-github-event'] == 'push' && system == 'webhook'", true),
            ("payload.l.exists(i, i.t.exists(t, t == 'y'))", true),
            ("payload.l.all(i, size(i.t) == 2)", false),
            ("'abc' in ['abc', payload.s]", true),
        ] {
            assert_eq!(ask(source, payload.clone()).await, Ok(expected), "{source}");
        }
    }

    #[tokio::test]
    async fn an_error_names_the_field_and_never_the_value() {
        let payload = json!({ "s": "s3cret", "l": [] });
        for (source, expected) in [
            ("payload.missing == 1", "there is no `missing`"),
            ("payload.s", "the filter gave a string, not true or false"),
            ("payload.s > 3", ""),
            ("payload.l[4] == 1", ""),
            ("int(payload.s) == 3", ""),
        ] {
            let error = ask(source, payload.clone()).await.unwrap_err();
            assert!(error.contains(expected), "{source}: {error}");
            assert!(!error.contains("s3cret"), "{source}: {error}");
        }
    }

    #[tokio::test]
    async fn an_id_there_was_no_time_to_tell_is_asked_for_again() {
        let tenant = TenantId::mint();
        let payload = Arc::new(json!({ "l": ["a"], "n": 7 }));
        let seen = Seen { tenant, payload, size: 10, headers: Arc::default(), system: "webhook" };
        let expression = |source| Filter::compile(source).unwrap();
        // All the turns that one tenant may have.
        let turns = [HEAVY.wait(tenant).await, HEAVY.wait(tenant).await, HEAVY.wait(tenant).await];

        let busy = expressed(&expression("payload.l.map(i, i)[0]"), &seen).await.unwrap_err();
        let problem = servicekit::Problem::from(busy);

        assert_eq!(problem.code().name, "intake_busy");
        // What takes no turn is told all the same, and what gives no id is no reason to come again.
        let id = expressed(&expression("payload.n"), &seen).await.unwrap().unwrap();
        assert_eq!(id.provider_id.as_deref(), Some("7"));
        assert!(expressed(&expression("payload.missing"), &seen).await.unwrap().is_none());
        drop(turns);
    }

    #[test]
    fn what_could_never_work_is_refused_when_saved() {
        for (source, expected) in [
            ("payload.a ==", "Syntax error"),
            ("body.a == 1", "`body` is unknown"),
            ("payload.a.frobnicate()", "`frobnicate` is unknown"),
            ("payload.a.all(x, payload.a.all(y, x == y))", "a loop inside a loop"),
            (&"a".repeat(3000), "longer than 2048"),
            ("", ""),
        ] {
            let error = Filter::compile(source).unwrap_err();
            assert!(error.contains(expected), "{source}: {error}");
        }
    }
}
