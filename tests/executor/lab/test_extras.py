"""Programs that only some labs need: which, where they come from, how they find each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from drsim.errors import LabError
from executor.lab import extras
from executor.lab.topology import LabGuest, LabHost, LabTopology
from executor.lab.wire import LabNetwork

HOSTS = (LabHost(name="h1"),)


def test_a_plain_lab_needs_nothing_beside() -> None:
    assert extras.wanted(LabTopology.simple()) == ()


@pytest.mark.parametrize(
    ("topology", "names"),
    [
        (LabTopology(hosts=HOSTS, guests=(LabGuest(name="g", host="h1", datastore="iscsi"),)), ["iscsi", "drivers"]),
        (LabTopology(hosts=HOSTS, guests=(LabGuest(name="g", host="h1", datastore="nfs"),)), ["nfs", "drivers"]),
        (LabTopology(hosts=HOSTS, networks=(LabNetwork(name="n", kind="ovs"),)), ["ovs"]),
        (LabTopology(hosts=HOSTS, networks=(LabNetwork(name="n", kind="vxlan"),)), []),
    ],
)
def test_what_is_needed_follows_from_the_topology(topology: LabTopology, names: list[str]) -> None:
    assert [extra.name for extra in extras.wanted(topology)] == names


def test_a_fetched_tree_goes_before_the_system(tmp_path: Path) -> None:
    (tmp_path / "usr" / "sbin").mkdir(parents=True)
    program = tmp_path / "usr" / "sbin" / "tgtd"
    program.touch()
    tree = extras.Tree(root=tmp_path)
    assert tree.find("tgtd") == program
    assert tree.find("env") == Path("/usr/bin/env")  # was there already, so it was not fetched
    found = extras.variables([tree])
    assert found["PATH"].startswith(f"{tmp_path}/usr/sbin:")
    assert str(tmp_path / "usr/lib/x86_64-linux-gnu") in found["LD_LIBRARY_PATH"].split(":")
    with pytest.raises(LabError, match="nothing-such"):
        tree.find("nothing-such")


def test_what_is_installed_needs_no_variables() -> None:
    assert extras.variables([extras.Tree(root=Path("/"))]).keys() == {"PATH"}


def test_the_folder_of_modules_is_named_as_qemu_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)\nCopyright (c)\n"
    monkeypatch.setattr(extras, "_run", lambda command: said)
    assert extras.module_folder.__wrapped__() == "Debian_1_10.0.2+ds-2+deb13u1~bpo12+1"
