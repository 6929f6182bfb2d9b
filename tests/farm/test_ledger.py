"""What a film has cost: every prompt once, however it ended and whoever fetched it."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from fakes.comfyui import FakeComfy
from harness.studio import Studio, freeze, let_go, slow_but, until

from ltxflow.farm.ledger import KEPT, LEDGER, Ledger


def ledger(studio: Studio) -> Ledger:
    return Ledger(studio.folder / ".ltxflow" / LEDGER)


def lines(studio: Studio) -> list[dict[str, object]]:
    return [json.loads(line) for line in ledger(studio).path.read_text().splitlines()]


def test_every_prompt_of_a_build_is_entered_once(studio: Studio, server: FakeComfy) -> None:
    ran = studio.build(server)
    found = ledger(studio).read()
    assert found.runs == 3
    assert list(found.by_server) == [server.url]
    assert round(found.gpu_s, 6) == round(ran.events("run-finished")[0]["gpu_s"], 6) > 0
    assert {line["outcome"] for line in lines(studio)} == {"done"}
    assert studio.build(server).events("run-finished")[0]["gpu_s"] == 0  # nothing was rendered
    assert ledger(studio).read() == found


def test_what_failed_was_paid_for_too(studio: Studio, server: FakeComfy) -> None:
    server.misbehave.oom(times=1)
    studio.write("a")
    assert studio.build(server).code == 0
    assert [line["outcome"] for line in lines(studio)] == ["failed", "done"]
    assert len({line["prompt_id"] for line in lines(studio)}) == 2


def test_a_prompt_that_the_next_build_fetches_is_entered_then(studio: Studio) -> None:
    with FakeComfy(seconds=slow_but("s-z;")) as server:
        process = studio.write("a").start(server)
        freeze(server, 1)
        process.kill()
        studio.ended(process, server)
        assert ledger(studio).read().runs == 0
        let_go(server)
        assert studio.build(server).code == 0
        assert [line["outcome"] for line in lines(studio)] == ["done"]


def test_a_prompt_that_is_cancelled_midway_was_paid_for_so_far(studio: Studio) -> None:
    with FakeComfy(seconds=slow_but("s-a;")) as server:
        process = studio.start(server)
        freeze(server, 2, waiting=1)
        until(process, "action-finished", "s/a@1")
        process.send_signal(signal.SIGINT)
        assert studio.ended(process, server).code == 130
        assert [line["outcome"] for line in lines(studio)] == ["done", "cancelled"]
        let_go(server)


def test_a_film_older_than_its_ledger_begins_with_what_its_takes_took(studio: Studio, server: FakeComfy) -> None:
    studio.build(server)
    before = ledger(studio).read()
    ledger(studio).path.unlink()
    studio.write("a", "b", "c", "d").build(server)
    found = ledger(studio).read()
    assert found.runs == 4
    assert found.gpu_s >= before.gpu_s


def test_a_torn_or_foreign_line_costs_nothing(tmp_path: Path) -> None:
    own = Ledger(tmp_path / LEDGER)
    own.add("1", "clip:s/a@1", "http://one", 2.5, "done")
    whole = own.path.read_text()
    own.path.write_text(
        whole
        + '{"server":"http://one","gpu_s":NaN}\n{"server":"x","gpu_s":-4}\n{"server":"x","gpu_s":true}\n[]\nnull\n'
        + '{"server":3,"gpu_s":1}\n{"server":"x","gpu_s":1,"runs":"2"}\n'
        + whole[: len(whole) // 2]
    )
    assert own.read().by_server == {"http://one": 2.5}


def test_a_prompt_that_is_settled_twice_counts_once(tmp_path: Path) -> None:
    own = Ledger(tmp_path / LEDGER)
    for _ in range(2):
        own.add("1", "clip:s/a@1", "http://one", 2.5, "done")
    assert own.read().runs == 1


def test_old_lines_are_summed_up_and_the_sum_stays(tmp_path: Path) -> None:
    own = Ledger(tmp_path / LEDGER)
    for number in range(2 * KEPT + 10):
        own.add(str(number), "clip:s/a@1", f"http://{number % 2}", 0.5, "done")
    before = own.read()
    own.compact()
    assert own.read() == before
    assert len(own.path.read_text().splitlines()) == KEPT + 2
    own.compact([("clip:s/a@1", "http://0", 5.0)])  # only a film without a ledger begins with its takes
    assert own.read() == before
