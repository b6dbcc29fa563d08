-- Trees are taken from the oldest until they have about so many records together: one long run, or many short ones.
-- Each tenant has a term of its own; content never outlives its run.
with recursive tenant (id) as (
    -- One entry of the index for each tenant.
    (select x.tenant_id from engine.run x where x.finished_at is not null and x.content_pruned_at is null order by x.tenant_id limit 1)
    union all
    select (select x.tenant_id from engine.run x where x.finished_at is not null and x.content_pruned_at is null and x.tenant_id > t.id order by x.tenant_id limit 1)
    from tenant t where t.id is not null
), term as materialized (
    select t.id, now() - make_interval(days => least(coalesce(k.content_days, $1), coalesce(k.run_days, $3))) as before
    from tenant t left join engine.retention k on k.tenant_id = t.id
    where t.id is not null
), due as materialized (
    select d.run_id, d.finished_at, d.next_seq
    from term cross join lateral (
    select r.run_id, r.finished_at, r.next_seq
    from engine.run r
    where r.tenant_id = term.id and r.finished_at < term.before and r.finished_at is not null and r.content_pruned_at is null
      and r.root_run_id = r.run_id
      and r.status in ('succeeded', 'failed', 'cancelled', 'timed_out')
      and (r.conversation_id is null or r.remembered)
      and not exists (select from engine.effect e where e.run_id = r.run_id and e.state = 'in_doubt')
      -- A fork refers to the content as long as it has some itself. One that is being made just now is not seen here, but
      -- it has changed the row: that is looked at again when the lock on it is ours.
      and (r.forked_at is null or (r.forked_at < now() - interval '1 hour' and not exists (
          select from engine.content_hold h join engine.run f on f.run_id = h.root_run_id
          where h.of_root_run_id = r.run_id and f.content_pruned_at is null)))
      and not exists (
          select from engine.run c
          where c.root_run_id = r.run_id and c.parent_run_id is not null
            and (c.finished_at is null or c.finished_at >= term.before
                 or (c.conversation_id is not null and not c.remembered)
                 or exists (select from engine.effect e where e.run_id = c.run_id and e.state = 'in_doubt')))
    order by r.finished_at, r.run_id
    limit $2
    for update of r skip locked) d
    limit $2
), counted as (
    select run_id, sum(next_seq) over (order by finished_at, run_id) - next_seq as before from due
), roots as materialized (
    select run_id from counted where before < 5000
), tree as materialized (
    select run_id from roots
    union all
    select c.run_id from engine.run c
    where c.root_run_id = any (array(select run_id from roots)) and c.parent_run_id is not null
), marked as (
    update engine.run set content_pruned_at = now(), output = null, error = null
    where run_id = any (array(select run_id from tree))
), content as (
    delete from engine.content where root_run_id = any (array(select run_id from roots))
), journal as (
    delete from engine.journal where run_id = any (array(select run_id from tree))
), snapshot as (
    delete from engine.run_snapshot where run_id = any (array(select run_id from tree))
), signal as (
    delete from engine.run_signal where run_id = any (array(select run_id from tree))
), timer as (
    delete from engine.run_timer where run_id = any (array(select run_id from tree))
), approval as (
    -- That people were asked and what they decided is kept with the run; what would have been sent is content.
    update engine.approval set asked = null, arguments = null, reason = null
    where run_id = any (array(select run_id from tree))
    returning approval_id
), vote as (
    update engine.approval_vote set comment = null
    where approval_id in (select approval_id from approval) and comment is not null
), callback as (
    delete from engine.callback where run_id = any (array(select run_id from tree))
), effect as (
    -- That the call was made, and how it ended, is kept with the run; what the other side said is content.
    update engine.effect set reason = null
    where run_id = any (array(select run_id from tree)) and reason is not null
)
select count(*) as "count!" from roots
