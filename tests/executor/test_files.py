"""What a host's own files tell, read from what libvirt would hand over."""

from __future__ import annotations

import pytest

pytest.importorskip("libvirt", reason="libvirt-python is not installed: make kvm")

from executor.hypervisor.libvirt_files import held, listening, settings_of

TABLE = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:C000 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0B0A0A0A:C001 0C0A0A0A:9C40 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0 20 4 30 10 -1
   2: 00000000000000000000000000000000:C03F 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 3 1 0 100 0
"""


def test_only_who_listens_takes_a_port() -> None:
    assert listening(TABLE) == {49152, 49215}  # 49153 is one end of a connection


def test_a_connection_holds_its_port_until_it_is_closed() -> None:
    assert held(TABLE) == {49152, 49153, 49215}
    assert held(TABLE.replace(" 01 ", " 06 ")) == {49152, 49215}


def test_settings_are_read_and_passwords_are_not() -> None:
    text = """
# migration_port_min = 1
migration_port_min = 50000
  default_tls_x509_cert_dir = "/srv/pki"   \nvnc_password = "XYZ12345"
default_tls_x509_secret_uuid = "00000000-0000-0000-0000-000000000000"
"""
    assert settings_of(text) == {"migration_port_min": "50000", "default_tls_x509_cert_dir": "/srv/pki"}
