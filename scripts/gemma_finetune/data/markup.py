"""The markup by which other models' templates separate turns: trained on, it would be plain text.

Only its place tells it from a text about it. It is markup if it is a piece that ends a turn at the
end of a text (of a question: right after its last word), one that begins a turn at the beginning of
a line, or one that begins a turn with the role and a line break. Code in backticks is left out.
A template of plain words, such as `Human: …` and `Assistant:`, is one if a question ends with the
name of who is to answer and nothing after it.
"""

import re
from collections.abc import Sequence

from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.roles import Turns, name_turn

_ANY = re.compile(
    r"<\||</?s>|\[/?INST\]|<｜|<(?:end_of|start_of|turn)|<</?SYS|<reserved_|<eo[mh]>"
    r"|<details type="
)
_ROLE = r"(?:system|user|assistant|model|human|gpt|bot|tool|function|ipython|developer|prompter)"
_BEGINS = re.compile(
    rf"(<\|im_start\|>{_ROLE}\n|<\|start_header_id\|>{_ROLE}<\|end_header_id\|>)"
    rf"|^[ \t]*(?:<s>[ \t]*)?(<\|im_start\|>\s*{_ROLE}\b|<\|im_sep\|>|<\|begin_of_text\|>"
    rf"|<\|(?:start_header_id|header_start|start_of_role)\|>\s*{_ROLE}"
    rf"|<</?SYS>>|<reserved_10[2-7]>|<\|start\|>\s*{_ROLE}|<\|turn>\s*{_ROLE}|<\|{_ROLE}\|>|<｜{_ROLE}｜>|<｜begin▁of▁sentence｜>"
    rf"|<\|(?:START_OF_TURN_TOKEN|USER_TOKEN|CHATBOT_TOKEN)\|>"
    rf"|<details type=\"(?:tool_calls|code_interpreter|reasoning)\""  # of Open WebUI's exports
    rf"|<\|channel\|>\s*(?:analysis|final|commentary)\b)",
    re.IGNORECASE | re.MULTILINE,
)
_INST = re.compile(r"\s*(?:<s>\s*)?(\[INST\])(?s:.*)\[/INST\]|(?s:.*)(\[/INST\])\s*\Z")
_ENDS = re.compile(
    r"(<\|(?:im_end|eot_id|eom_id|eot|eom|end|endoftext|end_of_text|end_of_turn|return|call"
    r"|END_OF_TURN_TOKEN|end_of_role|eos|end_of_sentence|stop|im_start|assistant|user|human)\|>"
    r"|<turn\|>|<｜end▁of▁sentence｜>|</s>|<reserved_10[2-7]>|<eo[mh]>)\s*\Z",
    re.IGNORECASE,
)
# The last line of a question in a template of plain words: the name of who is to answer.
_ANSWERER = re.compile(
    r"(?:(?:ai[ ])?assistant|ai|(?:chat)?bot|chatgpt|助手|助理|答)[ ]?[:：]", re.IGNORECASE
)
_ASKER = re.compile(
    r"^[ \t]*(?:(?:human|user|prompter|instruction|用户|人类)[ ]?[:：]|\[Round[ ]\d+\])",
    re.IGNORECASE | re.MULTILINE,
)
_ANSWER_HEADING = re.compile(
    r"###[ ]*(?:response|assistant|ai|bot|gpt|model|回答|回复|(answer|output|completion))"
    r"[ ]*[:：]?",
    re.IGNORECASE,
)
_HEADING = re.compile(r"^###[ ]*(?:instruction|input|question|human|user)[ ]*[:：]", re.I | re.M)
# A question for the rest of a chat, or for a text of its form, may end with a name, too.
_ASKS_FOR_THE_REST = re.compile(
    r"\b(?:complete|continue|finish|extend|write|extract|translate|next|reply)\b", re.IGNORECASE
)
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`", re.DOTALL)


def refuse_markup(turns: Turns, numbers: Sequence[int]) -> None:
    """Rejection if a text holds the markup of another model's template.

    numbers: of the turns in the row's own list.
    """
    for (role, text), number in zip(turns, numbers, strict=True):
        if role == "human" and (line := end_of_template(text)):
            raise Rejection(
                "foreign_markup",
                f"turn {number} ends as a prompt template (`{line}`); remove that line, or "
                "write the turns of a whole chat as `messages`",
            )
        if piece := find_markup(text, role == "human"):
            where = name_turn(role, number)
            raise Rejection(
                "foreign_markup",
                f"{where} holds {piece!r} of another model's chat template, which would be trained "
                "on as text; write the turns as `messages` without it (a whole `<|im_start|>` text "
                "as `text`), or put it in backticks if the text is about it",
            )


def find_markup(text: str, is_question: bool = False) -> str | None:
    """The first piece of another model's chat template that stands where a template has it."""
    if "<" not in text and "[" not in text:  # most texts: no need to search
        return None
    if not _ANY.search(text):
        return None
    plain = _CODE.sub("`code`", text) if "`" in text else text
    if begins := _BEGINS.search(plain) or _INST.match(plain):
        return next(piece for piece in begins.groups() if piece).strip()
    ends = _ENDS.search(plain)
    if not ends or (ends[1].lower() == "</s>" and _is_struck(plain)):
        return None
    is_asked_about = is_question and not plain[: ends.start()][-1:].strip()
    return None if is_asked_about else ends[1]


def end_of_template(question: str) -> str | None:
    """The last line of a question if it only says, in plain words, that the answer follows."""
    text = question.rstrip()
    line = text[text.rfind("\n") + 1 :].lstrip()
    if line == "###":  # OpenAI's old separator; around a text it stands twice
        return line if text.count("###") == 1 and len(text) > 3 else None
    if heading := _ANSWER_HEADING.fullmatch(line):
        return line if not heading[1] or _HEADING.search(text) else None
    if "USER: " in text and line.endswith(" ASSISTANT:"):  # Vicuna's, in one line
        return "ASSISTANT:"
    if not _ANSWERER.fullmatch(line):
        return None
    asker = _ASKER.search(text)
    before = text[: asker.start()] if asker else text
    is_template = asker or line.lower().startswith(("assistant", "ai assistant"))
    return line if is_template and not _ASKS_FOR_THE_REST.search(before) else None


def _is_struck(text: str) -> bool:
    """Whether `</s>` at the end closes an `<s>`, as in HTML. One pair around the whole text is of a
    template.
    """
    closed = text.count("</s>")
    return text.count("<s>") >= closed and not (closed == 1 and text.startswith("<s>"))
