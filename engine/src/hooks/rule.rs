//! Guardrail rules: CEL expressions, checked when they are saved.
//!
//! A rule's work is bounded: no loop inside a loop, a deadline, and few at a time off the request threads.

use std::{collections::HashMap, sync::Arc, time::Duration};

use cel::{
    Context, IdedExpr, Program, Value as Cel,
    common::ast::{EntryExpr, Expr},
};
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

const LONGEST: usize = 2048;
/// What a rule may name; what its point does not bring is null.
const VARIABLES: [&str; 8] =
    ["agent", "run", "messages", "response", "tool_name", "arguments", "result", "error"];
/// Rules that may burn a thread at the same time.
static BUSY: Semaphore = Semaphore::const_new(4);

/// Reads a rule; the error is fit for the person who wrote it.
pub(crate) fn compile(source: &str) -> Result<Program, String> {
    compile_over(source, &VARIABLES)
}

/// The same for a rule that may name other things.
pub(crate) fn compile_over(source: &str, known: &[&str]) -> Result<Program, String> {
    if source.len() > LONGEST {
        return Err(format!("longer than {LONGEST} bytes"));
    }
    let program = Program::compile(source).map_err(|errors| errors.to_string())?;
    visit(program.expression(), known, &mut Vec::new())?;
    Ok(program)
}

/// Whether a rule holds. What cannot be decided does not.
pub(crate) async fn holds(
    source: &str,
    seen: Map<String, Value>,
    timeout: Duration,
) -> Result<bool, String> {
    holds_over(source, &VARIABLES, seen, timeout).await
}

/// The same for a rule that may name other things.
pub(crate) async fn holds_over(
    source: &str,
    known: &'static [&'static str],
    seen: Map<String, Value>,
    timeout: Duration,
) -> Result<bool, String> {
    let program = compile_over(source, known)?;
    let slow = || format!("it took longer than {} ms", timeout.as_millis());
    let work = async {
        let permit = BUSY.acquire().await.map_err(|_| slow())?;
        let done = tokio::task::spawn_blocking(move || {
            // Held until the thread is free, also when nobody waits any more.
            let _permit = permit;
            evaluate(&program, known, &seen)
        });
        done.await.map_err(|_| "it broke".to_owned())?
    };
    tokio::time::timeout(timeout, work).await.map_err(|_| slow())?
}

fn evaluate(program: &Program, known: &[&str], seen: &Map<String, Value>) -> Result<bool, String> {
    let mut context = Context::default();
    for name in known {
        context.add_variable_from_value(*name, to_cel(seen.get(*name).unwrap_or(&Value::Null)));
    }
    match program.execute(&context) {
        Ok(Cel::Bool(holds)) => Ok(holds),
        Ok(other) => Err(format!("it gave a {}, not true or false", other.type_of())),
        Err(error) => Err(format!("it cannot be decided: {error}").chars().take(300).collect()),
    }
}

/// Whole numbers become `int`, so that `arguments.n == 1` means what it says.
fn to_cel(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(flag) => Cel::Bool(*flag),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Cel::Int(int),
            (None, Some(large)) => Cel::UInt(large),
            (None, None) => Cel::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => Cel::String(Arc::new(text.clone())),
        Value::Array(items) => Cel::List(Arc::new(items.iter().map(to_cel).collect())),
        Value::Object(fields) => {
            let fields: HashMap<String, Cel> =
                fields.iter().map(|(name, value)| (name.clone(), to_cel(value))).collect();
            fields.into()
        }
    }
}

/// `names` are those of the loop around the place, which may be named besides the variables.
fn visit(expression: &IdedExpr, known: &[&str], names: &mut Vec<String>) -> Result<(), String> {
    match &expression.expr {
        Expr::Call(call) => {
            call.target.iter().try_for_each(|target| visit(target, known, names))?;
            call.args.iter().try_for_each(|argument| visit(argument, known, names))
        }
        Expr::Ident(name) if known.contains(&name.as_str()) || names.contains(name) => Ok(()),
        Expr::Ident(name) => Err(format!("`{name}` is unknown; there are {}", known.join(", "))),
        Expr::List(list) => {
            list.elements.iter().try_for_each(|element| visit(element, known, names))
        }
        Expr::Select(select) => visit(&select.operand, known, names),
        Expr::Map(map) => {
            map.entries.iter().try_for_each(|entry| visit_entry(&entry.expr, known, names))
        }
        Expr::Struct(made) => {
            made.entries.iter().try_for_each(|entry| visit_entry(&entry.expr, known, names))
        }
        Expr::Comprehension(_) if !names.is_empty() => {
            Err("a loop inside a loop takes too long".into())
        }
        Expr::Comprehension(walked) => {
            visit(&walked.iter_range, known, names)?;
            names.extend([walked.iter_var.clone(), walked.accu_var.clone()]);
            let parts = [&walked.accu_init, &walked.loop_cond, &walked.loop_step, &walked.result];
            parts.into_iter().try_for_each(|part| visit(part, known, names))?;
            names.clear();
            Ok(())
        }
        _ => Ok(()),
    }
}

fn visit_entry(entry: &EntryExpr, known: &[&str], names: &mut Vec<String>) -> Result<(), String> {
    match entry {
        EntryExpr::StructField(field) => visit(&field.value, known, names),
        EntryExpr::MapEntry(entry) => {
            visit(&entry.key, known, names)?;
            visit(&entry.value, known, names)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    async fn ask(source: &str) -> Result<bool, String> {
        let seen = json!({ "agent": { "name": "a" }, "tool_name": "refund",
            "arguments": { "amount": 150, "to": ["x"] } });
        let seen = seen.as_object().cloned().unwrap_or_default();
        holds(source, seen, Duration::from_secs(5)).await
    }

    #[tokio::test]
    async fn a_rule_sees_what_its_point_brings_and_null_for_the_rest() {
        for (source, expected) in [
            ("tool_name == 'refund' && arguments.amount > 100", true),
            ("agent.name.startsWith('b')", false),
            ("arguments.to.exists(one, one == 'x')", true),
            ("messages == null && response == null", true),
        ] {
            assert_eq!(ask(source).await, Ok(expected), "{source}");
        }
        for source in ["arguments.missing > 1", "arguments.amount", "tool_name > 1"] {
            assert!(ask(source).await.is_err(), "{source} decides nothing");
        }
    }

    #[test]
    fn a_rule_that_could_run_for_long_or_names_what_is_not_there_is_refused() {
        let long = "1+".repeat(2000);
        for source in ["1 +", "secret", "messages.all(a, messages.all(b, a == b))", &long] {
            assert!(compile(source).is_err(), "{source:.40}");
        }
        let twice = "messages.all(m, m.role != 'x') && messages.all(m, m.role != 'y')";
        assert!(compile(twice).is_ok());
    }
}
