"""Chat templates to test with: written for these tests after what the models' documentation says of their formats."""

# SmolLM2's way: a system message of its own where there is none.
DEFAULT_SYSTEM = ("{% for m in messages %}{% if loop.first and m['role'] != 'system' %}"
                  "{{ '<|im_start|>system\\nBe kind.<|im_end|>\\n' }}{% endif %}"
                  "{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
                  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")
# Llama 3.1's way: a date in the system message, which is always there; contents are trimmed.
DATED = """{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system = '' %}
{%- endif %}
{{- '<|start_header_id|>system<|end_header_id|>\\n\\n' }}
{{- 'Today Date: ' + strftime_now('%d %b %Y') + '\\n\\n' + system + '<|eot_id|>' }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
# Llama 2's and Mistral's way: turns must alternate; the system's message stands inside the last user's; answers end in eos.
BRACKETS = """{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}{% set turns = messages[1:] %}
{%- else %}{% set system = '' %}{% set turns = messages %}{% endif %}
{%- for message in turns %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('Roles must alternate user/assistant/user/assistant/...') }}
    {%- endif %}
    {%- if message['role'] == 'user' %}
        {%- if system and loop.index0 >= turns | length - 2 %}
            {{- '[INST] ' + system + '\\n\\n' + message['content'] + ' [/INST]' }}
        {%- else %}{{- '[INST] ' + message['content'] + ' [/INST]' }}{% endif %}
    {%- else %}
        {{- ' ' + message['content'] | trim + ' ' + eos_token }}
    {%- endif %}
{%- endfor %}
"""
# Qwen3's way: thoughts of answers before the last question are left out, later ones are written anew, empty ones too.
THINKING = """
{%- set last = namespace(user=-1) %}
{%- for message in messages %}{% if message.role == 'user' %}{% set last.user = loop.index0 %}{% endif %}{% endfor %}
{%- for message in messages %}
    {%- set content = message.content %}
    {%- if message.role == 'assistant' %}
        {%- set thought = '' %}
        {%- if '</think>' in content %}
            {%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > last.user and (loop.last or thought) %}
            {{- '<|im_start|>assistant\\n<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>assistant\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{% endif %}
{%- endif %}
"""
# DeepSeek R1's way: thoughts are always left out of answers, but a prompt opens one; the system's message has no mark.
OPENED_THOUGHT = ("{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] }}"
                  "{% elif m['role'] == 'user' %}{{ '<|User|>' + m['content'] }}{% else %}"
                  "{% set c = m['content'] %}{% if '</think>' in c %}{% set c = c.split('</think>')[-1] %}{% endif %}"
                  "{{ '<|Assistant|>' + c + '<|end|>' }}{% endif %}{% endfor %}"
                  "{% if add_generation_prompt %}{{ '<|Assistant|><think>\\n' }}{% endif %}")
# Alpaca's way, with nothing that ends an answer but a blank line; and marks for Hugging Face's own masks, which are not needed.
WORDED = """{% for message in messages -%}
{% if message.role == 'user' %}### Instruction:
{{ message.content }}

### Response:
{% elif message.role == 'assistant' %}{% generation %}{{ message.content }}{% endgeneration %}


{% else %}{{ message.content }}

{% endif %}
{%- endfor %}"""
ALL = {"DEFAULT_SYSTEM": DEFAULT_SYSTEM, "DATED": DATED, "BRACKETS": BRACKETS, "THINKING": THINKING,
       "OPENED_THOUGHT": OPENED_THOUGHT, "WORDED": WORDED}
