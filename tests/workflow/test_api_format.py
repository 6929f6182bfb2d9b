"""Promises of workflow/api_format.py: any other file is refused, at its line, with a hint."""

from __future__ import annotations

import json

import pytest
from fakes.workflows import text_to_video

from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.workflow.api_format import MAX_CHARACTERS, read_workflow


def refused(text: str) -> Problem:
    with pytest.raises(LtxflowError) as caught:
        read_workflow(text, "mine.json")
    return caught.value.problems[0]


def test_the_workflow_in_the_body_of_a_post_is_read() -> None:
    body = {"prompt": text_to_video(), "client_id": "x"}
    assert read_workflow(json.dumps(body), "x").graph == text_to_video()


def test_broken_json_is_reported_at_its_line() -> None:
    problem = refused('{\n "1": {,}\n}')
    assert (problem.span and problem.span.line, problem.code) == (2, "T020")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON"),
        ("[]", "not a workflow"),
        ("{}", "not a workflow"),
        ('"x"', "not a workflow"),
        ('{"1": 5}', '"1" is not a node'),
        ('{"1": {"class_type": "X"}}', '"inputs" of node "1"'),
        ('{"1": {"class_type": "X", "inputs": {}, "_meta": 5}}', '"_meta" of node "1"'),
        ('{"1": {"class_type": "X", "inputs": {"a": ["2", 0]}}}', 'linked to node "2"'),
        ('{"1": {"class_type": "X", "inputs": {"a": NaN}}}', "NaN is not JSON"),
        ('{"1": {"class_type": "X", "inputs": {}}, "1": {}}', '"1" occurs twice'),
        ("[" * 100_000, "nested too deep"),
        ("x" * (MAX_CHARACTERS + 1), "more than 8,388,608 characters"),
    ],
)
def test_another_file_is_refused(text: str, words: str) -> None:
    assert words in refused(text).message
