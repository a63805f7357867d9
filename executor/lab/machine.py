"""What the machine under the lab offers."""

from __future__ import annotations

from typing import Any

from drsim.errors import LabError
from executor.lab.doctor import examine

BINDINGS_REMEDY = "As root in the checkout: make kvm. Elsewhere: pip install 'drsim[kvm]'."


def bindings() -> Any:
    """Return the module ``libvirt``, silent on standard error.

    Raises
    ------
    LabError
        If it is not installed.
    """
    try:
        import libvirt
    except ImportError as error:
        raise LabError(f"libvirt's Python bindings are missing. {BINDINGS_REMEDY}") from error
    libvirt.registerErrorHandler(lambda context, error: None, None)
    return libvirt


def require() -> None:
    """Refuse to go on where something is missing.

    Raises
    ------
    LabError
        With all that is missing and what to do about it.
    """
    missing = [finding for finding in examine() if not finding.ok]
    if missing:
        raise LabError(
            "The lab cannot run here. " + " ".join(f"{each.name}: {each.says} {each.remedy}" for each in missing)
        )
