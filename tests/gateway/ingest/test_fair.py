import threading

from joulemark_gateway.ingest.fair import FairQueue


def drained(queue):
    found = []
    while (item := queue.get(0)) is not None:
        found.append(item)
    return found


def test_owners_are_served_in_turn_whatever_one_of_them_sends():
    queue: FairQueue[int] = FairQueue(10)
    for i in range(10):
        assert queue.put("flood", i)
    for name in ("a", "b"):
        assert queue.put(name, 0)
    order = [owner for owner, _, _ in drained(queue)]
    assert order[:3] == ["flood", "a", "b"]
    assert order[3:] == ["flood"] * 9


def test_first_come_first_served_to_all_would_let_the_flood_through():
    """The control: in one plain queue the others wait for the whole flood."""
    plain = [("flood", i) for i in range(10)] + [("a", 0), ("b", 0)]
    assert [owner for owner, _ in plain][:3] != ["flood", "a", "b"]


def test_the_items_of_one_owner_keep_their_order_and_the_last_is_marked():
    queue: FairQueue[int] = FairQueue(3)
    for i in range(3):
        queue.put("a", i)
    assert drained(queue) == [("a", 0, False), ("a", 1, False), ("a", 2, True)]


def test_a_full_share_is_refused_to_its_owner_alone():
    queue: FairQueue[int] = FairQueue(1)
    assert queue.put("a", 0)
    assert not queue.put("a", 1)
    assert queue.put("b", 0)
    queue.get(0)
    assert queue.put("a", 2)


def test_a_waiting_reader_gets_what_comes():
    queue: FairQueue[int] = FairQueue(1)
    found = []
    reader = threading.Thread(target=lambda: found.append(queue.get(30)))
    reader.start()
    queue.put("a", 7)
    reader.join()
    assert found == [("a", 7, True)]
