"""What ``expect`` has init wait for, and for how long: as the engine, who follows daemons, and who explains have it."""

from __future__ import annotations

#: What each word behind ``expect`` has a main process do.
EXPECTED = {"stop": "stop itself with SIGSTOP", "fork": "fork once", "daemon": "fork twice"}
#: Seconds for which that is waited for; then the job counts as running all the same.
EXPECT_SECONDS = 10
