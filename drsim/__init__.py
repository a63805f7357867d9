"""drsim: plan, simulate, prove and apply live migrations of KVM guests."""

__version__ = "0.1.0"
