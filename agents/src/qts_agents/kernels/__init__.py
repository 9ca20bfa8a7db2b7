"""Kernels: one algorithm a file, compiled and as a plain reference."""
