"""CPUs as libvirt describes them: what the text of a guest or a host says, and what a named model stands for."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from threading import Lock
from typing import Any

from executor.hypervisor.libvirt_connect import load_libvirt

_HAS, _HAS_NOT = ("require", "force"), ("disable", "forbid")


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuText:
    """A ``<cpu>`` element of a host's capabilities or of a domain.

    Parameters
    ----------
    model : str
        Named model.
    vendor : str or None
        Its vendor; None if the text does not insist on one.
    has, has_not : frozenset of str
        Features beside those of the model; those of the model that it lacks.
    """

    model: str
    vendor: str | None = None
    has: frozenset[str] = frozenset()
    has_not: frozenset[str] = frozenset()

    @classmethod
    def of(cls, element: ET.Element | None) -> CpuText | None:
        """Read an element; None if there is none or it names no model, as ``host-passthrough`` does not.

        libvirt writes into the text of a running guest what QEMU really gave it, whichever mode was configured. Of a
        host the features stand there without a policy.
        """
        model = (element.findtext("model") or "").strip() if element is not None else ""
        if element is None or not model:
            return None
        told = [(each.get("name", ""), each.get("policy", "require")) for each in element.iterfind("feature")]
        return cls(
            model=model,
            vendor=(element.findtext("vendor") or "").strip() or None,
            has=frozenset(name for name, policy in told if policy in _HAS),
            has_not=frozenset(name for name, policy in told if policy in _HAS_NOT),
        )


class CpuMap:
    """libvirt's map of CPU models, read through its test driver, which runs inside this process.

    The daemons would tell the same, but each over its line, and for a guest's text only to who may also write.
    """

    def __init__(self) -> None:
        self._libvirt = load_libvirt()
        self._lock = Lock()
        self._connection: Any = None
        self._features: dict[tuple[str, str], frozenset[str] | None] = {}

    def names(self, arch: str) -> tuple[str, ...]:
        """Return the names of all models of an architecture; none if libvirt does not know it."""
        with self._lock:
            try:
                return tuple(self._open().getCPUModelNames(arch, 0))
            except self._libvirt.libvirtError:
                return ()

    def features(self, arch: str, model: str) -> frozenset[str] | None:
        """Return the features that a model stands for; None where libvirt here does not know it, or lists none."""
        with self._lock:
            if (arch, model) not in self._features:
                self._features[arch, model] = self._expand(arch, model) or None
            return self._features[arch, model]

    def close(self) -> None:
        """Let go of the test driver."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _open(self) -> Any:
        if self._connection is None:
            self._connection = self._libvirt.openReadOnly("test:///default")
        return self._connection

    def _expand(self, arch: str, model: str) -> frozenset[str]:
        cpu = ET.Element("cpu")
        ET.SubElement(cpu, "arch").text = arch
        ET.SubElement(cpu, "model").text = model
        flag = self._libvirt.VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES
        try:
            told = CpuText.of(ET.fromstring(self._open().baselineCPU([ET.tostring(cpu, "unicode")], flag)))
        except self._libvirt.libvirtError:
            return frozenset()
        return frozenset() if told is None else told.has
