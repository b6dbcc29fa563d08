-- Where a queue is long, what waits for its key is told from what is behind it without working its key out anew. A mark of
-- the expression and its value; null where nobody had to look past a firing. Old code neither reads nor writes it.
alter table eventsvc.firing add column flow_key text;
