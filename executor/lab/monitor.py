"""What QEMU itself says of a migration that has ended: read from what libvirtd noted of its monitor."""

from __future__ import annotations

import json
import re

LOG = "/var/log/libvirt/monitor.log"
"""Where a host of a lab with `LabTopology.monitor_log` notes what passes between libvirtd and QEMU."""

FILTERS = (
    f'log_filters = "1:qemu.qemu_monitor 3:*"\nlog_outputs = "1:file:{LOG} 2:file:/var/log/libvirt/libvirtd.log"\n'
)
"""What makes libvirtd do so. Both ends of the monitor are noted in full, and at this level only."""

FORGET = f": > {LOG}"
"""Script that empties it: libvirtd appends, so nothing is lost that comes after."""

READ = f"grep -a 'downtime' {LOG} || true"
"""Script that prints what can hold the figure."""

_ANSWER = re.compile(r'reply=(\{"return":.*\})')


def qemu_downtime_ms(text: str) -> float | None:
    """Return the downtime that QEMU told libvirtd last, ms; None if it did not.

    Parameters
    ----------
    text : str
        Lines of the log. Answers to ``query-migrate`` count whose status is ``completed``: what QEMU says of a
        migration under way is the expected downtime under another name.
    """
    found = None
    for match in _ANSWER.finditer(text):
        try:
            said = json.loads(match[1])["return"]
        except ValueError:
            continue
        if isinstance(said, dict) and said.get("status") == "completed" and "downtime" in said:
            found = float(said["downtime"])
    return found
