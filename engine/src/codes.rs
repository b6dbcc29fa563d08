//! The engine's own error codes.

use servicekit::Code;

macro_rules! codes {
    ($($constant:ident = $name:literal, $status:literal, $title:literal;)+) => {
        $(pub(crate) const $constant: Code = Code::new($name, $status, $title);)+
        /// Every code of this crate.
        pub const ALL: &[&Code] = &[$(&$constant,)+];
    };
}

codes! {
    AGENT_NOT_FOUND = "agent_not_found", 404, "There is no such agent, or it is not yours to see.";
    AGENT_VERSION_NOT_FOUND = "agent_version_not_found", 404, "The agent has no such version.";
    AGENT_NAME_TAKEN = "agent_name_taken", 409, "Another agent of the tenant has this name.";
    AGENT_NOT_ACTIVE = "agent_not_active", 409, "The agent is inactive, paused or archived: it starts no runs.";
    SWARM_NOT_FOUND = "swarm_not_found", 404, "There is no such swarm, or it is not yours to see.";
    SWARM_VERSION_NOT_FOUND = "swarm_version_not_found", 404, "The swarm has no such version.";
    SWARM_NAME_TAKEN = "swarm_name_taken", 409, "Another swarm of the tenant has this name.";
    SWARM_NOT_ACTIVE = "swarm_not_active", 409, "The swarm is inactive, paused or archived: it starts no runs.";
    SWARM_NOT_RUNNABLE = "swarm_not_runnable", 409, "Somebody in the swarm is gone, does not run, or belongs to somebody else.";
    SWARM_CYCLE = "swarm_cycle", 409, "The swarm would stand above itself.";
    SWARM_IN_USE = "swarm_in_use", 409, "Another swarm has this one as a member.";
    MEMBER_NOT_FOUND = "member_not_found", 404, "Nobody in the swarm works at this path, or not yet.";
    TOOL_NOT_FOUND = "tool_not_found", 404, "There is no such tool, or it is not yours to see.";
    TOOL_MANAGED = "tool_managed", 409, "The tool belongs to an MCP server and follows it; change the server.";
    MCP_SERVER_NOT_FOUND = "mcp_server_not_found", 404, "There is no such MCP server, or it is not yours to see.";
    MCP_SERVER_NAME_TAKEN = "mcp_server_name_taken", 409, "Another MCP server of the tenant has this name.";
    MCP_SERVER_UNREACHABLE = "mcp_server_unreachable", 422, "The MCP server did not tell which tools it has.";
    TOOL_NAME_TAKEN = "tool_name_taken", 409, "Another tool of the tenant has this name.";
    TOOL_NOT_ASSIGNED = "tool_not_assigned", 404, "The agent does not have this tool.";
    DUPLICATE_TOOL_NAME = "duplicate_tool_name", 409, "The agent has another tool of this name.";
    NOT_OWNER = "not_owner", 403, "Only the owner or an administrator may do this.";
    MODEL_UNAVAILABLE = "model_unavailable", 422, "The model is unknown or not enabled here.";
    MODEL_NOT_FOUND = "model_not_found", 404, "The tenant has no such entry for a model.";
    MODEL_REFUSED = "model_refused", 400, "The model's provider refuses what it was asked.";
    MODEL_FAILED = "model_failed", 502, "The model's provider failed or could not be reached.";
    RUN_FAILED = "run_failed", 502, "The agent's run failed; it is not repeated by itself.";
    RUN_WAITING = "run_waiting", 409, "The agent's run waits for somebody; it goes on when they have answered.";
    MODEL_TAKEN = "model_name_taken", 409, "The tenant has an entry for this model already.";
    PRICE_NOT_FOUND = "price_not_found", 404, "The tenant's price book has no such price.";
    PRICE_TAKEN = "price_exists", 409, "The model has a price from this moment on already.";
    CREDENTIAL_REFUSED = "credential_refused", 422, "The credential does not exist or may not be used so.";
    WEBHOOK_ENDPOINT_NOT_FOUND = "webhook_endpoint_not_found", 404, "There is no such endpoint.";
    WEBHOOK_ENDPOINTS_FULL = "webhook_endpoints_full", 409, "The tenant has as many endpoints as it may have.";
    WEBHOOK_DELIVERY_NOT_FOUND = "webhook_delivery_not_found", 404, "The endpoint was to be told of no such event, or it is long ago.";
    WEBHOOK_DISABLED = "webhook_endpoint_disabled", 409, "The endpoint is disabled; enable it first.";
    RUN_NOT_FOUND = "run_not_found", 404, "There is no such run, or it is not yours to see.";
    RUN_PRUNED = "run_pruned", 410, "The run ended so long ago that what was said in it has been forgotten.";
    CONVERSATION_NOT_FOUND = "conversation_not_found", 404, "There is no such conversation, or it is not yours to see.";
    CONVERSATION_BUSY = "conversation_busy", 409, "A run of the conversation is under way, and you asked to be refused then.";
    ARTIFACT_NOT_FOUND = "artifact_not_found", 404, "The run has put no such result aside, or it is not yours to see.";
    RUN_NOT_ENDED = "run_not_ended", 409, "The run is under way; only one that has ended is done over.";
    RUN_NOT_RETRYABLE = "run_not_retryable", 409, "A dry run is forked again, a case of an evaluation tried again; neither is done over.";
    RUN_NOT_FORKABLE = "run_not_forkable", 409, "The run cannot be forked: it has not heard its conversation yet, or is an evaluation's, of which only a dry fork is made.";
    RUN_TOO_LONG = "run_too_long", 422, "The run's journal has more than 20000 records: it is neither forked nor compared.";
    RUN_NOT_KEEPABLE = "run_not_keepable", 409, "A swarm's run is no test case of an agent; fork it dry, in another version of the swarm, and compare the two.";
    CASE_NOT_FOUND = "case_not_found", 404, "The agent has no such test case, or it is not yours to see.";
    CASE_NAME_TAKEN = "case_name_taken", 409, "Another test case of the agent has this name.";
    CASES_FULL = "cases_full", 409, "The agent has as many test cases as it may have.";
    EVALUATION_NOT_FOUND = "evaluation_not_found", 404, "There is no such evaluation, or it is not yours to see.";
    CASES_TOO_LONG = "cases_too_long", 409, "The agent's test cases are as long together as they may be.";
    EVALUATIONS_FULL = "evaluations_full", 429, "As many evaluations of the tenant are under way as may be.";
    EVALUATION_ENDED = "evaluation_ended", 409, "The evaluation has ended.";
    RUN_ENDED = "run_ended", 409, "The run has ended; its status never changes again.";
    APPROVAL_NOT_FOUND = "approval_not_found", 404, "There is no such approval, or it is not yours to see.";
    APPROVAL_CLOSED = "approval_closed", 409, "It has been decided about the call, or the time for it is over.";
    APPROVAL_CHANGED = "approval_changed", 409, "The arguments were edited after you looked; a vote counts for what it was cast on.";
    APPROVAL_VOTED = "approval_voted", 409, "You have approved of the call as it is; a second vote adds nothing.";
    NOT_A_VOTER = "not_a_voter", 403, "The rules that ask about the call do not let you vote on it.";
    NOT_YOURS_TO_READ = "not_yours_to_read", 403, "You may not see what runs say, which this could tell you.";
    BUDGET_NOT_FOUND = "budget_not_found", 404, "There is no such budget, or it is not yours to see.";
    BUDGET_EXHAUSTED = "budget_exhausted", 429, "A budget has no room for the call; a run would wait for it.";
    MODEL_UNPRICED = "model_unpriced", 422, "The model has no price, and a budget limits what may be spent.";
    BUDGET_TAKEN = "budget_taken", 409, "There is a budget of this for this period already; change that one.";
    RUN_WITHOUT_BUDGET = "run_without_budget", 409, "The run has no budget of its own, so there is nothing to raise.";
    CALLBACK_NOT_FOUND = "callback_not_found", 404, "No call has this token.";
    CALLBACK_CLOSED = "callback_closed", 409, "The call has been answered, its time is over, or its run has ended.";
    RUN_PAUSED = "run_paused", 409, "The run is paused, or about to be.";
    RUN_NOT_PAUSED = "run_not_paused", 409, "The run is not paused: there is nothing to resume.";
    QUESTION_NOT_FOUND = "question_not_found", 404, "The run asks no such question.";
    QUESTION_ANSWERED = "question_answered", 409, "Somebody has answered the question already.";
    EFFECT_NOT_FOUND = "effect_not_found", 404, "The run has made no such call.";
    EFFECT_HAS_NO_PROBE = "effect_has_no_probe", 409, "The tool declares no probe: only people can say what became of the call.";
    EFFECT_NOT_IN_DOUBT = "effect_not_in_doubt", 409, "What became of the call is known; nobody is asked.";
}
