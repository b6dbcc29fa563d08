-- Trees are taken from the oldest until they have about so many records together: one long run, or many short ones.
with due as (
    select r.run_id, r.finished_at, r.next_seq
    from engine.run r
    where r.finished_at < now() - make_interval(days => $1) and r.content_pruned_at is null
      and r.root_run_id = r.run_id
      and r.status in ('succeeded', 'failed', 'cancelled', 'timed_out')
      and (r.conversation_id is null or r.remembered)
      and not exists (select from engine.effect e where e.run_id = r.run_id and e.state = 'in_doubt')
      and not exists (
          select from engine.run c
          where c.root_run_id = r.run_id and c.parent_run_id is not null
            and (c.finished_at is null or c.finished_at >= now() - make_interval(days => $1)
                 or (c.conversation_id is not null and not c.remembered)
                 or exists (select from engine.effect e where e.run_id = c.run_id and e.state = 'in_doubt')))
    order by r.finished_at, r.run_id
    limit $2
    for update of r skip locked
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
