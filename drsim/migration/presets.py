"""Other values of the model's constants: hypervisors, estates and published models that figures are known of."""

from __future__ import annotations

import math
from dataclasses import replace

from drsim.migration.parameters import Parameters
from drsim.units import PAGE_BYTES

SIMGRID = Parameters(
    goodput=0.97,
    cap_overshoot=1.0,
    tcp_window_mib=4.0,
    tcp_initial_segments=1 << 30,
    page_header_bytes=0,
    zero_page_bytes=4096,
    zero_scan_pages_s=math.inf,
    stream_limit_mbit_s=math.inf,
    chunk_mib=math.inf,
    prepare_s=0.0017,
    prepare_rtts=0.0,
    confirm_s=0.0,
    confirm_rtts=0.0,
    switchover_ms=3.9,
    switchover_rtts=0.0,
    stop_lag_ms=0.0,
    device_mib=0.0,
    full_passes=True,
    linear_dirtying=True,
)
"""The live-migration plugin of SimGrid (VmLiveMigration.cpp) with its default network model LV08.

Assumptions: all memory is sent, zeros too, without headers; each pass sends all that is dirty; dirtying is linear up to
the working set; bandwidth factor 0.97; no fixed costs but the latency of its first and its last message (1.7 and 3.9 ms
in the runs reproduced here); no slow start; no lazy clearing. Its downtime limit is 30 ms by default.
"""

XEN = Parameters(full_passes=True, most_passes=5, stop_pages=50, chunk_mib=math.inf)
"""Xen's own pre-copy on a line like KVM's: it knows no downtime limit.

``SPP_MAX_ITERATIONS`` 5 and ``SPP_TARGET_DIRTY_COUNT`` 50 of Xen's tools/libs/guest/xg_sr_save.c: each pass sends all
that was dirty; the guest is stopped when fewer pages are dirty, after the fifth pass at the latest.
`Prediction.converges` then says whether the rest fitted the limit that was asked for.
"""

XEN_2005 = replace(XEN, most_passes=30, zero_page_bytes=PAGE_BYTES, zero_scan_pages_s=math.inf)
"""Xen in its first years (``DEF_MAX_ITERS`` 29 of xc_domain_save): up to 30 passes, and zeros sent like other pages."""

VMOTION = Parameters(full_passes=True, pull_rest=True, stale_bitmap=True, discard_us=0.0, chunk_mib=math.inf)
"""vMotion as its makers describe it: passes of pre-copy until the rest can be sent in half a second
(``max_downtime_ms=500``); then the state of the devices and the bitmap of what is missing, 32 KiB for each GiB, and the
guest goes on on the target, where the rest follows on demand. Take `Options` with mode hybrid, as many passes as
`most_passes`, and `stun`.
"""

LAB_TCG = Parameters(
    goodput=0.90,
    stream_limit_mbit_s=900.0,
    tcp_window_mib=32.0,
    prepare_s=0.2,
    prepare_rtts=11.0,
    switchover_ms=45.0,
    libvirt_ms=15.0,
    resident_extra_mib=29.0,
    resident_extra_boot_mib=75.0,
    resident_extra_postcopy_mib=15.0,
    fault_lead_mib=0.4,
    serve_pages=130.0,
    serve_written_pages=55.0,
    multifd_rtts=3.0,
    multifd_queue_mib=1.3,
    socket_share=6.0,
    socket_most_mib=24.0,
    socket_sample=0.9,
    zero_run=0.4,
    tail_mib=11.0,
    copy_mib_s=800.0,
    copy_s=0.24,
    linear_dirtying=True,
)
"""The lab's hosts: QEMU 10.0 with TCG and libvirt 11.3 on two shared cores, lines emulated in user space, big buffers.

Lines and resident sizes were tuned on the cases 3, 5, 7, 9 and 11 of data/lab/migrations.csv and rounded (the even
cases are kept for testing, tests/published/test_lab.py); what comes before the first page, the switchover, multifd
and post-copy on data/lab-large; `libvirt_ms` is from data/lab-downtime, what stands for copies of disks from every
second round of data/lab-disks. The lab's guest writes to its working set in order. Resident size holds 29 MiB of the
emulator's own and of huge pages filled in part, half of that where the guest came by post-copy, 46 MiB more where it
was booted. On a machine with twice the load one thread sent 840 Mbit/s and an idle guest stood still 50 ms longer.

After post-copy a guest waits for some 130 pages, or 55 after passes of pre-copy, each for a round trip and until 0.4
MiB of the push have gone: silences of 0.65, 1.25 and 2 s at 1,000, 500 and 250 Mbit/s without latency. Guests that do
more when they start, as the lab's did until 2026-11-25, wait for 750.
"""

G5K = Parameters(stream_limit_mbit_s=890.0, prepare_s=0.0)
"""The Grid'5000 hosts of Kherbache's measurements (QEMU with libvirt, 500 Mbit/s and 1 Gbit/s cards).

Tuned on the isolated migrations at 1 Gbit/s (mean 19.6 s for 2000 MB, 28.9 s for 3000 MB, whole-second timestamps);
those at 500 Mbit/s, not used, come out within 3 % (38.2 s and 56.1 s measured).
"""
