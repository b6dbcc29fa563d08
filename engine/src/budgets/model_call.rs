//! What a call of a model may take, whoever makes it.

use std::time::Duration;

use agentcore::ModelRequest;
use agentcore::models::KnownModels;
use dbutil::Db;
use shared_models::TenantId;

use super::{Grant, Key, Quantity, Request, Short, Want, input_tokens};
use crate::error::Error;
use crate::models::Bound;
use crate::prices::{Prices, Rates};

/// Why a call is not begun, or does not go on.
#[derive(Debug)]
pub(crate) enum Refused {
    Short(Vec<Short>),
    /// Money is limited, and nobody knows what the call costs.
    Unpriced(String),
    Failed(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// For a call that cannot wait.
impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Failed(error) => error,
            Refused::Unpriced(why) => Self::ModelUnpriced(why),
            Refused::Short(short) => {
                let why = short.iter().map(Short::to_string).collect::<Vec<_>>().join("; ");
                let soon = short.iter().all(|short| short.need <= short.left + short.held);
                Self::BudgetExhausted { why, soon }
            }
        }
    }
}

/// Models are given time in slices, and so are not kept waiting by what others might need.
const SLICE: Duration = Duration::from_secs(30);
/// Less time is of no use.
pub(crate) const LEAST_TIME: Duration = Duration::from_secs(1);
/// Fewer tokens of output are of no use.
const LEAST_OUTPUT: u32 = 16;
/// What is set aside at a time for a model that was not told how much to write. Who has more to say is asked to go on.
const OUTPUT: u32 = 8192;

/// Whether somebody asks a model to go on that could not say all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    InParts,
    AllAtOnce,
}

/// What a call of a model may take.
#[derive(Debug)]
pub(crate) struct ModelCall {
    pub(crate) request: Request,
    input: i64,
    /// The tokens of output that it would like to have, as far as that is known.
    whole: Option<u32>,
    /// Whether what it says is limited.
    speaks: bool,
}

impl ModelCall {
    /// What it may take of these lines in the worst case.
    pub(crate) async fn estimate(
        lines: &[Key],
        (bound, asked): (&Bound, &ModelRequest),
        says: Says,
        (prices, db, tenant): (&Prices, &Db, TenantId),
    ) -> Result<Self, Refused> {
        let limited = |quantity| lines.iter().any(|key| key.quantity == quantity);
        let known = KnownModels::default().of(&bound.name);
        let configured = bound.context_window.and_then(|window| u64::try_from(window).ok());
        let input = input_tokens(asked, configured.or(known.map(|known| known.window)));
        let mut wants = Vec::with_capacity(3);
        if limited(Quantity::Cost) {
            wants.push(rates(prices, db, tenant, bound).await?.worst(input));
        }
        if limited(Quantity::Tokens) {
            let rate = 1_000_000;
            wants.push(Want { quantity: Quantity::Tokens, base: input, rate, slack: 0 });
        }
        let speaks = !wants.is_empty();
        if limited(Quantity::ActiveMs) {
            wants.push(slice());
        }
        let most = known.map(|known| u32::try_from(known.most_output).unwrap_or(u32::MAX));
        let part = most.filter(|most| says == Says::AllAtOnce || *most < OUTPUT).unwrap_or(OUTPUT);
        let output = asked.max_tokens.unwrap_or(part);
        let request = Request { wants, output, least: output.min(LEAST_OUTPUT) };
        Ok(Self { request, input, whole: asked.max_tokens.or(most), speaks })
    }

    /// Has the model say no more than there is room for.
    pub(crate) fn grant(self, output: u32, mut grant: Grant, asked: &mut ModelRequest) -> Grant {
        grant.input = self.input;
        if self.speaks {
            asked.max_tokens = Some(output);
            grant.clamped = self.whole.is_none_or(|whole| output < whole);
            grant.wants = self.request.wants;
        }
        grant
    }
}

impl Rates {
    /// What a call costs at most, by the tokens it is told.
    fn worst(&self, input: i64) -> Want {
        let dearest = i128::from(self.input.max(self.cache_read).max(self.cache_write));
        let base = (dearest * i128::from(input) + 999_999) / 1_000_000;
        let base = i64::try_from(base).unwrap_or(i64::MAX);
        Want { quantity: Quantity::Cost, base, rate: self.output.max(self.reasoning), slack: 0 }
    }
}

/// Some time, of which a little will do.
pub(crate) fn slice() -> Want {
    let millis = |time: Duration| time.as_millis() as i64;
    let slack = millis(SLICE) - millis(LEAST_TIME);
    Want { quantity: Quantity::ActiveMs, base: millis(SLICE), rate: 0, slack }
}

async fn rates(
    prices: &Prices,
    db: &Db,
    tenant: TenantId,
    bound: &Bound,
) -> Result<Rates, Refused> {
    let names = bound.prices();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let rates = prices.rates(db, tenant, &names).await.map_err(Error::from)?;
    rates.ok_or_else(|| {
        let name = &bound.name;
        Refused::Unpriced(format!(
            "the model `{name}` has no price, and a budget limits what may be spent"
        ))
    })
}
