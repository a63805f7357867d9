"""The guest's image, and a guest booted from it whose memory and disk are harmed on purpose."""

import gzip
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsim.errors import LabError
from executor.lab.build import compile
from executor.lab.dirty import Burst, Dirtying, Phase
from executor.lab.image import READY, guest_image, in_load_order, initramfs

PAGE = 4096
A_LONG_REST = Phase(length_s=600.0, rate_mib_s=0, window_mib=2)

needs_compiler = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")


@st.composite
def module_graphs(draw: st.DrawFn) -> dict[str, list[str]]:
    """Acyclic dependencies: a module needs only modules with a smaller number."""
    count = draw(st.integers(1, 8))
    return {
        f"m{n}": [f"m{k}" for k in draw(st.lists(st.integers(0, n - 1), unique=True))] if n else []
        for n in range(count)
    }


@given(module_graphs(), st.data())
def test_what_a_module_needs_comes_before_it(depends: dict[str, list[str]], data: st.DataObject) -> None:
    wanted = data.draw(st.lists(st.sampled_from(sorted(depends))))
    order = in_load_order(depends, wanted)
    assert set(wanted) <= set(order)
    assert len(order) == len(set(order))
    for position, module in enumerate(order):
        assert set(depends[module]) <= set(order[:position])


def test_a_module_built_into_the_kernel_is_left_out() -> None:
    assert in_load_order({"virtio_net": ["virtio", "failover"], "failover": []}, ["virtio_net"]) == (
        "failover",
        "virtio_net",
    )


