alter table eventsvc.delivery_step validate constraint delivery_step_check;
