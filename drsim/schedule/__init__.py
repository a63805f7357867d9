"""Which guest moves when: waves that never overfill a host, limits kept, cycles broken by a stop-over."""

from drsim.schedule.order import Schedule, schedule

__all__ = ["Schedule", "schedule"]
