"""Which response belongs to which call: by the id of the call, by its name, or in order."""

from collections.abc import Sequence

from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.tool_names import check_case, check_strings, objects
from gemma_finetune.data.tool_rows import as_object

KEYS = ("id", "name")  # of calls and responses: which belong together
InTurn = tuple[dict, str]  # a call or a response, and the turn that it is in, as messages name it


def match_responses(calls: list[dict], responses: Sequence[InTurn], where: str) -> list[dict]:
    """The response of each call, in the order of the calls: {"name", "response": an object}.

    calls, responses: as `tool_rows` reads them. A response belongs to the call with its id, or else
    to the first call with its name that has none yet, or else to the next. Rejection unless each
    call has one; `where` is the turn of the first response.
    """
    found: list[InTurn | None] = [None] * len(calls)
    for response, its_turn in _split_list(calls, responses):
        place = _place(calls, found, response)
        if place is None:
            said = "".join(f", {key} {response[key][:40]!r}" for key in KEYS if key in response)
            if not calls:
                said += (
                    "; calls are read from `tool_calls` and turns `function_call`, not from texts"
                )
            raise Rejection(
                "tool_response", f"{its_turn} has a response to no call before it{said}"
            )
        _check_name(response, calls, place, its_turn)
        found[place] = response, its_turn

    matched = []
    for call, answer in zip(calls, found, strict=True):
        if answer is None:
            raise Rejection("no_response", f"{where} lacks the response to {call['name'][:40]}")
        response, its_turn = answer
        matched.append({"name": call["name"], "response": as_object(response["response"])})
        check_strings(matched[-1], its_turn)
        for item in objects(matched[-1]["response"]):
            check_case(item, its_turn)
    return matched


def _check_name(response: dict, calls: list[dict], place: int, where: str) -> None:
    """Rejection for a response with the id of one call and the name of another."""
    name, others = response.get("name", ""), [call["name"] for call in calls]
    if name in others and name != others[place]:
        raise Rejection(
            "tool_response",
            f"{where} has the id of a call of {others[place][:40]}, and the name {name[:40]}",
        )


def _split_list(calls: list[dict], responses: Sequence[InTurn]) -> Sequence[InTurn]:
    """One list of results for several calls, as LLaMA-Factory has it, as a response each."""
    if len(responses) != 1 or len(calls) < 2:
        return responses
    (response, where), *_ = responses
    results = response["response"]
    if response.keys() != {"response"} or not isinstance(results, list):
        return responses
    if len(results) != len(calls):
        return responses
    return [({"response": result}, where) for result in results]


def _place(calls: list[dict], found: Sequence[InTurn | None], response: dict) -> int | None:
    """Which call a response belongs to; None for none."""
    open_places = [place for place, answer in enumerate(found) if answer is None]
    for key in KEYS:
        if key in response and any(key in call for call in calls):
            return next((p for p in open_places if calls[p].get(key) == response[key]), None)
    return open_places[0] if open_places else None
