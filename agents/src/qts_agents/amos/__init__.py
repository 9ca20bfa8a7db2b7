"""Quantum AMOS: beliefs → desire → intention → a readout of seven actions (agents.md §6)."""
