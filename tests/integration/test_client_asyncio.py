"""The client library on asyncio's loop and a real init: what it answers, what it tells, and that it is found again."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from daemon_init import SECONDS, SessionInit
from test_client_library import JOBS
from test_daemon_bus import Bus

from upstart.base import names
from upstart.client import errors, signals

pytest.importorskip("jeepney")
from upstart.client import aio, aiowatch


@pytest.fixture
def init(tmp_path: Path) -> Iterator[SessionInit]:
    init = SessionInit(tmp_path, JOBS)
    yield init
    init.close()
    assert "Internal error" not in init.text()


def run(what: Awaitable[Any]) -> None:
    """Run a test's body, and find what it left behind."""

    async def body() -> None:
        async with asyncio.timeout(4 * SECONDS):
            await what
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left:
            await asyncio.wait(left, timeout=SECONDS)
        assert not [task for task in left if not task.done()]

    asyncio.run(body())


async def error_of(call: Awaitable[object]) -> str:
    with pytest.raises(errors.DBusError) as caught:
        await call
    return caught.value.name


def test_jobs_and_instances_say_what_they_are(init: SessionInit) -> None:
    async def body() -> None:
        async with await aio.Init.open(init.address) as client:
            assert {await job.name() for job in await client.jobs()} == set(JOBS)
            job = await client.job("service")
            assert (await job.description(), await job.usage(), await job.emits()) == ("what runs", "SERVICE", ["done"])
            assert await job.start_on() == [["go"], ["ready", "X=1"], ["/AND"]]
            assert [await job.stop_on(), await job.instances(), await job.author(), await job.version()] == [
                [], [], "", ""
            ]  # fmt: skip
            instance = await job.start()
            assert [each.path for each in await job.instances()] == [instance.path]
            assert (await instance.name(), await instance.goal(), await instance.state()) == ("", "start", "running")
            processes = await instance.processes()
            assert [name for name, _ in processes] == ["main"]
            (status,) = await client.status("service")
            for each in (status, await instance.status("service")):
                assert (each.job, each.goal, each.state, each.processes) == ("service", "start", "running", processes)
            assert await client.awaited_by(["go"]) == [("service", True, "go", [])]
            assert await client.awaited(["ready"]) == [("ready", ["X=1"])]
            assert (await client.version()).startswith("init (upstart ")

    run(body())


def test_many_calls_are_on_their_way_at_once(init: SessionInit) -> None:
    async def body() -> None:
        async with await aio.Init.open(init.address) as client:
            job = await client.job("each")
            made = await asyncio.gather(*(job.start([f"NAME={number}"]) for number in range(20)))
            assert {await each.name() for each in made} == set(map(str, range(20)))
            assert (await job.instance(["NAME=3"])).path == made[3].path == (await job.instance_named("3")).path
            await job.restart(["NAME=3"])
            await made[3].restart()
            await job.stop(["NAME=3"])
            await client.stop_by_force(made[4])
            await asyncio.gather(*(each.stop() for each in made[5:]))
            assert [await each.name() for each in await job.instances()] == ["0", "1", "2"]
            assert await error_of(job.instance_named("3")) == errors.UNKNOWN_INSTANCE
            assert (await made[3].status("each")).state == "waiting"
            assert await error_of(client.job("nothing")) == errors.UNKNOWN_JOB
            assert await error_of(job.start(["NAME=0"])) == errors.ALREADY_STARTED
            await job.stop(["NAME=0"])
            assert await error_of(made[0].stop()) in (errors.ALREADY_STOPPED, errors.UNKNOWN_METHOD)
            assert {each.job async for each in client.all_status()} == set(JOBS)

    run(body())


def test_failures_have_their_names_and_reasons(init: SessionInit) -> None:
    init.write("upset", "start on upsetting\ntask\nexec false\n")

    async def body() -> None:
        async with await aio.Init.open(init.address) as client:
            assert await error_of((await client.job("failing")).start()) == errors.JOB_FAILED
            assert (await client.failure_reason("failing")).endswith("terminated with status 1")
            assert await client.keeps_ending("failing") == ""
            assert await error_of(client.emit("upsetting")) == errors.EVENT_FAILED
            await client.emit("upsetting", wait=False)
            for name in ("nul\0", "\ud800"):
                assert await error_of(client.job(name)) == errors.INVALID_ARGS
            assert await error_of(client.emit("go", [1])) == errors.INVALID_ARGS  # type: ignore[list-item]
            assert await client.configuration_errors() == []

    run(body())


def test_the_environment_and_the_priority(init: SessionInit) -> None:
    async def body() -> None:
        async with await aio.Init.open(init.address) as client:
            await client.set_env(["COLOUR=red", "SIZE=1"])
            await client.set_env(["COLOUR=blue"], replace=False)
            assert await client.get_env("COLOUR") == "red"
            assert {"COLOUR=red", "SIZE=1"} <= set(await client.list_env())
            await client.unset_env(["SIZE"])
            assert await error_of(client.get_env("SIZE")) == errors.INVALID_ARGS
            await client.reset_env()
            assert await error_of(client.get_env("COLOUR")) == errors.INVALID_ARGS
            await client.set_log_priority("debug")
            assert await client.log_priority() == "debug"
            await client.reload_configuration()
            await client.notify_disk_writeable()

    run(body())


async def until(watcher: aio.Watcher, what: Callable[[Any], object], seen: list[Any]) -> Any:
    async for told in watcher:
        seen.append(told)
        if what(told):
            return told
    raise AssertionError(seen)


def is_event(name: str) -> Callable[[Any], bool]:
    return lambda told: isinstance(told, signals.EventEmitted) and told.name == name


