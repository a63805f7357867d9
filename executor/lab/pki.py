"""Certificates of the lab: one authority, one certificate a host for migration and disks over TLS."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path

from drsim.errors import LabError

DAYS = "30"
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


def _openssl(*arguments: str | Path) -> None:
    result = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)
    if result.returncode:
        raise LabError(f"openssl {arguments[0]}: {result.stderr.strip()[-400:]}")


def make_certificate(authority: Path, folder: Path, host: str, address: str) -> None:
    """Make a host's certificate, signed by the lab's authority; nothing is done if it is there.

    QEMU uses it as server and as client. GnuTLS wants key encipherment allowed even for elliptic curves.
    """
    certificate = folder / "server-cert.pem"
    if certificate.exists():
        return
    authority.mkdir(exist_ok=True)
    ca, ca_key = authority / "ca.pem", authority / "ca.key"
    with (authority / "lock").open("w") as lock:  # hosts are started side by side
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ca.exists():
            usage = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign")
            extensions = [word for text in usage for word in ("-addext", text)]
            _openssl(
                "req", "-x509", *_KEY, "-keyout", ca_key, "-out", ca, "-days", DAYS, "-subj", "/CN=lab", *extensions
            )
    request, extension = folder / "request.pem", folder / "extensions"
    extension.write_text(
        f"subjectAltName=DNS:{host},IP:{address}\n"
        "keyUsage=critical,digitalSignature,keyEncipherment\n"
        "extendedKeyUsage=serverAuth,clientAuth\n"
    )
    _openssl("req", *_KEY, "-keyout", folder / "server-key.pem", "-out", request, "-subj", f"/O=lab/CN={host}")
    signer = ("-CA", ca, "-CAkey", ca_key, "-set_serial", str(int.from_bytes(host.encode(), "big") + 2))
    _openssl("x509", "-req", "-in", request, *signer, "-days", DAYS, "-extfile", extension, "-out", certificate)
    shutil.copy(ca, folder / "ca-cert.pem")
    for kind in ("cert", "key"):
        shutil.copy(folder / f"server-{kind}.pem", folder / f"client-{kind}.pem")
