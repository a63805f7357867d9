"""Doors to hypervisors: one small protocol (`base`), played by a simulation or by libvirt."""
