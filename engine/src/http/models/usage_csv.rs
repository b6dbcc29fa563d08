//! What was used, as a table for spreadsheets (RFC 4180).

use std::borrow::Cow;
use std::fmt::Write as _;

use super::summarise_usage::UsageLine;

const HEAD: &str = "day,user_id,agent_id,agent_name,model,calls,unpriced_calls,input_tokens,cache_read_tokens,\
                    cache_write_tokens,output_tokens,reasoning_tokens,cost_micro_usd\r\n";

/// The lines as a table. What they are not broken down by is empty.
pub(super) fn table(lines: &[UsageLine]) -> String {
    let mut text = String::from(HEAD);
    for UsageLine { day, user_id, agent_id, agent_name, model, total } in lines {
        let day = day.map(|day| day.to_string()).unwrap_or_default();
        let user = user_id.map(|id| id.to_string()).unwrap_or_default();
        let agent = agent_id.map(|id| id.to_string()).unwrap_or_default();
        let name = cell(agent_name.as_deref().unwrap_or_default());
        let model = cell(model.as_deref().unwrap_or_default());
        let used = &total.usage;
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "{day},{user},{agent},{name},{model},{},{},{},{},{},{},{},{}\r\n",
            total.calls,
            total.unpriced_calls,
            used.input_tokens,
            used.cache_read_tokens,
            used.cache_write_tokens,
            used.output_tokens,
            used.reasoning_tokens,
            total.cost_micro_usd.0,
        );
    }
    text
}

/// A text that a spreadsheet reads as text: somebody may have named an agent like a formula.
fn cell(text: &str) -> Cow<'_, str> {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if !formula && !text.contains(['"', ',', '\r', '\n']) {
        return Cow::Borrowed(text);
    }
    let mark = if formula { "'" } else { "" };
    Cow::Owned(format!("\"{mark}{}\"", text.replace('"', "\"\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_quoted_when_it_must_be_and_never_a_formula() {
        assert_eq!(cell("plain name"), "plain name");
        assert_eq!(cell(""), "");
        assert_eq!(cell("a,b"), "\"a,b\"");
        assert_eq!(cell("say \"hi\"\n"), "\"say \"\"hi\"\"\n\"");
        assert_eq!(cell("=1+1"), "\"'=1+1\"");
        assert_eq!(cell("@SUM(A1)"), "\"'@SUM(A1)\"");
    }
}
