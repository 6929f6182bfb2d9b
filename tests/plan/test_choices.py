"""Promises of plan/choices.py: one choice for a whole film, the best that one server has whole."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from ltxflow.models.load import load_profile
from ltxflow.models.profile import Profile
from ltxflow.plan.choices import Files, ResolvedChoice, choose, combinations

ROLES = ("checkpoint", "text_encoder", "distilled_lora")


@pytest.fixture(scope="module")
def profile() -> Profile:
    return load_profile("ltx2.3-22b")


def having(profile: Profile, **precisions: str) -> Mapping[str, list[str]]:
    """Return folder → files of a server that has these precisions, each "fp8" or "fp8 bf16", of roles."""
    files: dict[str, list[str]] = {}
    for role, has in precisions.items():
        model = profile.models[role]
        files.setdefault(model.folder, []).extend(model.weights[precision][0] for precision in has.split())
    return files


def chosen(
    profile: Profile,
    servers: Mapping[str, Mapping[str, list[str]]],
    fixed: Mapping[str, str] | None = None,
    roles: tuple[str, ...] = ROLES,
) -> ResolvedChoice:
    """What is chosen of these servers; the roles in `fixed` are not open."""
    needed = {role: (fixed or {}).get(role, profile.models[role].order[0]) for role in roles}
    is_open = set(roles) - set(fixed or {})
    return choose(profile, needed, is_open, {name: _listing(files) for name, files in servers.items()})


def _listing(files: Mapping[str, list[str]]) -> Files:
    return lambda folder: files.get(folder, [])


def test_each_role_is_the_first_that_the_server_has_in_the_profile_s_order(profile: Profile) -> None:
    order = {role: profile.models[role].order for role in ROLES}
    assert (order["checkpoint"][:2], order["distilled_lora"][0]) == (("fp8", "bf16"), "bf16")
    server = having(profile, checkpoint="bf16 fp8", text_encoder=order["text_encoder"][1], distilled_lora="rank-111")
    found = chosen(profile, {"a": server})
    assert found == ResolvedChoice(
        {"checkpoint": "fp8", "text_encoder": order["text_encoder"][1], "distilled_lora": "rank-111"}, ("a",)
    )
    assert found.is_complete


def test_parts_of_two_servers_are_never_put_together(profile: Profile) -> None:
    encoder = profile.models["text_encoder"].order[0]
    one = having(profile, checkpoint="fp8", text_encoder=encoder)
    two = having(profile, checkpoint="bf16", text_encoder=encoder, distilled_lora="bf16")
    found = chosen(profile, {"one": one, "two": two})
    assert (found.weights["checkpoint"], found.servers) == ("bf16", ("two",))


def test_the_best_server_decides_and_those_that_have_just_that_are_used(profile: Profile) -> None:
    encoder = profile.models["text_encoder"].order[0]
    parts = {"text_encoder": encoder, "distilled_lora": "bf16"}
    servers = {
        "worse": having(profile, checkpoint="bf16", **parts),
        "best": having(profile, checkpoint="fp8", **parts),
        "both": having(profile, checkpoint="bf16 fp8", **parts),
    }
    found = chosen(profile, servers)
    assert (found.weights["checkpoint"], found.servers) == ("fp8", ("best", "both"))


def test_the_profile_s_first_role_decides_first(profile: Profile) -> None:
    order = profile.models["text_encoder"].order
    servers = {
        "encoder": having(profile, checkpoint="bf16", text_encoder=order[0], distilled_lora="bf16"),
        "checkpoint": having(profile, checkpoint="fp8", text_encoder=order[1], distilled_lora="rank-111"),
    }
    assert chosen(profile, servers).servers == ("checkpoint",)


def test_what_is_written_is_not_chosen_and_servers_without_it_are_not_used(profile: Profile) -> None:
    encoder = profile.models["text_encoder"].order[0]
    servers = {
        "fp8": having(profile, checkpoint="fp8", text_encoder=encoder, distilled_lora="bf16"),
        "bf16": having(profile, checkpoint="bf16", text_encoder=encoder, distilled_lora="rank-111"),
    }
    found = chosen(profile, servers, {"checkpoint": "bf16"})
    assert found == ResolvedChoice({"text_encoder": encoder, "distilled_lora": "rank-111"}, ("bf16",))


def test_only_what_clips_need_is_asked_of_a_server(profile: Profile) -> None:
    encoder = profile.models["text_encoder"].order[0]
    server = having(profile, checkpoint="fp8", text_encoder=encoder)
    assert chosen(profile, {"a": server}).servers == ()
    assert chosen(profile, {"a": server}, roles=("checkpoint", "text_encoder")).servers == ("a",)


def test_where_no_server_has_all_it_is_what_they_have(profile: Profile) -> None:
    one, two = having(profile, checkpoint="bf16"), having(profile, checkpoint="fp8", distilled_lora="rank-111")
    found = chosen(profile, {"one": one, "two": two})
    assert found == ResolvedChoice({"checkpoint": "bf16", "distilled_lora": "rank-111"}, ())
    assert not found.is_complete


def test_without_servers_nothing_is_chosen(profile: Profile) -> None:
    assert chosen(profile, {}) == ResolvedChoice({}, ())


def test_the_order_of_servers_does_not_matter(profile: Profile) -> None:
    encoder = profile.models["text_encoder"].order[0]
    one = having(profile, checkpoint="bf16", text_encoder=encoder, distilled_lora="bf16")
    two = having(profile, checkpoint="fp8", text_encoder=encoder, distilled_lora="rank-111")
    assert chosen(profile, {"1": one, "2": two}) == chosen(profile, {"2": two, "1": one})


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        ([], [{}]),
        (["stages"], [{"stages": 2}, {"stages": 1}]),
        (["quality"], [{"quality": "distilled"}, {"quality": "full"}]),  # never a preview: it is a stand-in
        (["stages", "quality"], [{"quality": q, "stages": s} for q in ("distilled", "full") for s in (2, 1)]),
    ],
)
def test_qualities_are_tried_in_two_stages_first(
    profile: Profile, parts: list[str], found: list[dict[str, object]]
) -> None:
    assert combinations(profile, parts) == found