def unpack(archive: bytes) -> dict[str, tuple[int, bytes, tuple[int, int]]]:
    """Read a "newc" archive: name to mode, content and device number."""
    entries, at = {}, 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        name_at = at + 110
        name = archive[name_at : name_at + fields[11] - 1].decode()
        content_at = -(-(name_at + fields[11]) // 4) * 4
        if name == "TRAILER!!!":
            return entries
        entries[name] = (fields[1], archive[content_at : content_at + fields[6]], (fields[9], fields[10]))
        at = -(-(content_at + fields[6]) // 4) * 4


def test_initramfs_holds_the_agent_and_the_modules_in_order(tmp_path: Path) -> None:
    agent, first, second = (tmp_path / name for name in ("agent", "z-first.ko", "a-second.ko"))
    for path, content in ((agent, b"program"), (first, b"1"), (second, b"22222")):
        path.write_bytes(content)
    packed = initramfs(agent, [first, second])
    assert packed == initramfs(agent, [first, second])
    entries = unpack(gzip.decompress(packed))
    assert entries["init"] == (0o100755, b"program", (0, 0))
    assert entries["modules/00.ko"][1] == b"1"
    assert entries["modules/01.ko"][1] == b"22222"
    assert entries["dev/console"] == (0o020600, b"", (5, 1))
    assert set(entries) == {"dev", "proc", "modules", "dev/console", "init", "modules/00.ko", "modules/01.ko"}


@needs_compiler
def test_a_program_is_compiled_once_for_each_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = tmp_path / "three.c"
    source.write_text("int main(void) { return 3; }\n")
    program = compile(source)
    made = program.stat().st_mtime_ns
    assert subprocess.run([program]).returncode == 3
    assert compile(source) == program
    assert program.stat().st_mtime_ns == made
    source.write_text("int main(void) { return 4; }\n")
    assert subprocess.run([compile(source)]).returncode == 4
    assert compile(source, ("-O0",)) != compile(source)


@needs_compiler
def test_the_compilers_words_are_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = tmp_path / "broken.c"
    source.write_text("int main(void) { return nothing_such; }\n")
    with pytest.raises(LabError, match=r"broken\.c.*(?s:.)*nothing_such"):
        compile(source)
    assert list((tmp_path / "cache" / "drsim").iterdir()) == []


def test_without_a_compiler_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    source = tmp_path / "three.c"
    source.write_text("int main(void) { return 3; }\n")
    with pytest.raises(LabError, match="Install gcc"):
        compile(source)


def mix(value: int) -> int:
    """splitmix64 (Steele, Lea, Flood, OOPSLA 2014, doi:10.1145/2660193.2660195), as the agent has it."""
    value = (value + 0x9E3779B97F4A7C15) % 2**64
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB % 2**64
    return value ^ (value >> 31)


class Guest:
    """A guest booted by hand, emulated; its memory and its disk are files that the test can reach into."""

    def __init__(self, folder: Path) -> None:
        names = ("disk", "memory", "console", "second")
        self.disk, self.memory, self.console, self.second = (folder / name for name in names)
        for path, size_mib in ((self.disk, 1), (self.memory, 160), (self.second, 2)):
            with path.open("wb") as file:
                file.truncate(size_mib << 20)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        image = guest_image()
        line = "console=ttyS0 quiet panic=-1 tsc=reliable no_timer_check mitigations=off"
        load = "lab.ip=10.0.2.15 lab.peer=10.0.2.2 lab.ws=32 lab.rate=20 lab.disk=4000,0"
        command = ["qemu-system-x86_64", "-accel", "tcg", "-machine", "q35,memory-backend=ram", "-m", "160"]
        command += ["-object", f"memory-backend-file,id=ram,size=160M,mem-path={self.memory},share=on"]
        command += ["-nodefaults", "-display", "none", "-no-reboot", "-serial", f"file:{self.console}"]
        command += ["-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", f"{line} {load}"]
        command += ["-drive", f"file={self.disk},format=raw,if=virtio,cache=none,aio=threads"]
        command += ["-drive", f"file={self.second},format=raw,if=virtio,cache=none,aio=threads"]
        command += ["-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:{self.port}-:7002"]
        command += ["-device", "virtio-net-pci,netdev=net"]
        self.process = subprocess.Popen(command)
        deadline = time.monotonic() + 60
        while not (self.console.exists() and READY in self.console.read_text(errors="replace")):
            assert self.process.poll() is None
            assert time.monotonic() < deadline, self.console.read_text(errors="replace")[-500:]
            time.sleep(0.05)
        self.line = socket.create_connection(("127.0.0.1", self.port)).makefile("rw")

    def ask(self, command: str) -> str:
        self.line.write(command + "\n")
        self.line.flush()
        return self.line.readline().strip()

    def stat(self) -> dict[str, int]:
        return {key: int(value) for key, value in (word.split("=") for word in self.ask("stat").split())}

    def counts(self, *, wipe: bool = False) -> dict[int, int]:
        """How often each page of the working set was written, as it stands in the guest's memory."""
        found = {}
        words = np.memmap(self.memory, dtype="<u8", mode="r+").reshape(-1, PAGE // 8)
        for page in np.flatnonzero((words[:, 0] < 1 << 20) & (words[:, 1] < 1 << 24) & (words[:, 2] > 0)):
            number, count, noise = (int(word) for word in words[page, :3])
            if mix(number + (count << 32)) == noise:
                found[number] = count
                if wipe:
                    words[page] = 0
        return found

    def close(self) -> None:
        self.line.close()
        self.process.kill()
        self.process.wait()


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[Guest]:
    booted = Guest(tmp_path)
    yield booted
    booted.close()


@pytest.mark.kvm
@pytest.mark.skipif(
    not (os.geteuid() == 0 and shutil.which("qemu-system-x86_64") and shutil.which("gcc") and shutil.which("apt-get")),
    reason="needs root, QEMU, gcc and apt",
)
def test_a_guest_finds_every_harm_to_its_memory_and_its_disk(guest: Guest) -> None:
    assert guest_image() == guest_image()
    # More blocks than the disk of 256 has, so that some are written again, and every page at least once.
    while (now := guest.stat())["disk"] < 300 or now["pages"] < 32 * 256:
        assert guest.process.poll() is None
        time.sleep(0.1)
    assert now["ws"] == 32
    assert now["rate"] == 20
    assert guest.ask("verify") == "bad=0 of 8192 disk_bad=0 of 256"
    assert [guest.ask("rate 0"), guest.ask("disk 0")] == ["ok", "ok"]
    seen = -1
    while (written := guest.stat()["disk"]) != seen:  # a block that is on its way would mend what is harmed below
        seen = written
        time.sleep(0.3)

    with guest.disk.open("r+b") as disk:
        disk.seek(7 * PAGE + 100)
        disk.write(b"harm")
        disk.seek(9 * PAGE)
        old = disk.read(PAGE)
        disk.seek(10 * PAGE)
        disk.write(old)  # a whole block, but not the one that belongs there
    assert guest.ask("verify") == "bad=0 of 8192 disk_bad=2 of 256"

    # A page of the working set starts with its number; what follows is noise, and the count of its writes is small.
    with guest.memory.open("r+b") as memory:
        while page := memory.read(PAGE):
            if int.from_bytes(page[:8], "little") == 4321 and 0 < int.from_bytes(page[8:16], "little") < 100:
                memory.seek(-PAGE + 3000, os.SEEK_CUR)
                memory.write(b"harm")
                break
        else:
            pytest.fail("page 4321 is not in the guest's memory")
    assert guest.ask("verify") == "bad=1 of 8192 disk_bad=2 of 256"

    assert [guest.ask("disk 4000"), guest.ask("net 500"), guest.ask("tick 1")] == ["ok"] * 3
    before = guest.stat()["disk"]
    while guest.stat()["disk"] < before + 400:  # on both disks now
        time.sleep(0.1)
    assert re.fullmatch(r"bad=1 of 8192 disk_bad=\d+ of (2[6-9]|[3-7])\d\d?", guest.ask("verify"))
    assert guest.ask("disk 0") == "ok"

    patterns = (
        Dirtying(pattern="hot", hot_mib=2, hot_share=0.75),
        Dirtying(pattern="zipf", zipf_exponent=1.0),
        Dirtying(pattern="phases", phases=(Phase(length_s=0.1, rate_mib_s=20, window_mib=2), A_LONG_REST)),
        Dirtying(burst=Burst(rate_mib_s=20, length_ms=100, every_ms=600_000)),
    )
    for dirtying in patterns:
        assert guest.ask("dirty 0 0") == "ok"
        guest.counts(wipe=True)  # what lies about of the set before, in memory that is free now
        before = guest.stat()["pages"]
        assert guest.ask(f"dirty 8 {0 if dirtying.burst else 40} {dirtying.text}") == "ok"
        time.sleep(0.8)
        assert guest.ask("rate 0") == "ok"
        assert guest.ask("verify").startswith("bad=0 of 2048")
        written = guest.stat()["pages"] - before
        counts = guest.counts()
        assert set(counts) >= set(range(2048))
        per_page = np.array([counts[number] for number in range(2048)])
        assert per_page.sum() == written > 0, dirtying
        match dirtying.pattern:
            case "hot":
                assert 0.70 < per_page[:512].sum() / written < 0.80
                assert np.ptp(per_page[:512]) <= 1
                assert np.ptp(per_page[512:]) <= 1
            case "zipf":
                # The most popular page takes 1 / H(2048) = 12 % of the writes, ten times as many as the tenth.
                ranked = np.sort(per_page)[::-1]
                assert 0.08 < ranked[0] / written < 0.16
                assert ranked[0] > 5 * ranked[9]
            case "phases":
                assert per_page[512:].sum() == 0
                assert written <= 2 * 256 * 2  # 100 ms at 20 MiB/s, and no more than twice that
            case _:
                assert written <= 2 * 256 * 2

    assert guest.ask("dirty 8 10 nonsense").startswith("error: expected sweep")
    assert guest.ask("dirty 1000 1").startswith("error: the guest has not enough free memory")
    assert guest.ask("dirty 16 0") == "ok"
    assert guest.ask("verify").startswith("bad=0 of 4096")
    assert guest.ask("nonsense").startswith("error: not understood")
    assert guest.ask("poweroff") == "ok"
    assert guest.process.wait(timeout=30) == 0
