"""Every command in every state an instance can rest in has the replies, signals and log lines of 1.13.2, in order.

`dropin_lives.txt` holds what the original was heard to say, one scenario a line (`dropin_lives` says how to read it).
Where PEER names a built original, the same scenarios are also put to it, so that the file is known to be true.
"""

from __future__ import annotations

from pathlib import Path

import dropin
import dropin_lives
import pytest

FACTS = dict(
    line.split(": ", 1)
    for line in Path(__file__).with_name("dropin_lives.txt").read_text(encoding="utf-8").splitlines()
)

#: Scenarios that end otherwise on purpose: the last words of ours.
INTENDED = {
    # A service whose clean-up fails once would stay down: here its respawn goes on, and the log has the failure.
    "respawn/job/died:post-stop/step.exit 1": "J main process ended, respawning; "
    "J post-stop process (N) terminated with status 1; J main process (N) killed by TERM signal",
}
VARIANTS = list(dict.fromkeys(key.partition("/")[0] for key in FACTS))
INITS = ["", *filter(None, [dropin.PEER])]


@pytest.mark.parametrize("prefix", INITS, ids=["ours", "original"][: len(INITS)])
@pytest.mark.parametrize("variant", VARIANTS)
def test_commands_in_every_state(tmp_path: Path, variant: str, prefix: str) -> None:
    keys = [key for key in FACTS if key.startswith(variant + "/")]
    heard = dropin_lives.live(tmp_path, prefix, keys)
    for key in keys:
        if prefix or key not in INTENDED:
            assert f"{key}: {heard[key]}" == f"{key}: {FACTS[key]}"
        else:
            assert heard[key] != FACTS[key] and heard[key].endswith(INTENDED[key])
