"""What must never be shown or written down: passwords in URLs."""

from __future__ import annotations

import re

SECRET_WORDS = ("password", "passwd", "passphrase", "secret", "token")
"""A parameter whose name holds one of these is one."""

_USER = re.compile(r"^((?:[a-z][\w+.-]*://)?+[^:@/?#]*:).*@", re.IGNORECASE)
_PARAMETER = re.compile(rf"(?<=[?&;])([^=&;]*(?:{'|'.join(SECRET_WORDS)})[^=&;]*)=[^&;#\s]*", re.IGNORECASE)


def masked(url: str) -> str:
    """Return a URL with stars for its passwords: that of its user, and parameters that are one by their name.

    One that is spelt wrongly, so that nothing can take it apart, rather loses too much than too little.
    """
    return _PARAMETER.sub(r"\1=***", _USER.sub(r"\1***@", url))
