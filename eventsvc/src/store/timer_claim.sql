select tenant_id as "tenant_id: TenantId", trigger_id as "trigger_id: TriggerId", anchor_at,
       next_slot_at as "next_slot_at!", eventsvc.db_now() as "now!"
from eventsvc.timer
where next_due_at <= eventsvc.db_now()
order by next_due_at limit $1 for update skip locked
