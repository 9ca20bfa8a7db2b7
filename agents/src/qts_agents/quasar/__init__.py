"""QUASAR: online reinforcement learning, drift and anomaly monitors, a pool of factors (agents.md §5)."""
