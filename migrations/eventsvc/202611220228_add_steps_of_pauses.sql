-- Runs that people stop for a while, in the timeline. What is there is looked at afterwards, while steps are written.
alter table eventsvc.delivery_step drop constraint delivery_step_check;
alter table eventsvc.delivery_step add constraint delivery_step_check check (step in (
    'replayed', 'released', 'republished',
    'run_created', 'run_started', 'run_waiting', 'run_paused', 'run_resumed', 'run_finished', 'run_refused')) not valid;
