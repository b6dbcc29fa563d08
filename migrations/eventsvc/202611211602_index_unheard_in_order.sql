-- no-transaction
-- Firings nothing was heard of, in the order in which they are looked through. Serves older code as well.
create index concurrently firing_unheard_order_idx on eventsvc.firing (fired_at, event_id)
where status = 'fired' and arrived_at is null;
