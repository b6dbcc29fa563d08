-- What stands for the oldest messages of a conversation, so that they are summarised once and not by each run anew. Older
-- code neither reads nor writes it: its runs are told everything, and summarise it for themselves.

alter table engine.conversation add column summary text;
-- The number of the first message that it does not stand for.
alter table engine.conversation add column summary_upto bigint;
alter table engine.conversation add constraint conversation_summary_check
    check ((summary is null) = (summary_upto is null));
