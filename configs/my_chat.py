"""Your own conversations, or prompts with their responses: a language model learns to answer as they do.

    cp configs/my_chat.py configs/helpdesk.py
    python -m tfft.plan --config=configs/helpdesk.py                look first: rows, lengths, time
    python -m tfft.train --config=configs/helpdesk.py --workdir=runs/helpdesk
    python -m tfft.predict --workdir=runs/helpdesk --prompt='My key does not turn.'
    python -m tfft.export --workdir=runs/helpdesk

Without copying, the variant names the file: python -m tfft.train --config=configs/my_chat.py:jsonl:talks.jsonl
A language model in a GGUF file needs the package gguf: pip install 'tfft[gguf]'
"""

from tfft.config import SMOLLM2, default_config


def get_config(variant: str = ""):
    config = default_config("causal_lm")
    config.name = "my_chat"

    config.data.train = variant or "jsonl:my.jsonl"
    config.data.messages_column = "messages"  # [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]
    # config.data.messages_column = ""        # or a prompt and its response:
    # config.data.prompt_column = "prompt"
    # config.data.response_column = "response"
    # config.data.context_column = "input"    # a text that follows the prompt where it is not empty
    config.data.validation = "10%"
    config.data.max_length = 512  # in tokens; of a longer conversation the end is cut off

    config.model.backbone = SMOLLM2
    # config.task.system = "You are the help desk of a bicycle shop."
    # config.task.template = "auto"      # the checkpoint's own; or plain, chatml, llama3, gemma, file:chat.jinja
    # config.task.learn = "responses"    # all that the assistant says; or "last", or "all"
    config.task.max_new_tokens = 128

    config.adaptation.method = "lora"  # "none" trains all weights, which want a lower rate: 5e-5
    config.train.global_batch_size = 16
    config.train.accumulation = 4  # on the memory of 4 rows; 1 where there is enough
    config.train.epochs = 3
    config.train.peak_learning_rate = 1e-4
    return config