def test_signals_come_in_the_order_of_what_happens(init: SessionInit) -> None:
    async def body() -> None:
        seen: list[Any] = []
        async with aio.Watcher(init.address) as watcher:
            client = (await until(watcher, lambda told: isinstance(told, aio.Connected), seen)).init
            init.client().emit("at-once")
            await until(watcher, is_event("at-once"), seen)
            assert client is watcher.init and client is not None
            await (await client.job("task")).start()
            await client.emit("anything", ["KEY=value"])
            last = await until(watcher, is_event("anything"), seen)
            assert last.env == ["KEY=value"]
        states = [each.state for each in seen if isinstance(each, signals.StateChanged)]
        assert states[:2] == ["starting", "security-spawning"] and states[-1] == "waiting"
        kinds = [type(each) for each in seen]
        first = kinds.index(signals.InstanceAdded), kinds.index(signals.StateChanged)
        assert first[0] < first[1] < kinds.index(signals.InstanceRemoved)

    run(body())


def test_only_those_signals_come_that_are_wanted(init: SessionInit) -> None:
    async def body() -> None:
        seen: list[Any] = []
        async with aio.Watcher(init.address, signals=["EventEmitted"]) as watcher:
            client = (await until(watcher, lambda told: isinstance(told, aio.Connected), seen)).init
            await (await client.job("task")).start()
            await client.emit("anything")
            await until(watcher, is_event("anything"), seen)
        assert {type(each) for each in seen} == {aio.Connected, signals.EventEmitted}

    run(body())


def test_an_init_that_executes_itself_again_is_found_again(init: SessionInit) -> None:
    async def body() -> None:
        seen: list[Any] = []
        async with aio.Watcher(init.address) as watcher:
            client = (await until(watcher, lambda told: isinstance(told, aio.Connected), seen)).init
            pending = asyncio.ensure_future((await client.job("service")).start())
            await pending
            await asyncio.to_thread(init.restart)
            await until(watcher, lambda told: isinstance(told, aio.Lost), seen)
            assert await error_of(client.version()) == errors.DISCONNECTED
            await until(watcher, lambda told: isinstance(told, aio.Connected), seen)
            assert watcher.init is not None
            assert (await watcher.init.status("service"))[0].state == "running"
            await watcher.init.emit("afterwards")
            await until(watcher, is_event("afterwards"), seen)

    run(body())


def test_an_answer_that_never_comes_is_an_error_once_init_has_gone(init: SessionInit) -> None:
    init.write("held", "pre-start exec sleep 1000\nexec sleep 1000\n")

    async def body() -> None:
        client = await aio.Init.open(init.address)
        waiting = asyncio.ensure_future((await client.job("held")).start())
        await asyncio.sleep(0)
        await asyncio.to_thread(init.restart)
        assert await error_of(waiting) == errors.DISCONNECTED
        client.close()
        client.close()
        assert await error_of(client.version()) == errors.DISCONNECTED

    run(body())


def test_nobody_there_and_nobody_who_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = socket.socket(socket.AF_UNIX)
    silent.bind(str(tmp_path / "silent"))
    silent.listen()
    monkeypatch.setattr("upstart.client.aiolink._GREETING", 0.1)

    async def body() -> None:
        assert await error_of(aio.Init.open(f"{names.SESSION_ADDRESS}{os.getuid()}/0")) == errors.NO_SERVER
        assert await error_of(aio.Init.open(f"unix:path={tmp_path}/silent")) == names.TIMEOUT
        monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
        assert await error_of(aio.Init.open(bus="session")) == errors.NO_SERVER
        async with aio.Watcher(f"{names.SESSION_ADDRESS}{os.getuid()}/0") as watcher:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await watcher.__anext__()

    run(body())
    silent.close()


def test_who_takes_nothing_loses_the_connection_and_no_memory(
    init: SessionInit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aiowatch, "MOST", 10)

    async def body() -> None:
        async with aio.Watcher(init.address) as watcher:
            client = (await until(watcher, lambda told: isinstance(told, aio.Connected), [])).init
            for _ in range(30):
                await init_emit(init)
            seen: list[Any] = []
            lost = await until(watcher, lambda told: isinstance(told, aio.Lost), seen)
            assert lost.reason == "10 signals were not taken" and len(seen) == 11
            assert await error_of(client.version()) == errors.DISCONNECTED
            await until(watcher, lambda told: isinstance(told, aio.Connected), seen)

    run(body())


async def init_emit(init: SessionInit) -> None:
    await asyncio.to_thread(init.client().emit, "flood")


def test_on_a_bus_init_is_found_when_it_comes(
    init: SessionInit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = Bus(tmp_path)
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", bus.address)

    async def body() -> None:
        seen: list[Any] = []
        async with aio.Watcher(bus="session", signals=["EventEmitted"]) as watcher:
            async with await aio.Init.open(bus="session") as early:
                assert await error_of(early.version()) == errors.NAME_HAS_NO_OWNER
            async with await aio.Init.open(init.address) as private:
                await private.notify_dbus_address(bus.address)
            client = (await until(watcher, lambda told: isinstance(told, aio.Connected), seen)).init
            assert (await client.version()).startswith("init (upstart")
            await client.emit("anything")
            await until(watcher, is_event("anything"), seen)
            await asyncio.to_thread(init.restart)
            await until(watcher, lambda told: isinstance(told, aio.Lost), seen)
            await until(watcher, lambda told: isinstance(told, aio.Connected), seen)

    try:
        run(body())
    finally:
        bus.close()


def test_all_status_can_be_left_early(init: SessionInit) -> None:
    async def body() -> None:
        async with await aio.Init.open(init.address) as client, aclosing(client.all_status()) as found:
            async for status in found:
                assert status.job in JOBS
                break

    run(body())
