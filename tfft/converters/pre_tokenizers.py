"""How byte-level tokenizers of language models cut a text into words, as their tokenizer.json states it. No TensorFlow."""

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
# Name -> the regular expression of its words. "smollm" takes each digit alone first.
PATTERNS = {"gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
            "llama3": LLAMA3, "qwen2": LLAMA3.replace("{1,3}", "")}
PATTERNS["smollm"] = PATTERNS["gpt2"]
# llama.cpp's names (tokenizer.ggml.pre)
OF_GGUF = {"default": "gpt2", "gpt-2": "gpt2", "smollm": "smollm", "llama-bpe": "llama3", "qwen2": "qwen2"}


def stated(pattern: str) -> dict:
    """The entry pre_tokenizer of tokenizer.json."""
    bytes_alone = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    whole = {**bytes_alone, "use_regex": True}
    if pattern == "gpt2":
        return whole
    first = {"type": "Digits", "individual_digits": True} if pattern == "smollm" else {
        "type": "Split", "pattern": {"Regex": PATTERNS[pattern]}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [first, whole if pattern == "smollm" else bytes_alone]}


def pattern_of(entry: dict | None) -> str | None:
    """The pattern that an entry pre_tokenizer states; None where it is another."""
    found = _meaning(entry)
    return next((name for name in PATTERNS if _meaning(stated(name)) == found), None)


def _meaning(entry: dict | None) -> list[tuple]:
    """What of an entry decides about words: two that say the same are equal."""
    parts = (entry or {}).get("pretokenizers", [entry or {}])
    return [(part.get("type"), part.get("individual_digits", False), part.get("add_prefix_space", False),
             part.get("use_regex", True), part.get("pattern", {}).get("Regex"), part.get("behavior"),
             part.get("invert", False)) for part in parts]
