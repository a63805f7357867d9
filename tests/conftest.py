"""What every test shares: a loud line about what was left out."""

from __future__ import annotations

import os
import sys

import pytest
from hypothesis import settings

# On the build machine the same examples each time; at a desk new ones, so that the laws go on being tried.
settings.register_profile("build", derandomize=True, deadline=None)
settings.register_profile("desk", deadline=None)
settings.load_profile("build" if os.environ.get("CI") else "desk")

REMEDIES = {
    "kvm": "real hypervisors: run 'make test' as root on Debian or Ubuntu",
    "bench": "measured data sets: set DRSIM_BENCH_DATA to the folder that holds them",
}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line which real parts were left out, and what to do about it."""
    skipped = terminalreporter.stats.get("skipped", [])
    kvm = sum("kvm" in getattr(report, "keywords", ()) for report in skipped)
    bench = sum("DRSIM_BENCH_DATA" in str(report.longrepr) for report in skipped)
    left_out = [f"{n} tests on {REMEDIES[kind]}" for kind, n in (("kvm", kvm), ("bench", bench)) if n]
    if left_out:
        terminalreporter.write_line("LEFT OUT: " + "; ".join(left_out), yellow=True, bold=True)
        if os.environ.get("CI") and kvm and os.geteuid() == 0 and sys.platform == "linux":
            terminalreporter.write_line("The real-hypervisor tests must run here, and did not.", red=True)
