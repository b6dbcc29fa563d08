//! The example programs do what they say: each checks its own result.

/// Each example as a module, and a test that runs it.
macro_rules! examples {
    ($($name:ident = $path:literal, $test:ident;)+) => {$(
        #[path = $path]
        mod $name;

        #[test]
        fn $test() {
            $name::main().unwrap();
        }
    )+};
}

examples! {
    context = "../../examples/context.rs", the_example_of_a_context_runs;
    handoff = "../../examples/handoff.rs", the_example_of_a_handoff_runs;
    hello = "../../examples/hello.rs", the_smallest_example_runs;
    hooks = "../../examples/hooks.rs", the_example_of_hooks_runs;
    loops = "../../examples/loops.rs", the_example_of_a_loop_runs;
    memory = "../../examples/memory.rs", the_example_of_memory_runs;
    output = "../../examples/output.rs", the_example_of_an_output_type_runs;
    retries = "../../examples/retries.rs", the_example_of_retries_runs;
    streaming = "../../examples/streaming.rs", the_example_of_streaming_runs;
    team = "../../examples/team.rs", the_example_of_a_team_runs;
    tool = "../../examples/tool.rs", the_example_of_a_tool_runs;
    workflow = "../../examples/workflow.rs", the_example_of_a_workflow_runs;
}
