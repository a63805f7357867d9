"""Packages: what apt would do is read before it does it; apt and dpkg are played by scripts."""

import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from drsim.errors import LabError
from executor.lab import packages
from executor.lab.packages import REQUIRED, Step, parse_simulation, refuse_side_effects, signed_by

# As apt 2.6 of Debian 12 says it.
SIMULATED = """\
Reading package lists...
Inst cpio (2.13+dfsg-7.1 Debian:12.15/oldstable [amd64])
Inst libssl-dev [3.0.19-1~deb12u2] (3.0.22-1~deb12u2 Debian-Security:12/oldstable-security [amd64]) []
Inst seabios (1.16.3-2~bpo12+1 Debian Backports:oldstable-backports [all])
Inst libvirt0 (11.3.0-2~bpo12+1 Debian Backports:oldstable-backports [amd64])
Conf cpio (2.13+dfsg-7.1 Debian:12.15/oldstable [amd64])
"""
DRAGGED = "Inst libnss-systemd [252.39-1~deb12u2] (254.26-1~bpo12+1 Debian Backports:oldstable-backports [amd64])\n"
TARGETS = (
    "bookworm\thttp://mirror.example/debian/\t{source}:1\tmain\n"
    "bookworm-security\thttp://mirror.example/security/\t{source}:2\tmain\n"
)
SOURCES = """\
# a comment

Types: deb
URIs: http://mirror.example/debian
Suites: bookworm
Components: main
Signed-By: /usr/share/keyrings/main.gpg

Types: deb
URIs: http://mirror.example/security
Suites: bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
 -----END PGP PUBLIC KEY BLOCK-----
"""


def test_simulation_is_read() -> None:
    steps = parse_simulation(SIMULATED + "Remv old-thing [1.0] [needs:amd64 ]\nRemv bare\n")
    assert [step.package for step in steps] == ["cpio", "libssl-dev", "seabios", "libvirt0", "old-thing", "bare"]
    assert steps[1] == Step(
        package="libssl-dev",
        old="3.0.19-1~deb12u2",
        new="3.0.22-1~deb12u2",
        origin="Debian-Security:12/oldstable-security",
    )
    assert steps[0].old is None
    assert steps[4].new is None


def test_backports_of_qemu_and_updates_of_the_own_release_are_let_through() -> None:
    refuse_side_effects(parse_simulation(SIMULATED))


def test_anything_else_from_backports_is_refused_by_name() -> None:
    with pytest.raises(LabError, match=r"libnss-systemd \(252\.39-1~deb12u2 -> 254\.26"):
        refuse_side_effects(parse_simulation(SIMULATED + DRAGGED))


def test_a_removal_is_refused_by_name() -> None:
    with pytest.raises(LabError, match=r"remove systemd-thing"):
        refuse_side_effects(parse_simulation(SIMULATED + "Remv systemd-thing [1]\n"))


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        (1, "/usr/share/keyrings/main.gpg"),
        (2, "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n -----END PGP PUBLIC KEY BLOCK-----"),
    ],
)
def test_key_of_a_stanza(entry: int, key: str) -> None:
    assert signed_by(SOURCES, entry, deb822=True) == key


def test_key_of_a_line() -> None:
    text = "# comment\ndeb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian bookworm main\ndeb http://x y z\n"
    assert signed_by(text, 2, deb822=False) == "/k.gpg"
    assert signed_by(text, 3, deb822=False) is None


