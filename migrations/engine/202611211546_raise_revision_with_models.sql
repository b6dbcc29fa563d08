-- What a model's name stands for is part of what runs start with: a change of it raises the tenant's revision.
create constraint trigger model_setting_changes after insert or update or delete on engine.model_setting
    deferrable initially deferred for each row execute function engine.note_change();
