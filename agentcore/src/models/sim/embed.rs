//! `sim:embed`: vectors of unit length in which each word, by its hash, has a place and a sign. Texts with words in
//! common are close to each other; that is all. What the words mean plays no part: it is no language model.

use std::future::ready;

use futures::FutureExt;
use futures::future::BoxFuture;
use shared_models::usage::Usage;

use super::super::embed::{EmbedRequest, Embedder, Embeddings};
use super::Sim;
use super::heard::words;
use crate::model::{ModelError, ModelErrorKind};

const DIMENSIONS: u32 = 256;
const MOST_DIMENSIONS: u32 = 4096;

impl Embedder for Sim {
    fn embed<'a>(
        &'a self,
        request: &'a EmbedRequest,
    ) -> BoxFuture<'a, Result<Embeddings, ModelError>> {
        ready(embed(request)).boxed()
    }
}

fn embed(request: &EmbedRequest) -> Result<Embeddings, ModelError> {
    if request.model != "embed" {
        let why = format!("sim has no embedding model `{}`; there is embed", request.model);
        return Err(ModelError::new(ModelErrorKind::Invalid, why).with_status(404));
    }
    let dimensions = request.dimensions.unwrap_or(DIMENSIONS).clamp(1, MOST_DIMENSIONS) as usize;
    let vectors = request.input.iter().map(|text| vector(text, dimensions)).collect();
    let input_tokens = request.input.iter().map(|text| words(text)).sum();
    Ok(Embeddings { vectors, usage: Usage { input_tokens, ..Usage::default() } })
}

fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    let mut vector = vec![0.0_f32; dimensions];
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let hash = fnv(word.to_lowercase().as_bytes());
        if let Some(place) = vector.get_mut((hash >> 1) as usize % dimensions) {
            *place += if hash & 1 == 0 { 1.0 } else { -1.0 };
        }
    }
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    if length > 0.0 {
        for value in &mut vector {
            *value /= length;
        }
    }
    vector
}

/// FNV-1a: the same on every machine and in every version, unlike the standard library's.
fn fnv(bytes: &[u8]) -> u64 {
    let begin = 0xcbf2_9ce4_8422_2325_u64;
    bytes.iter().fold(begin, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alike(a: &str, b: &str) -> f32 {
        vector(a, 256).iter().zip(vector(b, 256)).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn texts_with_words_in_common_are_close() {
        assert!((alike("The cat sat.", "the CAT sat") - 1.0).abs() < 1e-5);
        assert!(alike("the cat sat", "the cat stood") > alike("the cat sat", "a dog ran"));
        assert!(vector("", 4).iter().all(|value| *value == 0.0));
    }

    #[test]
    fn a_vector_is_as_long_as_asked_for_and_of_length_one() {
        let request = |dimensions| EmbedRequest {
            model: "embed".into(),
            input: vec!["a b c".into()],
            dimensions,
        };
        let made = embed(&request(Some(7))).unwrap();
        assert_eq!((made.vectors[0].len(), made.usage.input_tokens), (7, 3));
        assert_eq!(embed(&request(None)).unwrap().vectors[0].len(), 256);
        let other = EmbedRequest { model: "echo".into(), ..request(None) };
        assert!(embed(&other).is_err());
    }
}
