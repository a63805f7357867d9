"""What a recording holds: its columns and what each means, the table, and the text that goes with it."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_type_hints

from drsim.errors import LabError
from drsim.transfer import Transfer
from drsim.units import About

ROWS, READ_ME, INVENTORY = "rows.jsonl", "README.md", "inventory.json"

Suffix = Literal["parquet", "csv"]

COLUMNS: dict[str, About] = {
    "case": About("Number of the case, from 1."),
    "run": About("Name of the run: the same for the same trial and repetition."),
    "repetition": About("How often the trial was done, this time included."),
    "memory_mib": About("Configured memory of the guest.", "MiB"),
    "memory_used_mib": About("Memory that held data just before, from the resident size of QEMU.", "MiB"),
    "arrived": About("How the guest had come to the host that it leaves: boot, migration, postcopy."),
    "vcpus": About("Virtual CPUs of the guest."),
    "disk_mib": About("Size of its disk.", "MiB"),
    "working_set_mib": About("Memory that the guest writes to in turn.", "MiB"),
    "dirty_rate_mib_s": About("Rate at which it was told to do so.", "MiB/s"),
    "dirty": About("How it spreads its writes."),
    "achieved_rate_mib_s": About("Rate that it reached in the seconds before.", "MiB/s"),
    "disk_write_kib_s": About("Rate of its disk writes.", "KiB/s"),
    "traffic_kib_s": About("Rate at which it sends over the network.", "KiB/s"),
    "datastore": About("Where its disk lies; a local one is copied along."),
    "link_mbit_s": About("Emulated line between the hosts.", "Mbit/s"),
    "rtt_ms": About("Round-trip time between the hosts.", "ms"),
    "jitter_ms": About("Variation of the delay.", "ms"),
    "loss": About("Share of packets lost."),
    "max_downtime_ms": About("Downtime limit given to the hypervisor.", "ms"),
    "bandwidth_mbit_s": About("Cap given to the hypervisor; empty: none.", "Mbit/s"),
    **{
        f"transfer_{name}": next(note for note in hint.__metadata__ if isinstance(note, About))
        for name, hint in get_type_hints(Transfer, include_extras=True).items()
    },
    "status": About("moved, stayed or unknown."),
    "reason": About("Why it did not move."),
    "total_time_s": About("Whole migration as libvirt measured it.", "s"),
    "downtime_ms": About("Standstill as libvirt measured it.", "ms"),
    "qemu_downtime_ms": About("Standstill as QEMU on the source measured it.", "ms"),
    "tcp_gap_ms": About("Longest silence that a TCP client saw.", "ms"),
    "udp_gap_ms": About("Longest silence that a UDP client saw.", "ms"),
    "sent_mib": About("Memory traffic.", "MiB"),
    "zero_mib": About("Memory that QEMU found to hold nothing but zeros.", "MiB"),
    "rounds": About("Passes over dirty memory, the first included."),
    "received": About("Messages that the client received over both."),
    "lost": About("Sequence numbers missing from the TCP stream."),
    "repeated": About("Sequence numbers seen twice in the TCP stream."),
    "udp_lost": About("UDP packets missing."),
    "broken": About("Whether the TCP connection was lost."),
    "pages": About("Pages that the guest had written and read again."),
    "bad_pages": About("Pages that did not hold what the guest had written."),
    "bad_blocks": About("Disk blocks that did not hold what the guest had written."),
    "wall_s": About("Time from the call to the verdict of the executor.", "s"),
    "waited_s": About("Time for which it waited for others to become quiet.", "s"),
    "other_before_cores": About("Cores that others than the lab kept busy just before.", "cores"),
    "other_during_cores": About("Cores that others than the lab kept busy meanwhile.", "cores"),
    "load_average": About("Load average of the machine over one minute, just before."),
    "cpu_model": About("CPU of the machine."),
    "cores": About("Logical CPUs of the machine, shared by all hosts of the lab."),
    "accelerator": About("kvm, or qemu for emulation (TCG)."),
    "qemu": About("Version of QEMU."),
    "libvirt": About("Version of libvirt."),
    "kernel": About("Kernel of the machine."),
    "python": About("Version of Python."),
    "drsim": About("Version of drsim."),
    "recorded_at": About("When, ISO 8601 in UTC."),
}
"""All columns, in order; recordings made before a column was thought of lack it."""


def write_table(rows: Sequence[Mapping[str, Any]], out: Path, name: str, suffix: Suffix = "parquet") -> None:
    """Write the rows in the order in which they were recorded, and say what they are.

    Raises
    ------
    LabError
        If pyarrow is not installed; the rows stay in ``rows.jsonl``.
    """
    columns = [column for column in COLUMNS if any(column in row for row in rows)]
    part = out / f".migrations.{suffix}"
    {"csv": _csv, "parquet": _parquet}[suffix](rows, columns, part)
    part.replace(out / f"migrations.{suffix}")
    (out / READ_ME).write_text(readme(rows, name, suffix))


def _csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _parquet(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], path: Path) -> None:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise LabError(
            f"The rows are in {path.parent / ROWS}; to write Parquet, install pyarrow: pip install 'drsim[parquet]', "
            "then run the same command again."
        ) from error
    values = {column: [row.get(column) for row in rows] for column in columns}
    # What was never given would have no type at all.
    table = pyarrow.table(
        {
            column: pyarrow.array(each, pyarrow.float64() if set(each) == {None} else None)
            for column, each in values.items()
        }
    )
    pyarrow.parquet.write_table(table, path)


def readme(rows: Sequence[Mapping[str, Any]], name: str, suffix: Suffix = "parquet") -> str:
    """Compose the text that goes with a recording: origin, what was seen, columns, units, values."""
    held = [column for column in COLUMNS if any(column in row for row in rows)]

    def total(column: str) -> int:
        return sum(row[column] for row in rows)

    def ends(column: str) -> str:
        found = sorted(row[column] for row in rows if row.get(column) is not None)
        return f"{found[0]:g} to {found[-1]:g}" if found else "unknown"

    def values(column: str) -> str:
        found = dict.fromkeys(str(row.get(column)) for row in rows)
        return ", ".join(sorted(found)) if len(found) <= 6 else f"{len(found)} values"

    def all_of(column: str) -> str:
        return values(column) if column in held else "unknown"

    gaps = [row["tcp_gap_ms"] for row in rows if row.get("tcp_gap_ms") is not None]
    silence = f"{ends('tcp_gap_ms')} ms, median {statistics.median(gaps):g} ms" if gaps else "not measured"
    others = f"; others than the lab kept {ends('other_during_cores')} busy" if "other_during_cores" in held else ""
    table = "\n".join(f"| `{c}` | {COLUMNS[c].unit or '-'} | {COLUMNS[c].meaning} | {values(c)} |" for c in held)
    return f"""# Migrations recorded in the lab: {name}

Recorded by `drsim lab record` (root, Debian or Ubuntu) on real QEMU and libvirt: one guest at a time moves between
hosts of a lab on one machine while a client holds a TCP connection to it and counts its UDP packets.

- Recorded from {min((str(row["recorded_at"])[:10] for row in rows if "recorded_at" in row), default="unknown")} on
  with QEMU {all_of("qemu")} (accelerator `{all_of("accelerator")}`) and libvirt {all_of("libvirt")}
  on Linux {all_of("kernel")}.
- {all_of("cores")} cores shared by all hosts, guests and the client; load average {ends("load_average")}{others}.
  Where that exceeds the cores, times are those of a busy machine.
- {len(rows)} migrations, {sum(row["status"] == "moved" for row in rows)} of them moved; longest silence seen by the
  TCP client {silence}.
- Connections broken: {total("broken")}; sequence numbers lost: {total("lost")}; corrupt pages and blocks:
  {total("bad_pages") + total("bad_blocks")}.

- `{INVENTORY}`: the lab as collected over libvirt just before (format of `drsim.formats`).
- `migrations.{suffix}`: one row a migration, in the order in which they were made.

| column | unit | meaning | values |
|---|---|---|---|
{table}
"""
