//! Arithmetic, by a small parser of its own: there is nothing here that could be made to run.

use serde_json::{Value, json};

use super::text;

/// Deeper nesting is no arithmetic that anybody has written.
const DEEPEST: usize = 100;
const LONGEST: usize = 4096;

pub(super) fn describe() -> (&'static str, Value) {
    let parameters = json!({ "type": "object", "additionalProperties": false, "required": ["expression"],
        "properties": { "expression": { "type": "string", "maxLength": LONGEST,
            "description": "Such as `(1 + 2.5) * 3 ^ 2`. Operators: + - * / % ^. Functions: sqrt, cbrt, abs, round, \
                floor, ceil, ln, log10, log2, exp, sin, cos, tan, asin, acos, atan, min, max. Constants: pi, e." } } });
    ("Calculates an arithmetic expression.", parameters)
}

pub(super) fn call(arguments: &Value) -> Result<String, String> {
    let expression = text(arguments, "expression").ok_or("there is no expression")?;
    calculate(expression).map(shown)
}

fn calculate(expression: &str) -> Result<f64, String> {
    if expression.len() > LONGEST {
        return Err(format!("longer than {LONGEST} characters"));
    }
    let mut parser = Parser { text: expression, at: 0, depth: 0 };
    let number = parser.sum()?;
    match parser.peek() {
        None if number.is_finite() => Ok(number),
        None => Err("the result is no finite number".into()),
        Some(c) => Err(parser.error(&format!("`{c}` is not expected here"))),
    }
}

/// Without the noise of binary fractions: 0.1 + 0.2 is 0.3.
fn shown(number: f64) -> String {
    let rounded: f64 = format!("{number:.14e}").parse().unwrap_or(number);
    if rounded == 0.0 { "0".into() } else { rounded.to_string() }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn sum(&mut self) -> Result<f64, String> {
        let mut left = self.product()?;
        loop {
            match self.peek() {
                Some('+') => left += self.after_operator(Self::product)?,
                Some('-' | '−') => left -= self.after_operator(Self::product)?,
                _ => return Ok(left),
            }
        }
    }

    fn product(&mut self) -> Result<f64, String> {
        let mut left = self.signed()?;
        loop {
            match self.peek() {
                Some('*' | '×' | '·') => left *= self.after_operator(Self::signed)?,
                Some('/' | '÷') => {
                    let right = self.after_operator(Self::signed)?;
                    if right == 0.0 {
                        return Err(self.error("division by zero"));
                    }
                    left /= right;
                }
                Some('%') => {
                    let right = self.after_operator(Self::signed)?;
                    if right == 0.0 {
                        return Err(self.error("division by zero"));
                    }
                    left %= right;
                }
                _ => return Ok(left),
            }
        }
    }

    fn after_operator(
        &mut self,
        operand: fn(&mut Self) -> Result<f64, String>,
    ) -> Result<f64, String> {
        self.bump();
        operand(self)
    }

    /// A sign binds less than a power: -2^2 is -4.
    fn signed(&mut self) -> Result<f64, String> {
        self.deeper(|parser| match parser.peek() {
            Some('-' | '−') => {
                parser.bump();
                Ok(-parser.signed()?)
            }
            Some('+') => {
                parser.bump();
                parser.signed()
            }
            _ => parser.power(),
        })
    }

    fn power(&mut self) -> Result<f64, String> {
        let base = self.atom()?;
        if self.peek() != Some('^') {
            return Ok(base);
        }
        self.bump();
        // To the right: 2^3^2 is 2^9.
        Ok(base.powf(self.signed()?))
    }

    fn atom(&mut self) -> Result<f64, String> {
        match self.peek() {
            Some('(') => {
                self.bump();
                let number = self.deeper(Self::sum)?;
                self.expect(')')?;
                Ok(number)
            }
            Some(c) if c.is_ascii_digit() || c == '.' => self.number(),
            Some(c) if c.is_ascii_alphabetic() => self.named(),
            Some(c) => Err(self.error(&format!("`{c}` is not expected here"))),
            None => Err(self.error("the expression ends too early")),
        }
    }

    fn number(&mut self) -> Result<f64, String> {
        let rest = self.rest();
        let mut end = rest
            .find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '_'))
            .unwrap_or(rest.len());
        let exponent = rest.get(end..).unwrap_or_default();
        if let Some(power) = exponent.strip_prefix(['e', 'E']) {
            let digits = power.strip_prefix(['+', '-']).unwrap_or(power);
            let count = digits.chars().take_while(char::is_ascii_digit).count();
            if count > 0 {
                end += 1 + (power.len() - digits.len()) + count;
            }
        }
        let text = rest.get(..end).unwrap_or_default().replace('_', "");
        let number = text.parse().map_err(|_| self.error(&format!("`{text}` is not a number")))?;
        self.at += end;
        Ok(number)
    }

    fn named(&mut self) -> Result<f64, String> {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let name = rest.get(..end).unwrap_or_default().to_ascii_lowercase();
        self.at += end;
        match name.as_str() {
            "pi" => return Ok(std::f64::consts::PI),
            "e" => return Ok(std::f64::consts::E),
            _ => {}
        }
        self.expect('(')?;
        let mut arguments = vec![self.deeper(Self::sum)?];
        while self.peek() == Some(',') {
            self.bump();
            arguments.push(self.deeper(Self::sum)?);
        }
        self.expect(')')?;
        function(&name, &arguments).ok_or_else(|| {
            self.error(&format!("there is no function `{name}` of {} arguments", arguments.len()))
        })
    }

    fn deeper(
        &mut self,
        inside: impl FnOnce(&mut Self) -> Result<f64, String>,
    ) -> Result<f64, String> {
        if self.depth == DEEPEST {
            return Err(self.error("nested too deeply"));
        }
        self.depth += 1;
        let number = inside(self);
        self.depth -= 1;
        number
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&mut self) -> Option<char> {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
        self.rest().chars().next()
    }

    fn bump(&mut self) {
        self.at += self.rest().chars().next().map_or(0, char::len_utf8);
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        if self.peek() == Some(wanted) {
            self.bump();
            return Ok(());
        }
        Err(self.error(&format!("`{wanted}` is missing")))
    }

    fn error(&self, why: &str) -> String {
        format!(
            "{why}, at character {}",
            self.text.get(..self.at).unwrap_or_default().chars().count() + 1
        )
    }
}

