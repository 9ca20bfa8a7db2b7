"""What every process of the Quantum Trading System shares: settings, names, roster, probes, telemetry."""
