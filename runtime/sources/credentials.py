"""Camera addresses carry passwords; what is shown of them does not."""

from __future__ import annotations

import re

# Up to the last @ before a blank, a bracket or the next address: a password may hold @, : and /.
_USER = re.compile(r"(?<=://)(?:(?!://)[^\s\"<>])*@")
# The same where the scheme is mistyped, as in rtsp:/me:secret@host.
_USER_ALONE = re.compile(r"[^\s\"'=:/@<>]+:(?!//)[^\s\"<>]*@")
# name=value and name="value", in addresses and in GStreamer pipelines.
_SECRET = re.compile(
    r"(?i)\b([\w-]*(?:passw(?:or)?d|pwd|passphrase|token|secret|api-?_?key|user-pw|proxy-pw)"
    r"|pass|pw|auth|user|username|user-id|login)=(\"[^\"]*\"|[^\s&;!\"']+)"
)


def masked(text: str) -> str:
    """`text` with what could be a user name, a password or a token replaced by `***`.

    Rather too much than too little: an address with an @ in its path loses its host.
    """
    without_users = _USER_ALONE.sub("***@", _USER.sub("***@", text))
    return _SECRET.sub(r"\1=***", without_users)
