//! What the ledger shows of a run that waits and goes on, in whatever order it hears of that.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use shared_models::{
    RunStatus, WaitReason,
    events::{
        Event,
        run::{RunCreated, RunResumed, RunStarted, RunWaiting},
    },
};

use crate::ledger::Told;

fn goes_on(told: &Told, after: WaitReason) -> RunResumed {
    RunResumed { run: told.run, by: None, after: Some(after) }
}

async fn tell_of<E: Event + Clone>(told: &Told, event: E, at: DateTime<Utc>) {
    told.engine.tell_of(told.world.owner.tenant, &event, at).await;
}

/// How the run is, and why it needs somebody.
fn stands(delivery: &Value) -> (Value, Value, Value) {
    let firing = &delivery["firings"][0];
    (firing["run_status"].clone(), firing["reason_class"].clone(), firing["reason"].clone())
}

fn at_work() -> (Value, Value, Value) {
    (json!("running"), Value::Null, Value::Null)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_no_longer_listed_by_what_its_run_waited_for_once_that_goes_on() {
    let told = Told::start(json!({})).await;
    let run = told.run;
    let listed = async |reason: &str| {
        let path = format!("/v1/deliveries?reason={reason}");
        let page = told.world.mine().get(&path).await.expect(200);
        page["items"].as_array().unwrap().len()
    };

    let waits = [
        (WaitReason::Budget, "budget"),
        (WaitReason::Auth, "credential"),
        (WaitReason::Doubt, "tool"),
    ];
    for (nth, (reason, class)) in waits.into_iter().enumerate() {
        told.tell(RunWaiting { run, reason }).await;
        let waits = told.after(6 + 2 * nth).await;
        let why = json!(format!("the run waits: `{reason}`"));
        assert_eq!(stands(&waits), (json!("waiting"), json!(class), why));
        assert_eq!(listed(class).await, 1);

        told.tell(goes_on(&told, reason)).await;
        let on = told.after(7 + 2 * nth).await;
        assert_eq!((stands(&on), listed(class).await), (at_work(), 0), "{class}");
        let step = on["timeline"].as_array().unwrap().last().unwrap();
        assert_eq!(
            (&step["step"], &step["detail"]),
            (&json!("run_resumed"), &json!({ "after": reason }))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn news_that_come_late_change_nothing_of_what_was_heard_since() {
    let told = Told::start(json!({})).await;
    let run = told.run;
    let start = DateTime::<Utc>::from(std::time::SystemTime::now());
    let at = |seconds| start + TimeDelta::seconds(seconds);

    tell_of(&told, goes_on(&told, WaitReason::Budget), at(3)).await;
    assert_eq!(stands(&told.after(6).await), at_work());
    tell_of(&told, RunWaiting { run, reason: WaitReason::Budget }, at(2)).await;
    tell_of(&told, RunStarted { run }, at(1)).await;
    tell_of(&told, RunCreated { run }, at(0)).await;
    assert_eq!(stands(&told.after(9).await), at_work());

    // Of what is told of one moment the run has come to rest last.
    let doubt = (json!("waiting"), json!("tool"), json!("the run waits: `doubt`"));
    tell_of(&told, RunWaiting { run, reason: WaitReason::Doubt }, at(4)).await;
    tell_of(&told, goes_on(&told, WaitReason::Budget), at(4)).await;
    assert_eq!(stands(&told.after(11).await), doubt);
    told.tell_end(RunStatus::Succeeded, None, 0).await;
    assert_eq!(stands(&told.after(12).await).0, "succeeded");
    tell_of(&told, goes_on(&told, WaitReason::Doubt), at(5)).await;
    assert_eq!(stands(&told.after(13).await).0, "succeeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_heard_of_one_attempt_holds_nothing_up_that_is_heard_of_the_next() {
    let told = Told::start(json!({})).await;
    let now = DateTime::<Utc>::from(std::time::SystemTime::now());
    let later = now + TimeDelta::hours(1);
    tell_of(&told, RunWaiting { run: told.run, reason: WaitReason::Auth }, later).await;
    let delivery = told.after(6).await;

    let path = format!("/v1/deliveries/{}/replay", delivery["id"].as_str().unwrap());
    told.world.mine().post(&path, &json!({})).await.expect(202);
    let mut run = told.run;
    run.attempt = 2;
    tell_of(&told, RunStarted { run }, now).await;

    assert_eq!(stands(&told.after(8).await), at_work());
}
