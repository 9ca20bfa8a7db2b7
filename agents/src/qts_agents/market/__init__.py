"""The feed: bars of real or simulated markets, and what agents keep of them."""
