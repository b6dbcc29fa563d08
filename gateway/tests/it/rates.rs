use std::num::NonZeroU32;

use crate::world::World;

fn few(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

#[tokio::test]
async fn a_key_that_asks_too_often_is_told_when_to_come_back() {
    let world = World::with(|config| {
        config.limits.rate = few(1);
        config.limits.burst = few(3);
    })
    .await;

    let (_, api) = world.key_for(&world.home.user_id.to_string()).await;

    let first = api.get("/v1/me").await;
    assert_eq!(first.status, 200);
    assert_eq!(first.header("ratelimit-policy"), Some("\"key\";q=3;w=3"));
    assert_eq!(first.header("ratelimit"), Some("\"key\";r=2;t=0"));
    let mut last = first;
    // Two more pass, and one more each second.
    for _ in 0..100 {
        last = api.get("/v1/agents").await;
        if last.status == 429 {
            break;
        }
    }

    assert_eq!(last.refusal(), (429, "rate_limited"));
    assert_eq!(last.header("retry-after"), Some("1"));
    assert!(last.header("ratelimit").unwrap().contains("r=0"));
    assert!(last.header("x-request-id").is_some());
    // Another key is another client.
    world.owner.get("/v1/me").await.expect(200);
    // Hooks have no key; their senders are eventsvc's to judge.
    for _ in 0..5 {
        world.public.post("/v1/hooks/x", &serde_json::json!({})).await.expect(201);
    }
}

#[tokio::test]
async fn whoever_tries_many_wrong_keys_has_to_wait_but_known_keys_still_work() {
    let world = World::with(|config| config.limits.failed_auth_burst = few(3)).await;
    world.owner.get("/v1/me").await.expect(200);

    let mut statuses = Vec::new();
    // Three, and one more each three seconds.
    for n in 0..100 {
        let wrong = format!("sy_{n:064x}");
        let refused = world.public.token(&wrong).get("/v1/me").await;
        statuses.push(refused.status);
        if refused.status == 429 {
            assert!(refused.header("retry-after").is_some());
            break;
        }
    }

    assert!(statuses.starts_with(&[401, 401, 401]) && statuses.ends_with(&[429]), "{statuses:?}");
    world.owner.get("/v1/me").await.expect(200);
}
