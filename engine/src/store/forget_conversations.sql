with recursive tenant (id) as (
    -- One entry of the index for each tenant.
    (select x.tenant_id from engine.conversation x order by x.tenant_id limit 1)
    union all
    select (select x.tenant_id from engine.conversation x where x.tenant_id > t.id order by x.tenant_id limit 1)
    from tenant t where t.id is not null
), term as materialized (
    select t.id, now() - make_interval(days => coalesce(k.conversation_days, $1)) as before
    from tenant t left join engine.retention k on k.tenant_id = t.id
    where t.id is not null
), due as materialized (
    select d.conversation_id, d.tenant_id, d.agent_id
    from term cross join lateral (
        select c.conversation_id, c.tenant_id, c.agent_id
        from engine.conversation c
        where c.tenant_id = term.id and c.updated_at < term.before
          and not exists (select from engine.run r
                          where r.conversation_id = c.conversation_id and not r.remembered)
        order by c.updated_at
        limit $2
        for update of c skip locked) d
    limit $2
), facts as (
    delete from engine.agent_memory m using due d
    where m.tenant_id = d.tenant_id and m.agent_id = d.agent_id
      and m.subject = 'conversation:' || d.conversation_id
), gone as (
    delete from engine.conversation c using due d where c.conversation_id = d.conversation_id
    returning c.conversation_id
)
select count(*) as "count!" from gone
