"""Certificates of the lab: an authority for each cluster, a certificate for each host, and bad ones to order."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from drsim.errors import LabError

DAYS = 30
Condition = Literal["good", "expired", "missing", "foreign"]
"""What a host's certificate is like: as it should be; its time is over; not there; of an authority nobody trusts."""

CONDITIONS: tuple[Condition, ...] = get_args(Condition)

STRANGER = "stranger"
"""Folder of the authority that nobody trusts; no cluster can have this name, for it is not one of the topology's."""

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
# By what QEMU and libvirt call the same five files: in QEMU's folder, in libvirt's.
_NAMES = {
    "ca": ("ca-cert.pem", "cacert.pem"),
    "server cert": ("server-cert.pem", "servercert.pem"),
    "server key": ("server-key.pem", "serverkey.pem"),
    "client cert": ("client-cert.pem", "clientcert.pem"),
    "client key": ("client-key.pem", "clientkey.pem"),
}


def _openssl(*arguments: str | Path) -> None:
    result = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)
    if result.returncode:
        raise LabError(f"openssl {arguments[0]}: {result.stderr.strip()[-400:]}")


def make_authorities(authorities: Path, clusters: Sequence[str]) -> None:
    """Make an authority for each cluster, and the list of those that every host of the lab trusts: all of them."""
    for cluster in clusters:
        _authority(authorities / cluster)
    (authorities / "trusted.pem").write_text("".join((authorities / name / "ca.pem").read_text() for name in clusters))


def _authority(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "ca.pem").exists():
            usage = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign")
            extensions = [word for text in usage for word in ("-addext", text)]
            out = ("-keyout", folder / "ca.key", "-out", folder / "ca.pem", "-days", str(DAYS))
            _openssl("req", "-x509", *_KEY, *out, "-subj", f"/CN=lab {folder.name}", *extensions)


def make_certificate(
    authorities: Path, cluster: str, folders: Sequence[Path], host: str, address: str, condition: Condition = "good"
) -> None:
    """Make a host's certificate anew, signed by its cluster's authority, and put it where QEMU and libvirt look.

    QEMU and libvirt use it as server and as client. GnuTLS wants key encipherment allowed even for elliptic curves.

    Parameters
    ----------
    authorities : Path
        Folder of the lab's authorities.
    cluster : str
        Whose it is.
    folders : sequence of Path
        Where it goes; each gets QEMU's names of the files and libvirt's.
    host, address : str
        Whom it is for.
    condition : {"good", "expired", "missing", "foreign"}
        What it is to be like.
    """
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        for name in _NAMES["ca"]:
            shutil.copy(authorities / "trusted.pem", folder / name)
    if condition == "missing":
        _remove(folders)
        return
    signer = authorities / (STRANGER if condition == "foreign" else cluster)
    _authority(signer)
    with tempfile.TemporaryDirectory(dir=authorities) as name:
        scratch = Path(name)
        request, extension, key, certificate = (scratch / each for each in ("request", "extensions", "key", "cert"))
        extension.write_text(
            f"subjectAltName=DNS:{host},IP:{address}\n"
            "keyUsage=critical,digitalSignature,keyEncipherment\n"
            "extendedKeyUsage=serverAuth,clientAuth\n"
        )
        _openssl("req", *_KEY, "-keyout", key, "-out", request, "-subj", f"/O=lab {cluster}/CN={host}")
        serial = str(time.time_ns())
        by = ("-CA", signer / "ca.pem", "-CAkey", signer / "ca.key", "-set_serial", serial, "-extfile", extension)
        days = str(-1 if condition == "expired" else DAYS)
        _openssl("x509", "-req", "-in", request, *by, "-days", days, "-out", certificate)
        for folder in folders:
            for kind, names in _NAMES.items():
                source = {"cert": certificate, "key": key}.get(kind.rpartition(" ")[2])
                if source is not None:
                    for each in names:
                        # Whole or not at all: a daemon may read it this moment.
                        part = folder / f".{each}"
                        shutil.copy(source, part)
                        part.replace(folder / each)


def _remove(folders: Sequence[Path]) -> None:
    for folder in folders:
        for kind, names in _NAMES.items():
            if kind != "ca":
                for name in names:
                    (folder / name).unlink(missing_ok=True)
