"""PADS: asks, pools, decides; holds phase and risk authority; keeps the journal."""
