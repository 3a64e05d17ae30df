"""What the bridge concludes from what it hears and does not hear, by the clock."""

from grpc_bridge.availability import Absence, Availability, Patience

PATIENCE = Patience(silence=3, service=2, broker=6, reunion=4)


def serving(now: float = 0.0) -> Availability:
    availability = Availability(now, PATIENCE)
    availability.connected(now)
    availability.counted(1, now)
    availability.answered_ping(now, store=True)
    assert availability.absence is None
    return availability


def test_it_serves_only_once_the_service_has_answered() -> None:
    availability = Availability(0, PATIENCE)
    seen = [availability.absence]
    availability.connected(1)
    availability.counted(1, 1)
    seen.append(availability.absence)
    availability.answered_ping(2, store=True)
    seen.append(availability.absence)
    assert seen == [Absence.BROKER, Absence.ANSWERS, None]


def test_a_lost_broker_is_told_at_once_and_calls_are_refused_later() -> None:
    availability = serving()
    availability.disconnected(10)
    assert availability.absence is Absence.BROKER
    availability.tick(15.9)
    assert not availability.refusing
    availability.tick(16)
    assert availability.refusing
    assert availability.failure().name == "BrokerUnavailable"


def test_the_last_instance_leaving_is_told_at_once_and_calls_are_refused_soon() -> None:
    availability = serving()
    availability.counted(0, 10)
    assert availability.absence is Absence.SERVICE
    availability.tick(11.9)
    assert not availability.refusing
    availability.tick(12)
    assert availability.refusing
    assert availability.failure().name == "ServiceUnavailable"


def test_time_in_which_the_bridge_was_too_busy_to_listen_is_not_silence() -> None:
    availability = serving()
    availability.tick(2)
    availability.tick(8, late=5)
    assert availability.absence is None
    availability.tick(8.1)
    assert availability.absence is Absence.ANSWERS


def test_after_the_broker_came_back_the_service_has_time_to_find_it() -> None:
    availability = serving()
    availability.disconnected(10)
    availability.connected(13)
    availability.counted(0, 13)
    availability.tick(18.9)
    assert not availability.refusing
    availability.tick(19)
    assert availability.refusing


def test_a_service_that_listens_and_does_not_answer_is_away_as_well() -> None:
    availability = serving()
    availability.counted(1, 3)
    availability.tick(3)
    assert availability.absence is None
    availability.tick(3.1)
    assert availability.absence is Absence.ANSWERS
    availability.tick(6.1)
    assert availability.refusing


def test_any_answer_ends_a_silence() -> None:
    availability = serving()
    availability.tick(3.1)
    availability.answered(3.2)
    assert availability.absence is None


def test_the_last_answers_of_a_service_that_stops_do_not_make_it_serve() -> None:
    availability = serving()
    availability.counted(0, 10)
    availability.answered(10.1)
    availability.answered_ping(10.2, store=True)
    assert availability.absence is Absence.SERVICE


def test_calls_are_let_through_again_once_a_ping_is_answered() -> None:
    availability = serving()
    availability.counted(0, 10)
    availability.tick(12)
    availability.counted(1, 13)
    assert availability.refusing
    availability.answered_ping(13.1, store=True)
    assert (availability.absence, availability.refusing) == (None, False)


def test_while_only_the_store_is_away_the_service_is_asked_on() -> None:
    availability = serving()
    availability.answered_ping(1, store=False)
    assert availability.absence is Absence.STORE
    for now in range(1, 100):
        availability.answered_ping(now, store=False)
        availability.answered(now)
        availability.tick(now)
    assert (availability.absence, availability.refusing) == (Absence.STORE, False)


def test_a_service_that_falls_silent_with_its_store_away_is_away_itself() -> None:
    availability = serving()
    availability.answered_ping(1, store=False)
    availability.tick(4.1)
    assert availability.absence is Absence.ANSWERS


def test_every_change_is_told_and_nothing_else() -> None:
    availability = serving()
    told: list[tuple[Absence | None, bool]] = []
    availability.on_change(lambda: told.append((availability.absence, availability.refusing)))
    availability.counted(1, 1)
    availability.answered(1)
    availability.tick(2)
    availability.disconnected(3)
    availability.disconnected(4)
    availability.tick(9)
    availability.tick(10)
    availability.connected(11)
    availability.counted(1, 11)
    availability.answered_ping(12, store=True)
    assert told == [
        (Absence.BROKER, False),
        (Absence.BROKER, True),
        (Absence.ANSWERS, True),
        (None, False),
    ]
