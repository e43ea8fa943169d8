"""The clock of the workers' batches, by a time that the test sets."""

from __future__ import annotations

from types import SimpleNamespace

from rllib_moe.sampling.stalled_workers import BatchClock


def test_who_is_late_is_named_once_and_pauses_do_not_count() -> None:
    time = SimpleNamespace(now=100.0)
    clock = BatchClock(lambda: time.now)
    with clock.going():
        assert clock.late([1, 2], 10) == []
        time.now += 8
        clock.note([1])
        assert clock.silence() == 0
    time.now += 1000
    with clock.going():
        time.now += 2
        assert (clock.silence(), clock.late([1, 2], 10)) == (2, [])  # 2 has kept us waiting for 10 s
        time.now += 1
        assert clock.late([1, 2], 10) == [2]
        assert clock.late([1, 2], 10) == []
        time.now += 8
        assert clock.late([1, 2], 10) == [1]
        time.now += 3
        assert clock.late([1, 2], 10) == [2]
        assert clock.silence() == 14


def test_waiting_for_the_learner_is_no_workers_delay() -> None:
    time = SimpleNamespace(now=0.0)
    clock = BatchClock(lambda: time.now)
    with clock.going():
        clock.note([1])
        time.now += 3
        with clock.standing():
            time.now += 1000
        time.now += 4
        assert (clock.silence(), clock.late([1], 10)) == (7, [])
        time.now += 4
        assert clock.late([1], 10) == [1]


def test_a_worker_that_was_away_has_all_its_time() -> None:
    time = SimpleNamespace(now=0.0)
    clock = BatchClock(lambda: time.now)
    with clock.going():
        clock.note([1, 2])
        time.now += 8
        assert clock.late([2], 10) == []  # 1 has failed
        time.now += 3
        assert clock.late([1, 2], 10) == [2]
        time.now += 10
        assert clock.late([1], 10) == []
        time.now += 1
        assert clock.late([1], 10) == [1]
