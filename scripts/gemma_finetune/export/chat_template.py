"""Gemma's chat template in Jinja, as it ships: byte for byte what data/formatter.py renders for training.

Two texts, because two runtimes read them differently. transformers renders a conversation as a whole. LiteRT-LM keeps
one open and appends to it what the template adds to its last rendering; but that rendering ends with the model's
answer, whose `<end_of_turn>` the model wrote itself, and a line break behind it would belong to neither and be lost,
from the second turn on. So the line break that ends a turn stands in front of the next one in both, and transformers'
closes the last turn with its own.
"""

from gemma_finetune.config import END_OF_TURN, START_OF_TURN

# A `.task` has room for a (prefix, suffix) of each role only.
AFFIXES = {
    "user": (f"{START_OF_TURN}user\n", f"{END_OF_TURN}\n"),
    "model": (f"{START_OF_TURN}model\n", f"{END_OF_TURN}\n"),
}

LITERTLM_TEMPLATE = """\
{%- macro text(content) -%}
{%- if content is string -%}{{ content | trim }}
{%- else -%}{%- for part in content -%}{{ part['text'] | trim }}{%- endfor -%}{%- endif -%}
{%- endmacro -%}
{%- set system = text(messages[0]['content']) if messages[0]['role'] == 'system' else '' -%}
{%- set turns = messages[1:] if messages[0]['role'] == 'system' else messages -%}
{%- for message in turns -%}
{%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
{%- if role != ('user' if loop.index0 % 2 == 0 else 'model') -%}
{{ raise_exception('Turns must alternate user, assistant, user, ...') }}
{%- endif -%}
{%- if not loop.first -%}{{ '\\n' }}{%- endif -%}
{{ '<start_of_turn>' + role + '\\n' }}
{%- if loop.first and system -%}{{ system + '\\n\\n' }}{%- endif -%}
{{ text(message['content']) + '<end_of_turn>' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '\\n<start_of_turn>model\\n' }}{%- endif -%}
"""

# As Google's: transformers adds no BOS of its own to a rendered chat. LiteRT-LM does, from its start token.
CHAT_TEMPLATE = "{{ bos_token }}" + LITERTLM_TEMPLATE + "{%- if not add_generation_prompt -%}{{ '\\n' }}{%- endif -%}\n"
