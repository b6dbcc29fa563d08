-- no-transaction
-- Runs that their conversation has yet to take up, in the order of their turns: the short list of those under way and
-- just ended. Older code does not notice.
create index concurrently run_unremembered_idx on engine.run (conversation_id, conversation_turn)
where conversation_id is not null and not remembered;
