"""Chat templates by name, for checkpoints that bring none: Jinja sources as Hugging Face has them.

Each is the format that its model's documentation gives. `bos_token` and `eos_token` are the tokenizer's.
"""

# As OpenAI described its ChatML in 2023: a role and a text between two tokens.
CHATML = """\
{%- for message in messages -%}
{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|im_start|>assistant\\n' }}
{%- endif -%}
"""

# "Model Cards and Prompt formats: Llama 3" of Meta's documentation; a tool's messages as Llama 3.1 has them
LLAMA3 = """\
{{- bos_token or '<|begin_of_text|>' -}}
{%- for message in messages -%}
{%- set role = 'ipython' if message.role == 'tool' else message.role -%}
{{ '<|start_header_id|>' + role + '<|end_header_id|>\\n\\n' + message.content | trim + '<|eot_id|>' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif -%}
"""

# "Gemma formatting and system instructions" of Google's documentation: there are two roles, user and model; what the system
# says stands before the user's next words. What a tool returns is told as the user's words.
GEMMA = """\
{{- bos_token or '<bos>' -}}
{%- set told = namespace(system='') -%}
{%- for message in messages -%}
{%- if message.role == 'system' -%}
{%- set told.system = told.system + message.content | trim + '\\n\\n' -%}
{%- elif message.role == 'assistant' -%}
{{ '<start_of_turn>model\\n' + message.content | trim + '<end_of_turn>\\n' }}
{%- else -%}
{{ '<start_of_turn>user\\n' + told.system + message.content | trim + '<end_of_turn>\\n' }}
{%- set told.system = '' -%}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '<start_of_turn>model\\n' }}
{%- endif -%}
"""

# A prompt and its response with nothing around or between: the response ends with the tokenizer's token for the end of a text.
# Of several turns the next one follows that token; any other two messages (the system's and the user's, two of the user in a
# row) have a blank line between them.
PLAIN = """\
{%- for message in messages -%}
{{ message.content }}
{%- if message.role == 'assistant' -%}
{{ eos_token }}
{%- elif not loop.last and loop.nextitem.role != 'assistant' -%}
{{ '\\n\\n' }}
{%- endif -%}
{%- endfor -%}
"""

NAMED = {"chatml": CHATML, "llama3": LLAMA3, "gemma": GEMMA, "plain": PLAIN}
