"""Real hosts for the tests: one lab for the whole run."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from drsim.errors import LabError
from executor.lab import machine
from executor.lab.lab import Lab
from executor.lab.state import lab_names, labs_root
from executor.lab.topology import LabGuest, LabHost, LabTopology

NAME = "test"
TOPOLOGY = LabTopology(
    name=NAME,
    hosts=tuple(LabHost(name=f"h{i}") for i in (1, 2, 3)),
    guests=(
        LabGuest(name="idle", host="h1", working_set_mib=0, dirty_rate_mib_s=0, disk_write_kib_s=0, tags=("quiet",)),
        LabGuest(name="busy", host="h1", working_set_mib=64, dirty_rate_mib_s=20, tags=("web",)),
    ),
)


@pytest.fixture(scope="session")
def machine_for_labs() -> None:
    """Leave the test out where no lab can run; on the build machine, where one must run, fail instead."""
    try:
        machine.require()
        machine.bindings()
    except LabError as error:
        if os.environ.get("CI") and os.geteuid() == 0:
            pytest.fail(f"the lab must run on the build machine: {error}")
        # One cause is enough here; 'drsim lab doctor' tells them all.
        pytest.skip(str(error).split(". ")[0] + ": drsim lab doctor")


@pytest.fixture(scope="session")
def lab(machine_for_labs: None) -> Iterator[Lab]:
    """Three hosts and two guests, both on h1 at first."""
    from executor.lab.lab import take_down

    if NAME in lab_names():  # left by a run that was killed
        take_down(labs_root() / NAME)
    up = Lab.up(TOPOLOGY)
    yield up
    up.down()


def where(lab: Lab, guest: str) -> list[str]:
    """List the hosts that hold a guest, in whatever state."""
    return [host for host in lab.state.hosts if lab.is_up(host) and guest in lab.guests_on(host)]
