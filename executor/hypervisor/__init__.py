"""Doors to hypervisors: one small protocol (`base`), played by a simulation (`simulated`) or by libvirt (`libvirt_kvm`)."""
