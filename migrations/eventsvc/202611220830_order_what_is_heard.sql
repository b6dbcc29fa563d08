-- When what was heard last of a firing's run had happened: older news that come after it change nothing. Null where nothing was
-- heard since; old code neither reads nor writes it, and what it hears stands until something newer comes.
alter table eventsvc.firing add column heard_at timestamptz;
