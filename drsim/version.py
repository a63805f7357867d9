"""Version of drsim."""

__version__ = "0.1.0"
