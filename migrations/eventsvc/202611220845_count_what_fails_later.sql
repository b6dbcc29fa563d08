-- Firings that failed after they were counted as fired: runs that failed, and what waited and then could not fire. They are
-- counted from here on; old code neither reads nor writes it.
alter table eventsvc.trigger_stat add column failed_later bigint not null default 0;
