//! Texts as vectors.

use futures::future::BoxFuture;
use shared_models::usage::Usage;

use crate::model::ModelError;

/// A provider of embedding models.
///
/// ```
/// use agentcore::models::{Embedder, EmbedRequest, sim::Sim};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let input = vec!["the cat sat".into(), "the cat sat down".into(), "quarterly figures".into()];
/// let request = EmbedRequest { model: "embed".into(), input, dimensions: None };
/// let vectors = Sim::new().embed(&request).await?.vectors;
///
/// let alike = |a: usize, b: usize| -> f32 {
///     vectors[a].iter().zip(&vectors[b]).map(|(a, b)| a * b).sum()
/// };
/// assert!(alike(0, 1) > alike(0, 2));
/// # Ok(())
/// # }
/// ```
pub trait Embedder: Send + Sync {
    fn embed<'a>(
        &'a self,
        request: &'a EmbedRequest,
    ) -> BoxFuture<'a, Result<Embeddings, ModelError>>;
}

/// Texts that are to become vectors.
///
/// ```
/// use agentcore::models::EmbedRequest;
///
/// let request = EmbedRequest { model: "embed".into(), input: vec!["ants".into()], ..EmbedRequest::default() };
/// assert_eq!(request.dimensions, None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EmbedRequest {
    /// The model's name at its provider.
    pub model: String,
    pub input: Vec<String>,
    /// How long the vectors should be, for models that let one choose.
    pub dimensions: Option<u32>,
}

/// The vectors.
///
/// ```
/// use agentcore::models::sim::Sim;
/// use agentcore::models::{EmbedRequest, Embedder};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), agentcore::ModelError> {
/// let input = vec!["ants".into(), "bees".into()];
/// let request = EmbedRequest { model: "embed".into(), input, ..EmbedRequest::default() };
/// assert_eq!(Sim::new().embed(&request).await?.vectors.len(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Embeddings {
    /// One for each input, in order.
    pub vectors: Vec<Vec<f32>>,
    /// Nothing but zeros where the provider does not say.
    pub usage: Usage,
}
