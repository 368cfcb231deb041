"""What holds for every suite: no test sees the session it is started from, and none is timed by a busy machine."""

from __future__ import annotations

import os
import resource

from hypothesis import settings

settings.register_profile("suite", deadline=None)
settings.load_profile("suite")

for name in [name for name in os.environ if name.startswith("UPSTART_")]:
    del os.environ[name]

# A test that runs away ends with a MemoryError of its own, not with the machine. In bytes.
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, resource.getrlimit(resource.RLIMIT_AS)[1]))
