-- How long each case is, so that an agent's cases can be bounded together, and since when a case cannot be moved on. Older
-- code writes neither: a case it makes counts as nothing until it is edited.

alter table engine.agent_case add column bytes int not null default 0;
update engine.agent_case set bytes = octet_length(definition::text);

alter table engine.evaluation_result add column failing_since timestamptz;
