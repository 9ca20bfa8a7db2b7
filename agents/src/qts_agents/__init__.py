"""The agents, the market feed and their kernels."""
