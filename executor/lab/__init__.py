"""The lab: several real KVM/QEMU hosts on one Linux machine, for trying, teaching and testing.

Each host is a set of namespaces with a libvirtd of its own; the lines between hosts are shaped by a small user-space
link emulator. Importing this package needs neither root nor libvirt.
"""
