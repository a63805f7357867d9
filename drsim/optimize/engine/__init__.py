"""The engine: one compiled local search for every placement problem."""