Play = Callable[[str, str], None]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """A Debian 12 with nothing installed, played by scripts; returns the way to play a program."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(packages, "_BACKPORTS_FILE", tmp_path / "backports.sources")
    monkeypatch.setattr(packages, "_OS_RELEASE", tmp_path / "os-release")
    monkeypatch.setattr(packages, "versions", lambda: {"QEMU": None, "libvirt": None})
    (tmp_path / "os-release").write_text('ID=debian\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\n')
    (tmp_path / "debian.sources").write_text(SOURCES)

    def play(name: str, script: str) -> None:
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755 | stat.S_IXUSR)

    play("dpkg-query", "exit 1")
    play("dpkg", "echo amd64")
    return play


def play_apt(play: Play, folder: Path, simulated: str) -> Path:
    """Let apt-get answer as told and write down its calls."""
    (folder / "simulated").write_text(simulated)
    (folder / "targets").write_text(TARGETS.format(source=folder / "debian.sources"))
    play(
        "apt-get",
        f"for word; do case $word in Dir::Etc::preferences=*) cp ${{word#*=}} {folder}/preferences;; esac; done\n"
        f'echo "$*" >> {folder}/calls\ncase "$*" in *indextargets*) cat {folder}/targets;;\n'
        f"*--simulate*) cat {folder}/simulated;; esac",
    )
    return folder / "calls"


def test_install_takes_backports_from_the_machines_own_mirror(
    machine: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = play_apt(machine, tmp_path, SIMULATED)
    monkeypatch.setattr(packages, "check_versions", lambda: None)
    packages.install()
    written = (tmp_path / "backports.sources").read_text()
    assert "URIs: http://mirror.example/debian/\nSuites: bookworm-backports\n" in written
    assert written.endswith("Signed-By: /usr/share/keyrings/main.gpg\n")
    last = calls.read_text().splitlines()[-1].split()
    assert "--simulate" not in last
    assert "--no-install-recommends" in last
    assert (
        (tmp_path / "preferences")
        .read_text()
        .startswith("Package: qemu-* libvirt* seabios\nPin: release n=bookworm-backports\nPin-Priority: 990\n")
    )
    assert set(last) >= set(REQUIRED)


def test_install_stops_before_it_touches_anything_else(machine: Play, tmp_path: Path) -> None:
    calls = play_apt(machine, tmp_path, SIMULATED + DRAGGED)
    with pytest.raises(LabError, match="libnss-systemd"):
        packages.install()
    assert all("--simulate" in call for call in calls.read_text().splitlines() if " install " in call)


def test_install_keeps_backports_that_are_there(machine: Play, tmp_path: Path) -> None:
    play_apt(machine, tmp_path, SIMULATED + DRAGGED)
    with (tmp_path / "targets").open("a") as targets:
        targets.write(f"bookworm-backports\thttp://mirror.example/debian/\t{tmp_path}/x.sources:1\tmain\n")
    with pytest.raises(LabError, match="libnss-systemd"):
        packages.install()
    assert not (tmp_path / "backports.sources").exists()


def test_a_mirror_without_backports_leaves_no_trace(machine: Play, tmp_path: Path) -> None:
    play_apt(machine, tmp_path, SIMULATED)
    script = (tmp_path / "bin" / "apt-get").read_text().removeprefix("#!/bin/sh\n")
    fails = (
        f"case \"$*\" in *update*) test ! -e {tmp_path}/backports.sources || {{ echo 'E: 404' >&2; exit 100; }};; esac"
    )
    machine("apt-get", f"{fails}\n{script}")
    with pytest.raises(LabError, match="E: 404"):
        packages.install()
    assert not (tmp_path / "backports.sources").exists()


def test_install_says_what_apt_said(machine: Play) -> None:
    machine("apt-get", "echo 'E: Could not resolve the mirror' >&2; exit 100")
    with pytest.raises(LabError, match=r"failed \(100\):\nE: Could not resolve the mirror"):
        packages.install()


def test_install_refuses_a_release_without_new_enough_versions(machine: Play, tmp_path: Path) -> None:
    (tmp_path / "os-release").write_text('ID=ubuntu\nVERSION_ID="24.04"\nVERSION_CODENAME=noble\n')
    calls = play_apt(machine, tmp_path, "")
    machine("apt-cache", "echo '  Candidate: 1:8.2.2+ds-0ubuntu1'")
    with pytest.raises(LabError, match=r"qemu-system-x86 >= 10\.0.*offer 8\.2"):
        packages.install()
    assert " install " not in calls.read_text()


def test_install_needs_root(machine: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(LabError, match=r"qemu-system-x86 .*sudo drsim lab doctor --install"):
        packages.install()


def test_missing_are_those_that_dpkg_does_not_call_installed(machine: Play) -> None:
    there = [package for package in REQUIRED if package not in ("cpio", "kmod")]
    lines = "\\n".join([*(f"{package} installed" for package in there), "kmod config-files"])
    machine("dpkg-query", f"printf '{lines}\\n'; exit 1")
    assert [package for package in packages.missing() if package != "python3-dev"] == ["cpio", "kmod"]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"QEMU": (7, 2, 22), "libvirt": (9, 0, 0)}, r"QEMU 7\.2\.22 .*10\.0 or newer: older ones corrupt the memory"),
        ({"QEMU": (10, 0, 2), "libvirt": (9, 0, 0)}, r"libvirt 9\.0\.0 .*11\.3 or newer"),
        ({"QEMU": (10, 0, 2), "libvirt": None}, r"libvirt is not installed"),
    ],
)
def test_old_pairs_are_refused_with_the_reason(
    found: dict[str, tuple[int, ...] | None], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "versions", lambda: found)
    with pytest.raises(LabError, match=said):
        packages.check_versions()


def test_the_least_versions_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "versions", lambda: {"QEMU": (10, 0, 0), "libvirt": (11, 3, 0)})
    packages.check_versions()


def test_without_the_device_there_is_no_kvm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_KVM", tmp_path / "kvm")
    usable, says = packages.kvm_usable()
    assert not usable
    assert "TCG" in says
