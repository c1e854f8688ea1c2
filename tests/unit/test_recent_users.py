"""A user is alone while nobody else has asked for a while."""

from uuid import uuid4

from headrace.adapters.recent_users import RecentUsers

ADA, BOB, CYD = uuid4(), uuid4(), uuid4()


def test_a_user_is_alone_before_and_long_after_others() -> None:
    now = [0.0]
    users = RecentUsers(10.0, lambda: now[0])
    alone = []

    for user, seconds in ((ADA, 1), (ADA, 1), (BOB, 9), (ADA, 1), (ADA, 1), (BOB, 1), (CYD, 1), (BOB, 1)):
        users.note(user)
        alone.append(users.is_alone(user))
        now[0] += seconds

    assert alone == [True, True, False, False, False, False, False, False]
    now[0] = 100.0
    assert users.is_alone(ADA)
