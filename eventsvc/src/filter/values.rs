//! What an expression sees, as CEL has it, and what is said when it does not fit.

use std::{collections::HashMap, sync::Arc};

use cel::Value as Cel;
use serde_json::Value;

/// Names are the author's own words; values are the sender's, and are left out.
pub(super) fn describe(error: &cel::ExecutionError) -> String {
    use cel::ExecutionError as E;
    match error {
        E::NoSuchKey(key) => format!("there is no `{key}`"),
        E::UndeclaredReference(name) => format!("`{name}` is unknown"),
        E::InvalidArgumentCount { expected, actual } => {
            format!("a function takes {expected} arguments, not {actual}")
        }
        E::UnexpectedType { got, want } => format!("expected {want}, found {got}"),
        E::FunctionError { function, .. } => format!("`{function}` failed"),
        E::IndexOutOfBounds(_) => "an index is out of bounds".into(),
        E::ValuesNotComparable(..) => "values of different kinds were compared".into(),
        E::NoSuchOverload(overload) => {
            format!(
                "`{}` does not work with {}",
                overload.function(),
                overload.argument_types().join(", ")
            )
        }
        E::DivisionByZero(_) | E::RemainderByZero(_) => "a division by zero".into(),
        _ => "the expression does not fit what was received".into(),
    }
}

/// Whole numbers become `int`, so that `payload.n == 1` means what it says.
pub(super) fn to_cel(value: &Value) -> Cel {
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
