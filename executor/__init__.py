"""The hands of drsim: the only part that touches the world."""
