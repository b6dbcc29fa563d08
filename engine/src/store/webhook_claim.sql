-- From one endpoint with something pending to the next by index, however much each has; of each what is due, the oldest
-- first, as far as it may have more under way.
with recursive hop as (
    (select endpoint_id from engine.webhook_delivery where status = 'pending' order by endpoint_id limit 1)
    union all
    select (select d.endpoint_id from engine.webhook_delivery d
            where d.status = 'pending' and d.endpoint_id > h.endpoint_id order by d.endpoint_id limit 1)
    from hop h where h.endpoint_id is not null
), picked as (
    select d.endpoint_id, d.message_id
    from hop h
    join engine.webhook_endpoint e on e.endpoint_id = h.endpoint_id and e.enabled
    left join unnest($1::uuid[], $2::bigint[]) as busy (endpoint_id, n) on busy.endpoint_id = e.endpoint_id
    cross join lateral (
        select w.endpoint_id, w.message_id, w.next_attempt_at from engine.webhook_delivery w
        where w.endpoint_id = e.endpoint_id and w.status = 'pending' and w.next_attempt_at <= now()
        order by w.next_attempt_at
        limit greatest(0, case when e.failing_since is null then $3::bigint else 1 end - coalesce(busy.n, 0))
        for update of w skip locked) d
    order by d.next_attempt_at
    limit $4
)
update engine.webhook_delivery d
set next_attempt_at = now() + make_interval(secs => $5), claims = d.claims + 1, attempts = d.attempts + 1, tries = d.tries + 1
from picked p
join engine.webhook_endpoint e on e.endpoint_id = p.endpoint_id
where d.endpoint_id = p.endpoint_id and d.message_id = p.message_id
returning d.tenant_id as "tenant_id: _", d.endpoint_id as "endpoint_id: _", d.message_id as "message_id: _", d.body,
    d.attempts, d.tries, d.claims, e.url, e.owner_id as "owner_id: _", e.credential_id as "credential_id: _",
    now() as "now!"
