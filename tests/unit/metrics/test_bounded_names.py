"""A label has a bounded number of values; the rest share `other`."""

from headrace.domain.facts.bounded_names import OTHER, BoundedNames


def test_names_beyond_the_limit_are_other() -> None:
    names = BoundedNames(2)

    assert [names.admit(name) for name in ("a", "b", "c", "a")] == ["a", "b", OTHER, "a"]


def test_a_name_keeps_its_series_while_it_exists_although_earlier_names_appear() -> None:
    names = BoundedNames(2)
    names.update(["m", "n"])

    names.update(["a", "m", "n"])

    assert [names.admit(name) for name in ("a", "m", "n")] == [OTHER, "m", "n"]


def test_a_name_that_goes_makes_room_for_another() -> None:
    names = BoundedNames(2)
    names.update(["m", "n", "z"])

    names.update(["m", "z"])

    assert [names.admit(name) for name in ("m", "n", "z")] == ["m", OTHER, "z"]
