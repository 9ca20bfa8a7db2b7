"""The operator of `QuantumTradingSystem`: `python -m qts_operator`, or `kopf run -m qts_operator.shell`."""
