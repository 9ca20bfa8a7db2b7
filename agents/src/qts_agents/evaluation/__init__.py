"""Decision truth: a market through the real agents, scored against what happened (agents.md §1.3, §9)."""
