"""Certificates of the lab as OpenSSL judges them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from executor.lab.pki import CONDITIONS, make_authorities, make_certificate

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


def judged(folder: Path, *options: str) -> str:
    command = ["openssl", "verify", *options, "-CAfile", "ca-cert.pem", "server-cert.pem"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).replace("\n", " ")


def test_a_host_is_trusted_by_every_cluster_of_the_lab_unless_told_otherwise(tmp_path: Path) -> None:
    authorities, folders = tmp_path / "ca", [tmp_path / "qemu", tmp_path / "libvirt"]
    make_authorities(authorities, ["north", "south"])
    for cluster in ("north", "south"):
        make_certificate(authorities, cluster, folders, "h1", "10.10.0.11")
        assert "OK" in judged(folders[0], "-verify_hostname", "h1", "-purpose", "sslserver")
        assert "OK" in judged(folders[0], "-verify_ip", "10.10.0.11", "-purpose", "sslclient")
        assert "mismatch" in judged(folders[0], "-verify_hostname", "h2")
        own = authorities / cluster / "ca.pem"
        assert "OK" in judged(folders[0], "-CAfile", str(own))
    other = authorities / "north" / "ca.pem"
    command = ["openssl", "verify", "-CAfile", str(other), str(folders[0] / "server-cert.pem")]
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0


@pytest.mark.parametrize(
    ("condition", "words"), [("expired", "expired"), ("foreign", "unable to get local issuer"), ("missing", "")]
)
def test_a_bad_one_is_bad_in_the_way_that_was_ordered(tmp_path: Path, condition: str, words: str) -> None:
    assert condition in CONDITIONS
    authorities, folders = tmp_path / "ca", [tmp_path / "qemu", tmp_path / "libvirt"]
    make_authorities(authorities, ["lab"])
    make_certificate(authorities, "lab", folders, "h1", "10.10.0.11")
    names = {path.name for path in folders[0].iterdir()}
    make_certificate(authorities, "lab", folders, "h1", "10.10.0.11", condition)  # type: ignore[arg-type]
    if condition == "missing":
        assert {path.name for path in folders[1].iterdir()} == {"ca-cert.pem", "cacert.pem"}
        assert not list(folders[0].glob("*key*"))
    else:
        assert words in judged(folders[0])
        assert {path.name for path in folders[0].iterdir()} == names
    make_certificate(authorities, "lab", folders, "h1", "10.10.0.11")
    assert "OK" in judged(folders[0])
