"""Batches that came before the one they follow: how long they wait, and in which order they go."""

from joulemark_gateway.ingest.early import LOOK_S, WAIT_S, Early, EarlyBatches
from joulemark_gateway.ingest.floods import filters


def test_who_waits_goes_when_its_tree_has_grown_to_its_place():
    waiting: EarlyBatches[str] = EarlyBatches(10)
    assert not waiting
    for name, tree, at in (("c", "one", 30), ("b", "one", 20), ("x", "two", 5)):
        assert waiting.put("edge-1", name, Early(tree, at), 0.0)
    assert waiting.origins == {"one", "two"}
    assert list(waiting.due({"one": 10}, 0.1)) == []
    assert list(waiting.due({"one": 20}, 0.2)) == [("edge-1", "b")]
    assert list(waiting.due({"one": 40, "two": 9}, 0.3)) == [("edge-1", "c"), ("edge-1", "x")]
    assert not waiting


def test_who_waits_too_long_goes_all_the_same_in_the_order_of_places():
    waiting: EarlyBatches[str] = EarlyBatches(10)
    for name, at in (("c", 30), ("b", 20)):
        waiting.put("edge-1", name, Early("one", at), 0.0)
    assert list(waiting.due({}, WAIT_S - 0.01)) == []
    assert list(waiting.due({}, WAIT_S)) == [("edge-1", "b"), ("edge-1", "c")]


def test_of_one_agent_no_more_wait_than_its_share():
    waiting: EarlyBatches[int] = EarlyBatches(2)
    assert [waiting.put("edge-1", i, Early("one", i), 0.0) for i in range(3)] == [True, True, False]
    assert waiting.put("edge-2", 0, Early("two", 1), 0.0)


def test_all_agents_together_leave_room_for_what_they_wait_for():
    waiting: EarlyBatches[int] = EarlyBatches(2, 3)
    owners = ("edge-1", "edge-1", "edge-2", "edge-3")
    found = [waiting.put(owner, 0, Early(owner, 1), 0.0) for owner in owners]
    assert found == [True, True, True, False]
    assert list(waiting.due({"edge-1": 1}, 0.1)) == [("edge-1", 0)] * 2
    assert waiting.put("edge-3", 0, Early("edge-3", 1), 0.1)


def test_the_trees_are_looked_at_now_and_then_and_only_for_who_waits():
    waiting: EarlyBatches[int] = EarlyBatches(2)
    assert not waiting.is_time(0.0)
    waiting.put("edge-1", 0, Early("one", 1), 0.0)
    assert waiting.is_time(0.0)
    assert not waiting.is_time(LOOK_S / 2)
    assert waiting.is_time(LOOK_S)


def test_evidence_is_shared_and_what_is_live_goes_to_every_collector():
    for shut_out in ((), ("edge-2",)):
        found = filters(("edge-1", "edge-2"), shut_out, "collect")
        shared = {
            topic.rpartition("/")[2] for topic in found if topic.startswith("$share/collect/")
        }
        plain = {topic.rpartition("/")[2] for topic in found if not topic.startswith("$share/")}
        assert shared == {"batch", "sparse", "raw"}
        assert plain == {"live", "health"}
        assert not any("edge-2" in topic for topic in found)
