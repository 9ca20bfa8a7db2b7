"""Typed messages over ZeroMQ and Redis, every one accounted for."""
