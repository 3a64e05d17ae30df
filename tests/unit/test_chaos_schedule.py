"""What the nemesis does is a pure function of the seed."""

import itertools

import pytest

from chaos.schedule import CLOCK, CUT, FREEZE, FULL, KILL, KINDS, Fault, Targets, counted, plan

ROLES = {
    "service": ("service-1", "service-2"),
    "bridge": ("bridge-1", "bridge-2"),
    "rabbitmq": ("rabbitmq",),
    "subscriber": ("subscriber",),
    "postgresql": ("postgresql",),
}
LINKS = ("service to rabbitmq", "bridge to rabbitmq", "subscriber to rabbitmq", "service to postgresql")
TARGETS = Targets(ROLES, LINKS, disk=True)
SMALL = Targets({role: parts[:1] for role, parts in ROLES.items() if role != "postgresql"}, LINKS[:3], disk=False)


def test_the_same_seed_makes_the_same_schedule_and_another_one_another() -> None:
    assert plan(7, 600, TARGETS) == plan(7, 600, TARGETS)
    assert plan(7, 600, TARGETS) != plan(8, 600, TARGETS)


@pytest.mark.parametrize("seed", range(20))
def test_ten_minutes_hold_twenty_kills_three_of_each_part_and_every_other_fault(seed: int) -> None:
    faults = plan(seed, 600, TARGETS)
    kills = counted(faults, KILL, ROLES)
    assert sum(kills.values()) >= 20
    assert min(kills.values()) >= 4
    assert min(counted(faults, FREEZE, ROLES).values()) >= 3
    assert {fault.kind for fault in faults} == set(KINDS)


@pytest.mark.parametrize("targets", [TARGETS, SMALL])
@pytest.mark.parametrize("seconds", [20, 30, 60, 120])
def test_each_part_is_killed_in_a_short_run_too(seconds: float, targets: Targets) -> None:
    for seed in range(50):
        assert min(counted(plan(seed, seconds, targets), KILL, targets.roles).values()) >= 1


def test_a_run_that_is_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="too short"):
        plan(1, 3, TARGETS)


@pytest.mark.parametrize("seconds", [20, 600])
def test_faults_begin_after_a_healthy_while_and_end_before_the_run_does(seconds: float) -> None:
    for seed in range(20):
        for fault in plan(seed, seconds, TARGETS):
            assert seconds * 0.04 <= fault.at
            assert fault.until <= seconds * 0.85
            assert fault.seconds > 0 or fault.kind == CUT


def test_faults_on_the_same_thing_do_not_meet_and_those_on_others_do_sometimes() -> None:
    overlaps = 0
    for seed in range(20):
        faults = plan(seed, 600, TARGETS)
        for one, other in itertools.combinations(faults, 2):
            if one.at < other.until and other.at < one.until:
                overlaps += 1
                assert one.target != other.target
    assert overlaps > 20


def test_a_disk_that_cannot_be_filled_is_not_filled() -> None:
    assert not [fault for fault in plan(1, 600, SMALL) if fault.kind == FULL]


def test_the_clock_jumps_in_both_directions() -> None:
    jumps = [fault.amount for seed in range(10) for fault in plan(seed, 600, TARGETS) if fault.kind == CLOCK]
    assert min(jumps) < 0 < max(jumps)


def test_faults_are_counted_by_the_role_of_their_target() -> None:
    faults = [Fault(1, KILL, "service-2", 1), Fault(2, KILL, "service-1", 1), Fault(3, FREEZE, "bridge-1", 1)]
    roles = {"service": ROLES["service"], "bridge": ROLES["bridge"], "rabbitmq": ROLES["rabbitmq"]}
    assert counted(faults, KILL, roles) == {"service": 2, "bridge": 0, "rabbitmq": 0}
