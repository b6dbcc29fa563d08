select (select next_due_at from eventsvc.timer where next_due_at is not null order by next_due_at limit 1) as due,
       eventsvc.db_now() as "now!"
