"""A language model of transformers: opened from a reference, asked with a prompt that cannot break out of its place,
and stopped in time."""
# ruff: noqa: PLC0415

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consumer.engines import tiny_chat
from consumer.engines.base import OnStep, Phase
from consumer.engines.checkpoint import HUB_ID, TINY, model_name
from consumer.engines.diffusion import guarded, silence_hub
from consumer.engines.templates import PROMPT, Template
from consumer.errors import EngineUnusableError, ModelUnusableError, OutOfMemoryError

if TYPE_CHECKING:
    import torch

# What Qwen recommends for its models.
SAMPLING = {"do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.05}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model wrote, as it is; `cut` where there was no room to end, `late` where there was no time."""

    text: str
    tokens: int
    cut: bool
    late: bool


def open_chat(model: str, dtype: "torch.dtype", *, chats: bool) -> tuple[Any, Any]:
    """(model, tokenizer) for a hub id, a folder or `tiny`, in RAM; `chats`: it must know how a chat is written.

    Only a hub id may use the network. Raises ModelUnusableError."""
    name = model_name(model)
    try:
        transformers = import_transformers()
        opened, tokenizer = tiny_chat.build() if model == TINY else _open(transformers, model, dtype)
        moved = guarded(lambda: opened.to(dtype))
    except EngineUnusableError:
        raise
    except OutOfMemoryError as error:
        raise ModelUnusableError(f"The model {name} does not fit into the machine's memory.") from error
    except Exception as error:
        raise ModelUnusableError(
            f"The model {name} could not be loaded as a language model with .safetensors weights, from a folder or the "
            f"hub ({type(error).__name__})."
        ) from error
    if chats and not tokenizer.chat_template:
        raise ModelUnusableError(f"The model {name} cannot chat: its tokenizer has no chat template.")
    return moved, tokenizer


def _open(transformers: Any, model: str, dtype: "torch.dtype") -> tuple[Any, Any]:
    folder = Path(model).expanduser()
    if not folder.is_dir() and not HUB_ID.fullmatch(model):
        raise FileNotFoundError
    # Never pickled weights, and never a model's own Python, because they can run code.
    where = {
        "pretrained_model_name_or_path": folder if folder.is_dir() else model,
        "local_files_only": folder.is_dir(),
        "trust_remote_code": False,
    }
    # First of all, because a tokenizer tries file after file where the hub is out of reach.
    config = transformers.AutoConfig.from_pretrained(**where)
    tokenizer = transformers.AutoTokenizer.from_pretrained(**where, config=config)
    if not _tokens(tokenizer, "a"):
        # Without its files, transformers makes an empty one and says nothing.
        raise FileNotFoundError
    opened = transformers.AutoModelForCausalLM.from_pretrained(
        **where, config=config, dtype=dtype, use_safetensors=True
    )
    return opened, tokenizer


def import_transformers() -> Any:
    """The transformers package, made silent. Raises ModelUnusableError where it cannot be imported."""
    try:
        import transformers
    except ImportError as error:
        missing = error.name or "transformers"
        raise ModelUnusableError(f"Prompts cannot be rewritten without {missing}: install the extra `gpu`.") from error
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    silence_hub()
    return transformers


def encode(tokenizer: Any, template: Template, prompt: str, *, chats: bool) -> list[int]:
    """`template` with `prompt` in its place, as tokens. Whatever the prompt spells, it holds no token of the markup."""
    if chats:
        text = tokenizer.apply_chat_template(template.chat(), tokenize=False, add_generation_prompt=True)
    else:
        text = template.completion()
    before, _, after = text.rpartition(PROMPT)
    markup = set(tokenizer.get_added_vocab().values())
    # In one line, because a line of its own would be the next question of a completion.
    own = [token for token in _tokens(tokenizer, " ".join(prompt.split())) if token not in markup]
    return [*_tokens(tokenizer, before), *own, *_tokens(tokenizer, after)]


def _tokens(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False).input_ids)


def ask(
    model: Any,
    tokenizer: Any,
    question: list[int],
    device: "torch.device",
    *,
    seed: int,
    most: int,
    seconds: float,
    one_line: bool,
    on_step: OnStep,
) -> Answer:
    """What `model` writes after `question`: at most `most` tokens, for at most `seconds`; `one_line`: up to its end.

    The same seed gives the same answer on the same kind of device. Raises OutOfMemoryError, EngineUnusableError,
    FloatingPointError, or lets StoppedError of `on_step` pass, which is called at the start and after each token."""
    import torch

    given, deadline = len(question), time.monotonic() + seconds
    late = False

    def stop(ids: "torch.Tensor", _scores: Any, **_: Any) -> "torch.Tensor":
        nonlocal late
        on_step((), ids.shape[1] - given, most, Phase.enhance)
        late = time.monotonic() > deadline
        ended = one_line and "\n" in tokenizer.decode(ids[0, given:]).lstrip()
        return torch.full((1,), late or ended, device=ids.device)

    def sound(_ids: "torch.Tensor", scores: "torch.Tensor") -> "torch.Tensor":
        # To sample from scores that overflowed would break a GPU for the whole process.
        if not scores.max().isfinite():
            raise FloatingPointError
        return scores

    def generate() -> list[int]:
        on_step((), 0, most, Phase.enhance)
        ids = torch.tensor([question], device=device)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            written: list[int] = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=most,
                pad_token_id=tokenizer.pad_token_id,
                logits_processor=[sound],
                stopping_criteria=[stop],
                **SAMPLING,
            )[0, given:].tolist()
            return written

    written = guarded(generate)
    text = tokenizer.decode(written, skip_special_tokens=True).lstrip()
    line = text.partition("\n")[0] if one_line else text
    ended = line != text or written[-1] in _ends(model)
    return Answer(line, len(written), cut=not ended and not late, late=late)


def _ends(model: Any) -> list[int]:
    end = model.generation_config.eos_token_id
    return end if isinstance(end, list) else [end]
