//! What an expression may say: names and functions that there are, and no more work than what was received is large.

use cel::{
    IdedExpr, Program,
    common::ast::{EntryExpr, Expr},
};

const VARIABLES: &[&str] = &["payload", "headers", "system"];

/// Checks what an expression names and how its loops stand; says whether there are any.
pub(super) fn loops(program: &Program) -> Result<bool, String> {
    let references = program.references();
    if let Some(unknown) = references.functions().into_iter().find(|name| !known_function(name)) {
        return Err(format!("the function `{unknown}` is unknown"));
    }
    let mut walk = Walk::default();
    walk.visit(program.expression())?;
    Ok(walk.loops)
}

fn known_function(name: &str) -> bool {
    const FUNCTIONS: &[&str] = &[
        "size",
        "contains",
        "startsWith",
        "endsWith",
        "matches",
        "string",
        "int",
        "uint",
        "double",
        "bool",
        "bytes",
        "duration",
        "timestamp",
        "type",
        "dyn",
        "has",
        "all",
        "exists",
        "exists_one",
        "map",
        "filter",
        "min",
        "max",
        "getFullYear",
        "getMonth",
        "getDayOfYear",
        "getDayOfMonth",
        "getDate",
        "getDayOfWeek",
        "getHours",
        "getMinutes",
        "getSeconds",
        "getMilliseconds",
    ];
    // Operators are functions with names no identifier can have.
    FUNCTIONS.contains(&name) || !name.starts_with(|c: char| c.is_ascii_alphabetic())
}

#[derive(Default)]
struct Walk {
    loops: bool,
    /// The variables of the loops around the place of the walk, innermost last.
    variables: Vec<String>,
    accumulators: Vec<String>,
}

impl Walk {
    fn visit(&mut self, expression: &IdedExpr) -> Result<(), String> {
        match &expression.expr {
            Expr::Call(call) => {
                call.target.iter().try_for_each(|target| self.visit(target))?;
                call.args.iter().try_for_each(|argument| self.visit(argument))
            }
            Expr::Ident(name) => self.check_variable(name),
            Expr::List(list) => list.elements.iter().try_for_each(|element| self.visit(element)),
            Expr::Select(select) => self.visit(&select.operand),
            Expr::Map(map) => {
                map.entries.iter().try_for_each(|entry| self.visit_entry(&entry.expr))
            }
            Expr::Struct(made) => {
                made.entries.iter().try_for_each(|entry| self.visit_entry(&entry.expr))
            }
            Expr::Comprehension(walked) => {
                self.loops = true;
                if !self.variables.is_empty() && !self.part_of_outer(&walked.iter_range) {
                    return Err(
                        "a loop inside a loop may only walk a part of the outer loop's variable"
                            .into(),
                    );
                }
                self.visit(&walked.iter_range)?;
                self.variables.push(walked.iter_var.clone());
                self.accumulators.push(walked.accu_var.clone());
                for part in
                    [&walked.accu_init, &walked.loop_cond, &walked.loop_step, &walked.result]
                {
                    self.visit(part)?;
                }
                self.accumulators.pop();
                self.variables.pop();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn check_variable(&self, name: &String) -> Result<(), String> {
        let known = VARIABLES.contains(&name.as_str())
            || self.variables.contains(name)
            || self.accumulators.contains(name);
        if known {
            Ok(())
        } else {
            Err(format!("`{name}` is unknown; there are payload, headers and system"))
        }
    }

    fn visit_entry(&mut self, entry: &EntryExpr) -> Result<(), String> {
        match entry {
            EntryExpr::StructField(field) => self.visit(&field.value),
            EntryExpr::MapEntry(entry) => {
                self.visit(&entry.key)?;
                self.visit(&entry.value)
            }
        }
    }

    fn part_of_outer(&self, range: &IdedExpr) -> bool {
        match &range.expr {
            Expr::Ident(name) => self.variables.last() == Some(name),
            Expr::Select(select) => self.part_of_outer(&select.operand),
            _ => false,
        }
    }
}
