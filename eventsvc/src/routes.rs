//! The whole API as one list.

use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::App,
    http::{
        create_trigger, delete_trigger, get_delivery, get_listener, get_payload, get_trigger,
        list_deliveries, list_fires, list_parked, list_recoveries, list_triggers, preview_timer,
        receive_hook, replay_deliveries, replay_delivery, replay_parked, rotate_secret,
        switch_system, test_trigger, update_trigger,
    },
};

pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        // The forms that are fixed
        .routes(routes!(create_trigger::create_agent_trigger))
        .routes(routes!(update_trigger::update_agent_trigger))
        .routes(routes!(get_trigger::get_trigger, delete_trigger::delete_trigger))
        // Triggers
        .routes(routes!(list_triggers::list_triggers, create_trigger::create_trigger))
        .routes(routes!(
            get_trigger::get_trigger_v1,
            update_trigger::update_trigger,
            delete_trigger::delete_trigger_v1
        ))
        .routes(routes!(test_trigger::test_trigger))
        .routes(routes!(rotate_secret::rotate_secret))
        .routes(routes!(list_fires::list_fires))
        .routes(routes!(preview_timer::preview_timer))
        .routes(routes!(get_listener::get_listener))
        .routes(routes!(get_listener::look_now))
        .routes(routes!(list_recoveries::list_recoveries))
        // Systems as a whole
        .routes(routes!(switch_system::list_systems, switch_system::switch_system))
        // Intake
        .routes(routes!(receive_hook::receive_hook))
        // The ledger
        .routes(routes!(list_deliveries::list_deliveries))
        .routes(routes!(get_delivery::get_delivery))
        .routes(routes!(replay_delivery::replay_delivery))
        .routes(routes!(replay_deliveries::replay_deliveries))
        // Events that could not be taken
        .routes(routes!(list_parked::list_parked))
        .routes(routes!(replay_parked::replay_parked))
        // Between services
        .routes(routes!(get_payload::get_payload))
}
