//! Somebody has left a tenant: what was theirs is given out no more, to no agent and no trigger, and links by which they
//! would connect an account lead nowhere. What they begin after coming back is not touched, however late this is heard.
//! Providers are told afterwards ([`crate::workers::leavers`]): no network call is made in a listener's transaction.

use dbutil::TenantTx;
use pubsub::{Consumer, Listener, Refusal, topology};
use shared_models::events::{Envelope, credential::CredentialHealthChanged, tenant::MemberRemoved};

use crate::{
    audit::{self, Action, Entry},
    store::{self, credential::Health},
};

const REASON: &str = "owner_left";

/// Hears of members that have left.
#[derive(Debug)]
pub(crate) struct MemberRemovedListener;

impl Listener for MemberRemovedListener {
    type Event = MemberRemoved;
    const CONSUMER: &'static Consumer = &topology::CREDSVC_MEMBER_REMOVED;

    async fn handle(
        &self,
        tx: &mut TenantTx,
        event: &Envelope<MemberRemoved>,
    ) -> Result<(), Refusal> {
        let (user, at) = (event.data.user_id, event.occurred_at);
        // Before credentials, as who connects one holds its session first: what was connected just now is seen below.
        store::connect_session::end_of_user(tx, user, REASON, at).await?;
        let revoked = store::leaver::revoke(tx, user, REASON, at).await?;
        for credential in &revoked {
            let told = CredentialHealthChanged {
                credential_id: *credential,
                user_id: Some(user),
                health: Health::Revoked.as_str().into(),
                reason: Some(REASON.into()),
            };
            pubsub::emit(tx, &told).await?;
        }
        for credential in revoked {
            let entry = Entry::own(Action::Disconnect, "its owner is no member any more");
            let entry = entry.about(credential).on_behalf_of(event.data.removed_by);
            audit::append(tx, entry).await?;
        }
        Ok(())
    }
}
