-- What conversations need besides their tables, and whether a run's output is JSON of a kind. Older code never reads the
-- new column; runs it makes have the default, and their output is shown as text alone.

alter table engine.run add column structured boolean not null default false;

-- Conversations in which nothing has been said for long. Nothing has written to the table before.
create index conversation_idle_idx on engine.conversation (updated_at);
