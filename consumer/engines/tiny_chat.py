"""The `tiny` language model: a chat model with small random weights and its tokenizer, made in memory.

Its classes are those of Qwen, so the code that runs is the code that runs in earnest; it answers with a salad of words.
No file is read and no network is used.
"""
# ruff: noqa: PLC0415

from typing import Any

WORDS = (
    *("amber", "ancient", "blue", "bright", "calm", "clouds", "dawn", "deep", "distant", "dusk", "fields", "glass"),
    *("golden", "harbour", "hills", "lamp", "light", "mist", "moon", "old", "quiet", "rain", "river", "shadows"),
    *("silver", "slow", "snow", "soft", "stone", "storm", "street", "sunset", "tall", "tower", "trees", "warm", "wind"),
)
END, START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"

# In the form of ChatML.
TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def build() -> tuple[Any, Any]:
    """A `Qwen2ForCausalLM` in float32 on the CPU, the same weights in every process, and its `Qwen2Tokenizer`."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tokenizer = _tokenizer()
    # Large weights, because with the usual ones every answer to every prompt would be the same noise.
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=32768,
        initializer_range=0.2,
    )
    # Forked, because the engine must not reseed the generator that the rest of the process draws from.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Qwen2ForCausalLM(config).eval()
    known = tokenizer.get_vocab()
    said = {known[f"Ġ{word}"] for word in WORDS} | {known["Ċ"], known[TURN_END]}
    model.generation_config.update(
        eos_token_id=known[TURN_END],
        pad_token_id=known[END],
        suppress_tokens=[number for number in known.values() if number not in said],
        min_new_tokens=8,
    )
    return model, tokenizer


def _tokenizer() -> Any:
    """One token for each byte; the words are only ever written, never read."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Tokenizer

    pieces = [*sorted(ByteLevel.alphabet()), *(f"Ġ{word}" for word in WORDS), END, START, TURN_END]
    return Qwen2Tokenizer(
        vocab={piece: number for number, piece in enumerate(pieces)},
        merges=[],
        eos_token=TURN_END,
        pad_token=END,
        additional_special_tokens=[START],
        chat_template=TEMPLATE,
    )
