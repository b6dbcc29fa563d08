-- no-transaction
-- Replaced by firing_unheard_order_idx.
drop index concurrently eventsvc.firing_unheard_idx;
