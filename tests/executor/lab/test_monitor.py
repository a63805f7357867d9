"""What QEMU said last of a migration, from libvirtd's own log."""

from __future__ import annotations

from executor.lab.config import libvirtd_conf
from executor.lab.monitor import LOG, qemu_downtime_ms

HEAD = "2026-11-25 13:00:00.000+0000: 4242: info : qemuMonitorJSONIOProcessLine:210 : QEMU_MONITOR_RECV_REPLY: "


def answer(body: str) -> str:
    return f'{HEAD}mon=0x7f00 reply={{"return": {body}, "id": "libvirt-400"}}\n'


def test_only_a_completed_migration_s_downtime_counts_and_the_last_one_does() -> None:
    under_way = answer('{"expected-downtime": 300, "status": "active", "downtime": 1}')
    first = answer('{"status": "completed", "setup-time": 3, "downtime": 17, "ram": {"total": 1}}')
    last = answer('{"status": "completed", "downtime": 23}')
    assert qemu_downtime_ms(under_way) is None
    assert qemu_downtime_ms(first + under_way) == 17.0
    assert qemu_downtime_ms(first + last + 'cut short reply={"return": {"downtime"}\n') == 23.0
    assert qemu_downtime_ms("") is None


def test_a_host_notes_its_monitor_only_if_it_is_told_to() -> None:
    assert LOG in libvirtd_conf("u", tls=False, monitor_log=True)
    assert LOG not in libvirtd_conf("u", tls=False)
