"""What is to be done: commands, conditions, stages and plans, derived by pure code."""
