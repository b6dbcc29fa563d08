//! The words for models.

crate::text_enum! {
    /// How to talk to a model.
    pub enum ModelApi {
        /// OpenAI's `chat/completions` and `embeddings`, which most servers speak.
        OpenAi = "openai",
        /// Anthropic's messages.
        Anthropic = "anthropic",
        /// Google's Gemini.
        Gemini = "gemini",
        /// The simulated models.
        Sim = "sim",
    }
}

crate::text_enum! {
    /// Where a model runs.
    pub enum ModelKind {
        /// In our own house.
        Internal = "internal",
        /// With its provider.
        Hosted = "hosted",
    }
}

crate::text_enum! {
    /// What a model is for.
    pub enum ModelTask {
        /// Conversations.
        Chat = "chat",
        /// Vectors of texts.
        Embedding = "embedding",
    }
}
