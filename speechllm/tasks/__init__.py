"""One file a task: its prompts, its target, its metric."""
