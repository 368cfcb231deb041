"""A process that nothing ends, not even SIGKILL: init says which and why, goes on, and sees its end when it comes."""

from __future__ import annotations

from pathlib import Path

from daemon_init import MANAGER, UPSTART, SessionInit, wait_for
from hanging import Frozen, in_private_mounts, needs_mounts

pytestmark = needs_mounts


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def is_not_killed(tmp_path: Path) -> None:
    disk = Frozen(tmp_path / "disk", tmp_path / "image")
    init = None
    try:
        disk.freeze()
        jobs = {"stuck": f"kill timeout 1\nscript\necho text > {disk.path}/file\nend script\n"}
        init = SessionInit(tmp_path, jobs)
        client = init.client()
        client.start("stuck")
        pid = client.status("stuck")[1]["main"]
        wait_for(lambda: state_of(pid) == "D")
        client.stop("stuck", wait=False)
        line = f"stuck main process ({pid}) does not end by SIGKILL: it waits in the kernel (state D)\n"
        wait_for(lambda: line in init.text(), 30)
        assert client.status("stuck") == ("stop/killed", {"main": pid})
        init.client().call(MANAGER, UPSTART, "GetAllJobs")
        disk.go()
        client.wait_status("stuck", "stop/waiting")
        assert init.text().count("does not end by SIGKILL") == 1
    finally:
        disk.go()
        if init is not None:
            init.close()
        disk.unmount()


def test_a_process_that_waits_in_the_kernel_is_named_and_its_end_seen_when_it_comes(tmp_path: Path) -> None:
    in_private_mounts(lambda: is_not_killed(tmp_path))
