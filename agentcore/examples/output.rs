//! An answer as a Rust type: `cargo run -p agentcore --example output`.
#![allow(clippy::print_stdout, reason = "an example shows its result")]

use agentcore::{Agent, run_blocking};
use schemars::JsonSchema;
use serde::Deserialize;

#[derive(Debug, Deserialize, JsonSchema)]
struct Weather {
    city: String,
    /// In degrees.
    celsius: f64,
}

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The type's schema goes to the model; an answer that does not fit it is sent back once, with the reason.
    let agent =
        Agent::builder("meteorologist").model("sim:echo").output_type::<Weather>().build()?;

    let result = run_blocking(&agent, r#"{ "city": "Bern", "celsius": 21.5 }"#)?;
    let weather: Weather = result.parse()?;
    println!("{} degrees in {}", weather.celsius, weather.city);

    let Err(refused) = run_blocking(&agent, "It is nice.") else {
        return Err("it should have failed".into());
    };
    println!("{refused}");
    assert_eq!(refused.result().map(|result| result.steps), Some(2));
    Ok(())
}
