"""SENTIMENT: what scored headlines of the last days say, decayed by the market's time."""
