//! Conversations over REST. A run joins one by its `conversation_id`: see `POST /v1/runs`.

mod create_conversation;
mod delete_conversation;
mod get_conversation;
mod list_conversation_messages;
mod list_conversations;
mod update_conversation;

use servicekit::FieldError;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::app::App;

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(
            list_conversations::list_conversations,
            create_conversation::create_conversation
        ))
        .routes(routes!(
            get_conversation::get_conversation,
            update_conversation::update_conversation,
            delete_conversation::delete_conversation
        ))
        .routes(routes!(list_conversation_messages::list_conversation_messages))
}

/// Refuses what cannot name a person.
pub(crate) fn check_end_user(id: Option<&str>) -> Option<FieldError> {
    let wrong = |id: &str| !(1..=200).contains(&id.len()) || id.chars().any(char::is_control);
    id.filter(|id| wrong(id))
        .map(|_| FieldError::new("/end_user_id", "1 to 200 bytes, none of them control characters"))
}

fn check_title(title: Option<&str>) -> Option<FieldError> {
    let wrong = |title: &str| {
        title.trim().is_empty() || title.len() > 500 || title.chars().any(char::is_control)
    };
    title
        .filter(|title| wrong(title))
        .map(|_| FieldError::new("/title", "1 to 500 bytes, none of them control characters"))
}
