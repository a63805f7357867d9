"""What the migration model takes as given: one table of numbers, each with its unit, meaning and source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

from drsim.units import About


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """Constants of a class of hosts and of its network.

    What QEMU fixes in its source is here beside what must be measured on the hosts at hand, so that another
    hypervisor or another published model is another value of this class.
    """

    goodput: Annotated[float, Gt(0), Le(1), About("Share of the line rate left for data.")] = 0.941
    """TCP over Ethernet with timestamps at MTU 1500: 1448 bytes of data in 1538 on the wire."""

    return_share: Annotated[
        float, Gt(0), Le(1), About("What a migration keeps of its rate while its target's own uplink is full.")
    ] = 1.0
    """Acknowledgements wait behind the data that the target sends. About 0.9 in Kherbache's measurements on Grid'5000
    (shaped cards of 500 Mbit/s); 1 where queues are short, to be calibrated."""

    stream_limit_mbit_s: Annotated[
        float, Gt(0), About("Most that one QEMU thread sends, whatever the line.", "Mbit/s")
    ] = 18_000.0
    """Highest `mbps` of unlimited phases in the query-migrate series of LordWicked/live-migration-thesis-code
    (QEMU 7.2, unix socket, one thread): 18 to 20 Gbit/s."""

    tunnel_limit_mbit_s: Annotated[
        float, Gt(0), About("Most that goes through libvirt's own connection.", "Mbit/s")
    ] = 1_600.0
    """osic/benchmarking_live-migration, 10 Gbit/s hosts: 5.4 s for each further GiB tunnelled, 2.35 s directly."""

    tls_mbit_s: Annotated[float, Gt(0), About("What one thread encrypts.", "Mbit/s")] = 31_000.0
    """``openssl speed -evp aes-256-gcm`` at 16 KiB on an AMD EPYC core: 3.86 GB/s."""

    zstd_mbit_s: Annotated[float, Gt(0), About("What one thread compresses with zstd, level 1.", "Mbit/s")] = 2_640.0
    """``zstd -b1 -B512K`` (a multifd packet) over 100 MB of this system's programs and libraries: 330 MB/s."""

    zstd_ratio: Annotated[float, Gt(0), Le(1), About("Size after zstd, of the size before.")] = 0.34
    """The same run: 2.96 to 1. Depends on what the guest holds: to be calibrated."""

    zlib_mbit_s: Annotated[float, Gt(0), About("What one thread compresses with zlib, level 1.", "Mbit/s")] = 602.0
    """Python's zlib at level 1 over the C library on the same core: 72 MiB/s."""

    zlib_ratio: Annotated[float, Gt(0), Le(1), About("Size after zlib, of the size before.")] = 0.49
    """The same run: 2.05 to 1. Depends on what the guest holds: to be calibrated."""

    multifd_header_bytes: Annotated[float, Ge(0), About("Bytes beside each page sent over multifd.", "bytes")] = 10.5
    """A packet of 128 pages has a header of 320 bytes and 8 for each page (``MultiFDPacket_t``,
    migration/multifd.h)."""

    xbzrle_cache_mib: Annotated[float, Ge(0), About("Pages that XBZRLE remembers.", "MiB")] = 64.0
    """``xbzrle-cache-size`` of QEMU; libvirt's default is the same."""

    xbzrle_ratio: Annotated[float, Gt(0), Le(1), About("Size of a remembered page's difference, of the page.")] = 0.3
    """Assumption: depends on how much of a page its writer changes; to be calibrated."""

    cap_overshoot: Annotated[float, Ge(1), About("Rate reached under a bandwidth cap, relative to the cap.")] = 1.0078
    """Same series: 1082.14 Mbit/s under the default cap of 128 MiB/s. QEMU stops after the page that crosses the
    budget of a window (migration/migration.c, ``migration_rate_exceeded``)."""

    tcp_window_mib: Annotated[float, Gt(0), About("Largest TCP window in use.", "MiB")] = 3.0
    """Linux: half of the default maximum of ``net.ipv4.tcp_rmem``, 6 MiB (Documentation/networking/ip-sysctl).
    Measured in the lab with default buffers: 250 Mbit/s at a round-trip time of 100 ms, i.e. 3.0 MiB in flight."""

    tcp_segment_bytes: Annotated[int, Gt(0), About("Data in one TCP segment.", "bytes")] = 1448
    """MTU 1500 less 40 bytes of headers and 12 of timestamps."""

    tcp_initial_segments: Annotated[int, Gt(0), About("Segments sent before the first acknowledgement.")] = 10
    """RFC 6928; Linux' default."""

    window_s: Annotated[float, Gt(0), About("Interval over which QEMU measures and limits its rate.", "s")] = 0.1
    """``BUFFER_DELAY`` in QEMU 7.2 migration/migration.c; migration/migration-stats.h in 10.0."""

    turn_s: Annotated[float, Gt(0), About("Longest time that QEMU sends before it looks at what is left.", "s")] = 0.05
    """``MAX_WAIT`` in QEMU migration/ram.c. Under a bandwidth cap a turn lasts a whole `window_s`."""

    page_header_bytes: Annotated[int, Ge(0), About("Bytes in front of each page sent.", "bytes")] = 8
    """``save_page_header`` in QEMU migration/ram.c: offset and flags as one 64-bit number."""

    zero_page_bytes: Annotated[int, Ge(0), About("Bytes sent for a page of zeros.", "bytes")] = 9
    """Page header and one fill byte (``save_zero_page`` in QEMU migration/ram.c)."""

    zero_scan_pages_s: Annotated[float, Gt(0), About("Pages that one thread checks for zeros in a second.", "1/s")] = (
        2.0e6
    )
    """Highest `pages_per_second` of the LordWicked series: 2.05 million."""

    resident_extra_mib: Annotated[
        float, Ge(0), About("Memory measured as used that is sent as zeros or not at all.", "MiB")
    ] = 0.0
    """Depends on how use is measured: resident size holds the hypervisor's own memory and pages of zeros that were
    touched. Calibrated as used memory less traffic of quiet guests."""

    resident_extra_boot_mib: Annotated[
        float, Ge(0), About("The same of a guest that was booted where it is and has not moved since.", "MiB")
    ] = 0.0
    """What firmware and boot touched and gave back stays resident, as zeros. Lab: 60 MiB more than migrated guests."""

    resident_extra_postcopy_mib: Annotated[
        float, Ge(0), About("The same of a guest that came to its host by post-copy.", "MiB")
    ] = 0.0
    """Post-copy fills memory page by page (``nhp_range`` in QEMU migration/postcopy-ram.c turns huge pages off),
    pre-copy by huge pages, whose rest is resident too. Lab: 15 MiB less than after pre-copy."""

    chunk_mib: Annotated[float, Gt(0), About("Memory whose dirty log is re-armed at once.", "MiB")] = 1024.0
    """2^18 pages of 4 KiB: ``clear_bitmap_shift`` in QEMU migration/migration.c."""

    prepare_s: Annotated[float, Ge(0), About("From the call to the first byte sent.", "s")] = 0.5
    """libvirt's Begin and Prepare, mostly the start of QEMU on the target: 0.5 to 0.6 s in the lab, where time_elapsed
    of an idle guest exceeds the transfer by that much. OpenStack adds seconds of its own."""

    prepare_rtts: Annotated[float, Ge(0), About("Round trips before the first byte.")] = 8.0
    """Lab at a round-trip time of 100 ms against the same cell at none: connections, Begin, Prepare, capabilities."""

    confirm_s: Annotated[
        float, Ge(0), About("From the guest running on the target to the return of the call.", "s")
    ] = 0.25
    """Lab: wall time of the call less libvirt's time_elapsed, 0.22 to 0.30 s over 20 migrations without latency."""

    confirm_rtts: Annotated[float, Ge(0), About("Round trips of libvirt's Finish and Confirm.")] = 2.5
    """Lab: the same difference at a round-trip time of 100 ms, 0.48 to 0.52 s."""

    switchover_ms: Annotated[
        float, Ge(0), About("Standstill of the guest apart from its data and round trips.", "ms")
    ] = 40.0
    """Middle of what production KVM shows for idle guests: 20 to 60 ms (KVM4NFV: 26 ms; Ruprecht et al., "VM live
    migration at scale", VEE 2018: median 50 ms over a fleet). QEMU alone needs 2 to 3 ms, libvirt the rest."""

    switchover_rtts: Annotated[float, Ge(0), About("Round trips while the guest stands still.")] = 3.0
    """Lab at a round-trip time of 100 ms: 390 ms more downtime than without, of which the socket takes some 100."""

    socket_rtts: Annotated[
        float, Ge(0), About("Those of them that a cap well below what the line carries takes away.")
    ] = 1.5
    """Beside what lies unsent in a socket then (`socket_share`). Lab at a round-trip time of 100 ms: 498 ms of downtime
    without a cap, 213 ms at half the line's rate, 230 ms at 0.7 of it, 196 ms at 0.3."""

    empty_share: Annotated[
        float, Gt(0), Le(1), About("Share of what the line carries up to which a cap keeps the socket empty.")
    ] = 0.75
    """The same runs: at 0.7 of the line's rate, some 0.8 of what it carried, one of eight had a full socket."""

    socket_share: Annotated[
        float, Ge(0), About("What lies unsent in a socket that fills its line, of what is on its way.")
    ] = 5.0
    """Linux gives a socket twice the memory of what is on its way (``tcp_sndbuf_expand`` in net/ipv4/tcp_input.c) and
    counts some 4.3 KiB for each segment of 1448 bytes: six times as much data, one of it on its way. data/lab-large:
    5 to 7."""

    socket_most_mib: Annotated[float, Ge(0), About("Most that one connection holds unsent.", "MiB")] = 4.0
    """``net.ipv4.tcp_wmem``, default maximum 4 MiB. data/lab-large, maximum 64 MiB: some 24 MiB."""

    socket_sample: Annotated[
        float, Ge(0), Le(1), About("Share of what sockets take while they fill that QEMU takes for its rate.")
    ] = 0.0
    """All of it where the source of QEMU 10 is right, and in data/lab-large: guests that are small for their downtime
    limit are stopped in the first half second, over lines of 40 and 100 ms. By default nothing, so that a longer way
    never shortens a migration."""

    zero_run: Annotated[
        float, Ge(0), Le(1), About("Share of a guest's zeros that lies in one run near the end of its memory.")
    ] = 0.0
    """By default data and zeros are evenly mixed. data/lab-large, a small Linux guest: 0.4."""

    tail_mib: Annotated[float, Ge(0), About("Data behind that run.", "MiB")] = 0.0
    """Linux takes memory for itself from the end (``memblock`` allocates top-down): 64 bytes for each page, what it
    was started from. data/lab-large: 11 MiB."""

    stop_lag_ms: Annotated[
        float, Ge(0), About("The guest runs on after QEMU's last look at its dirty pages.", "ms")
    ] = 1.0
    """Order of the time that ``vm_stop`` takes to reach all vCPUs; part of QEMU's fixed 2 to 3 ms."""

    device_mib: Annotated[float, Ge(0), About("State of the devices.", "MiB")] = 0.3
    """``vmstate`` of a q35 guest with virtio disk, network card and VGA, lab: 0.2 to 0.4 MiB; more with passthrough."""

    mirror_window_mib: Annotated[float, Gt(0), About("Data in flight of one disk mirror.", "MiB")] = 16.0
    """``MAX_IN_FLIGHT`` operations of ``MAX_IO_BYTES`` in QEMU block/mirror.c: 16 of 1 MiB."""

    mirror_lag_s: Annotated[float, Ge(0), About("Writes that the mirror still owes when the guest stops.", "s")] = 0.1
    """``BLOCK_JOB_SLICE_TIME`` in QEMU block/mirror.c: dirty blocks are looked for once a slice."""

    mirror_share: Annotated[
        float, Gt(0), Le(0.95), About("Share of the rate that guest writes may take from a mirror.")
    ] = 0.9
    """Assumption: beyond it the mirror is said not to converge and the guest's writes are taken as held back to it."""

    copy_mib_s: Annotated[
        float, Gt(0), About("What a host copies of disks from one of its datastores to another, all together.", "MiB/s")
    ] = 200.0
    """Assumption: between a hard disk (some 150) and a SATA SSD (some 500); from 50 to 2,000 is nothing unusual.
    A datastore whose write rate is known goes no faster than that. To be calibrated."""

    copy_s: Annotated[
        float, Ge(0), About("Of disks copied on their host, what takes time beside the data, start to switch.", "s")
    ] = 0.5
    """Making the volumes, starting the mirrors, switching over, and half of the second between two looks of the
    executor (`executor.hypervisor.libvirt_kvm`)."""

    pivot_ms: Annotated[
        float, Ge(0), About("Silence that a client sees while a guest's disk is switched to its copy.", "ms")
    ] = 20.0
    """The guest's vCPUs run on; QEMU lets its disk drain meanwhile (``mirror_exit_common`` in block/mirror.c). Order
    of a few writes to the disk."""

    throttle_trigger: Annotated[
        float, Gt(0), About("Dirtied, of what was sent meanwhile, from which vCPUs are slowed.")
    ] = 0.5
    """``throttle-trigger-threshold`` of QEMU, 50 %; twice (migration/ram.c, ``migration_trigger_throttle``)."""

    throttle_initial: Annotated[float, Gt(0), Le(0.99), About("First step of auto-converge, of all CPU time.")] = 0.2
    """``cpu-throttle-initial`` of QEMU, 20 %."""

    throttle_increment: Annotated[float, Gt(0), Le(0.99), About("Further steps of auto-converge.")] = 0.1
    """``cpu-throttle-increment`` of QEMU, 10 %."""

    throttle_most: Annotated[float, Gt(0), Le(0.99), About("Most that auto-converge takes.")] = 0.99
    """``max-cpu-throttle`` of QEMU, 99 %."""

    throttle_sync_s: Annotated[
        float, Ge(0), About("While the guest may be slowed, longest time without a look at its pages; 0: none.", "s")
    ] = 5.0
    """``CPU_THROTTLE_DIRTY_SYNC_TIMESLICE_MS`` of QEMU 9.2 and later (system/cpu-throttle.c), not in the first pass."""

    throttle_count_s: Annotated[float, Ge(0), About("Shortest time between two counts of dirty pages.", "s")] = 1.0
    """``migration_bitmap_sync`` in QEMU migration/ram.c: rates are renewed after more than 1000 ms."""

    discard_us: Annotated[float, Ge(0), About("Standstill for each page of post-copy's discard bitmap.", "us")] = 0.26
    """LordWicked series, post-copy asked for after 25 s of a 16-thread load: 73 ms for 1.1 GB sent and dirty again,
    against 4 ms when asked for at once."""

    postcopy_ms: Annotated[float, Ge(0), About("Standstill at the start of post-copy as QEMU counts it.", "ms")] = 4.0
    """Same series: `downtime` of post-copy at once, 3 to 6 ms."""

    postcopy_resume_s: Annotated[
        float, Ge(0), About("From the end of that until the guest runs on the target.", "s")
    ] = 0.1
    """Order of loading the device state and starting vCPUs; 0.25 to 0.4 s in the LordWicked series, where pages are
    asked for only that long after the source has stopped."""

    fault_share: Annotated[float, Ge(0), About("Pages asked for, of those written to before they were pushed.")] = 0.3
    """The push goes on from the page asked for (``get_queued_page`` in QEMU migration/ram.c), so neighbours arrive
    before they are touched; pages that are only read count as well. To be calibrated: 0.3 in the LordWicked series."""

    fault_ms: Annotated[float, Ge(0), About("Handling of one page asked for, apart from the round trip.", "ms")] = 0.25
    """Same series: `postcopy-latency` over a unix socket, 200 to 520 us, median 248."""

    fault_queue_mib: Annotated[
        float, Ge(0), About("Sent before a page asked for if it has no connection of its own.", "MiB")
    ] = 4.0
    """What waits in the buffers of the sending socket: ``net.ipv4.tcp_wmem``, default maximum 4 MiB."""

    fault_lead_mib: Annotated[
        float, Ge(0), About("Pushed before a page asked for, though that has a connection of its own.", "MiB")
    ] = 0.0
    """What the line's queue holds: where connections take turns, a frame of 64 KiB; else as much as waits there."""

    serve_pages: Annotated[float, Ge(0), About("Pages that a guest touches before it answers a client again.")] = 400.0
    """Its kernel, network stack and server, one after the other. Lab, a small Linux guest: some 400; a larger server
    needs more."""

    serve_written_pages: Annotated[float, Ge(0), About("Those of them that it writes to all the time.")] = 50.0
    """They are missing even after passes of pre-copy. Lab: about an eighth of all."""

    handover_lag_s: Annotated[
        float, Ge(0), About("Hybrid: from the end of its passes to the start of post-copy.", "s")
    ] = 0.1
    """Who watches looks 20 times a second (`executor`), asks libvirt, which asks QEMU; then a turn of 50 ms ends."""

    multifd_rtts: Annotated[float, Ge(0), About("Further round trips of the standstill with multifd.")] = 0.0
    """Channels are joined at the end; each has a window of its own to fill again. Lab: about 3; to be calibrated."""

    multifd_queue_mib: Annotated[
        float, Ge(0), About("What each channel of multifd still has to send when the guest stops.", "MiB")
    ] = 0.0
    """QEMU counts a page as sent once its channel has it. Lab: 1 to 2 MiB, socket buffers; to be calibrated."""

    libvirt_ms: Annotated[float, Ge(0), About("Part of `switchover_ms` that is not QEMU's.", "ms")] = 37.0
    """QEMU alone over a unix socket: 2 to 3 ms of 40."""

    libvirt_rtts: Annotated[
        float, Ge(0), About("Round trips of pre-copy's standstill that QEMU's own figure does not hold.")
    ] = 0.7
    """Lab at a round-trip time of 100 ms: libvirt's figure less QEMU's is 72 to 79 ms, against 8 to 62 without
    (data/lab-downtime). QEMU's ends when its return path says that the target has loaded all (``migration_completion``
    in migration/migration.c)."""

    qemu_rtts: Annotated[float, Ge(0), About("Round trips of post-copy's standstill that QEMU's own figure holds.")] = (
        1.0
    )
    """Assumption: it ends once the target has answered; measured without latency only."""

    client_ms: Annotated[float, Ge(0), About("What a client misses beyond libvirt's downtime.", "ms")] = 50.0
    """Lab: longest silence seen over TCP less libvirt's downtime, 23 to 67 ms, median 51; QEMU announces the guest at
    once and again after 50 ms (``announce-initial``)."""

    most_passes: Annotated[int, Ge(1), About("Passes after which a migration is said not to converge.")] = 1000
    """QEMU has no limit: the model's own patience, beyond every pass count measured (206 in the LordWicked series)."""

    full_passes: Annotated[bool, About("Whether each pass sends all that is dirty before it looks again.")] = False
    """QEMU sends until what is left fits the downtime limit; Xen and most published models finish the pass."""

    stop_pages: Annotated[
        int, Ge(0), About("Dirty pages below which the guest is stopped; 0: as many as the downtime limit allows.")
    ] = 0
    """Xen does not know a downtime limit (XEN)."""

    pull_rest: Annotated[bool, About("Whether what is left at the end of pre-copy follows the guest all the same.")] = (
        False
    )
    """vMotion: the target starts at once with the bitmap of what is missing (VMOTION). Modes with post-copy only."""

    stale_bitmap: Annotated[bool, About("Whether post-copy names missing pages by a bit for each page of memory.")] = (
        False
    )
    """vMotion: 32 KiB for each GiB. QEMU names runs of pages, see `discard_us`."""

    stun_share: Annotated[float, Gt(0), Lt(1), About("What a stunned guest may dirty, of what is sent meanwhile.")] = (
        0.5
    )
    """Assumption: passes then halve. vMotion's stun during page send holds vCPUs back so that dirtying is slower than
    sending; how much slower is not published."""

    linear_dirtying: Annotated[bool, About("Whether dirtying is taken as linear up to the size of the class.")] = False
    """Writers that go through their memory in order do so, and published models without page uniqueness."""


DEFAULT = Parameters()
"""KVM with libvirt on ordinary servers."""
