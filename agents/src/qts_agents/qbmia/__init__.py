"""QBMIA: games against the market maker, monitors of liquidity and manipulation, episodic memory."""