fn function(name: &str, arguments: &[f64]) -> Option<f64> {
    Some(match (name, arguments) {
        ("min", [first, rest @ ..]) => rest.iter().copied().fold(*first, f64::min),
        ("max", [first, rest @ ..]) => rest.iter().copied().fold(*first, f64::max),
        ("round", [x, digits]) => {
            let factor = 10_f64.powi(digits.clamp(-300.0, 300.0) as i32);
            (x * factor).round() / factor
        }
        ("round", [x]) => x.round(),
        ("sqrt", [x]) => x.sqrt(),
        ("cbrt", [x]) => x.cbrt(),
        ("abs", [x]) => x.abs(),
        ("floor", [x]) => x.floor(),
        ("ceil", [x]) => x.ceil(),
        ("ln", [x]) => x.ln(),
        ("log10", [x]) => x.log10(),
        ("log2", [x]) => x.log2(),
        ("exp", [x]) => x.exp(),
        ("sin", [x]) => x.sin(),
        ("cos", [x]) => x.cos(),
        ("tan", [x]) => x.tan(),
        ("asin", [x]) => x.asin(),
        ("acos", [x]) => x.acos(),
        ("atan", [x]) => x.atan(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn expressions_have_the_values_that_mathematics_gives_them() {
        let table = [
            ("1 + 2 * 3", "7"),
            ("(1 + 2) * 3", "9"),
            ("-2 ^ 2", "-4"),
            ("2 ^ 3 ^ 2", "512"),
            ("2 ^ -1", "0.5"),
            ("7 % 4 - -1", "4"),
            ("0.1 + 0.2", "0.3"),
            ("1e3 / 8", "125"),
            ("1_000 × 2", "2000"),
            ("max(1, sqrt(16), 3)", "4"),
            ("round(2.34567, 2)", "2.35"),
            ("sin(pi)", "0.000000000000000122464679914735"),
            ("2e", "error"),
            ("0 * -1", "0"),
        ];
        for (expression, expected) in table {
            let got = calculate(expression).map_or_else(|_| "error".into(), shown);
            assert_eq!(got, expected, "{expression}");
        }
    }

    #[test]
    fn what_is_no_arithmetic_is_refused_with_its_place() {
        let nested = "(".repeat(10_000);
        let powers = "2^".repeat(2_000) + "2";
        let refused = [
            "",
            "1 +",
            "1 2",
            "2 ** 3",
            "system(1)",
            "1/0",
            "5 % 0",
            "sqrt(-1)",
            "9^9^9^9",
            "(1",
            &nested,
            &powers,
        ];
        for expression in refused {
            assert!(
                calculate(expression).is_err(),
                "{}",
                expression.get(..20).unwrap_or(expression)
            );
        }
        assert_eq!(calculate("1 + $").unwrap_err(), "`$` is not expected here, at character 5");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = calculate(&text);
        }
    }
}
