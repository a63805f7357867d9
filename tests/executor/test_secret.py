"""Passwords are never shown and never written down."""

from __future__ import annotations

import pytest

from drsim.errors import StoreError
from executor.secret import masked
from executor.store import Store


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ann:hush@db:5432/runs", "postgresql://ann:***@db:5432/runs"),
        ("postgresql://ann:hu/s:h@@db/runs", "postgresql://ann:***@db/runs"),
        ("ann:hush@db/runs", "ann:***@db/runs"),
        ("mysql://db/runs?user=ann&Password=hush&ssl=1", "mysql://db/runs?user=ann&Password=***&ssl=1"),
        ("postgresql://ann@db:5432/runs", "postgresql://ann@db:5432/runs"),
        ("sqlite:////var/lib/drsim/runs.sqlite", "sqlite:////var/lib/drsim/runs.sqlite"),
        ("qemu+ssh://root@h1:22/system", "qemu+ssh://root@h1:22/system"),
    ],
)
def test_a_url_is_shown_without_its_passwords(url: str, shown: str) -> None:
    assert masked(url) == shown


@pytest.mark.parametrize("url", ["u:hush@h/x", "nosuch://u:hush@h/x", "postgresql://u:hush@127.0.0.1:1/x?passwd=hush"])
def test_a_record_that_cannot_be_used_does_not_tell_its_password(url: str) -> None:
    with pytest.raises(StoreError) as refused:
        Store(url)
    assert "hush" not in str(refused.value)
    assert "***" in str(refused.value)
