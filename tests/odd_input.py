"""Jobs as nobody should send them: what may arrive in the body of an INSERT through the API.

All is JSON as text, for no value of Python holds what it allows: escaped NULs, halves of surrogates, numbers of any
length. `<me>` and `<them>` stand for the ids of the sender and of another user, `<ax100>` for a hundred times an a.
"""

import json
import operator
import random
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any
from uuid import UUID

from hypothesis import example
from hypothesis import strategies as st

from consumer.fields import ALIASES, Fields
from jobs import Jobs
from postgres import Database

Body = dict[str, str]
"""The columns of a job, each with its value as JSON."""

HARBOUR = "harbour"
"""A word of every prompt that makes sense."""

MINE, THEIRS = UUID(int=1), UUID(int=2)
"""Pictures, one of the sender and one of another user."""

TAKEN = "already there"
"""An idempotency_key of another job of the sender."""

NOISE = random.Random(0).randbytes(3000).hex()
"""A text that cannot be packed, too long for an index."""

# Sizes and numbers are small, so that it takes no time to draw what makes sense after all.
SENSIBLE: Mapping[str, list[Any]] = {
    "prompt": [f"a {HARBOUR}", f"two {HARBOUR}s (fog:1.4), \u00e9 \U0001f600"],
    "negative_prompt": [HARBOUR, ""],
    "style": ["ink", "none"],
    "shot_type": ["wide"],
    "camera_angle": ["low"],
    "num_images": [1, 2, "2", 3.0, None],
    "seed": [0, 7, 2147483647, None],
    "steps": [1, 2],
    "num_inference_steps": [2],
    "sample_steps": [2],
    "guidance_scale": [1, 7.5],
    "sample_guide_scale": [7.5],
    "width": [64, 128],
    "height": [64, 96],
    "resolution": ["64x96"],
    "aspect_ratio": ["16:9", "2:3"],
    "quality": ["high"],
    "scheduler": ["euler", "unipc"],
    "reference_image_url": ["<me>/fox.png", "<them>/fox.png"],
    "reference_url": ["workspace-temp/<me>/fox.png"],
    "reference_strength": [0.5],
    "denoise_strength": [0.5],
    "reference_type": ["style"],
    "exact_copy_mode": [True, False],
    "start_reference_url": ["<me>/fox.png"],
    "end_reference_url": ["<me>/fox.png"],
    "first_frame": ["<me>/fox.png"],
    "last_frame": ["<me>/none.png"],
    "duration": [0.5, 1],
    "fps": [8, 16],
    "num_frames": [5, 9],
    "motion_intensity": [0.5],
    "compel_enabled": [True, False],
    "compel_weights": [f"({HARBOUR}:1.2), (fog:0.8)"],
    "lora": ["ink:0.5", [{"name": "ink", "strength": 0.5}]],
    "loras": ["ink"],
    "enhance": [True, False],
    "enhancement_model": ["none", "qwen_base"],
    "skip_enhancement": [True],
    "image_ids": [[str(MINE)], [str(THEIRS), str(MINE), str(MINE)], [str(MINE).upper(), None, 3, [str(MINE)]]],
}
assert SENSIBLE.keys() >= {*Fields.model_fields, *ALIASES}

WRITTEN = ("progress", "assets", "enhancement", "error_type", "job_type", "timestamp", "traceback", "user_id", "job_id")
"""Fields that the worker writes, or that look as if somebody might read them."""

TRICKS = [
    "'; drop table public.jobs; --", "$$; select pg_sleep(9); $$", "%s %(job_id)s {0} {prompt!r} ${HOME} `id`", "\\",
    '"', "../../../etc/passwd", "..\\..\\fox.png", "/etc/passwd", "file:///etc/passwd",
    "workspace-temp/<me>/../<them>/fox.png", "<me>/", "<me>/./fox.png", "<me>/fox.png\0", "<me>/\u202efox.png",
    "user-library/<them>/fox.png", "private/<me>/fox.png", "https://127.0.0.1:1/fox.png", "https://[::1]/fox.png",
    "https://169.254.169.254/latest", "https://a:b@10.0.0.1/fox.png", "https://", "https:", "https://[",
    "https://\udc80", "https://xn--/", "https://0x7f.1:99999/", "http://127.0.0.1/fox.png",
    "data:image/png;base64,iVBORw0KGgo=", "\0", "\0\0 \0", "\ud800", "\udfff\ud800", "\ufeff", "\u202e\u2066",
    "\x1b[31m\x07", "Z\u0351\u036b\u0343", "\u0663", "\uff11", "\u2028", "\r\n\t", "NaN", "Infinity", "-0", "1e309",
    "0x10", "1_0", "null", "true", "on", "[]", "{}", "(:1)", "(a:9)", "(((((a:1.2)", "(a:1.2)" * 7, "0x0", "64x65",
    "99999x1", "64X64", "1:0", "<script>", "ink:nan", "../ink", "ink:1:1", ",,,",
]  # fmt: skip
REPEATED = re.compile(r"<(\S+?)x(\d+)>")
LONG = [
    f"<{text}x{count}>"
    for text in ("a", "\u00e9", "\U0001f600", "(\u2003", "\0")
    for count in (101, 2001, 4001, 70_000)
]
NUMBERS = [
    "-1", "0", "1", "3.0", "0.5", "-0.0", "241", "2147483648", "9223372036854775808", "-9223372036854775809", "1e308",
    "1e309", "-1e400", "1e-400", "1e60000", "1e140000", "1E+1", "30e-1", "<9x5000>", "0.<3x5000>", "NaN", "Infinity",
    "-Infinity", "01", "+1", ".5", "0x1",
]  # fmt: skip
DEEP = [
    f"<{opening}x{depth}>{inner}<{closing}x{depth}>"
    for opening, inner, closing in (("[", "", "]"), ('{"a":', "1", "}"))
    for depth in (40, 1100, 6000, 100_000)
]

TEXTS = st.one_of(
    st.sampled_from(TRICKS), st.sampled_from(LONG), st.text(st.characters(exclude_categories=()), max_size=20)
)
PLAIN = st.one_of(
    TEXTS.map(json.dumps),
    st.sampled_from(NUMBERS),
    st.integers().map(str),
    st.floats().map(json.dumps),
    st.sampled_from(["null", "true", "false", "[]", "{}", '""']),
)


def array(values: list[str]) -> str:
    return f"[{', '.join(values)}]"


def object_(pairs: list[tuple[str, str]]) -> str:
    """A JSON object; of two pairs with the same name it has both."""
    return "{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in pairs) + "}"


ANYTHING = st.one_of(
    PLAIN,
    st.sampled_from(DEEP),
    st.recursive(
        PLAIN,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3).map(array), st.lists(st.tuples(TEXTS, inner), max_size=3).map(object_)
        ),
        max_leaves=6,
    ),
)
NAMES = st.one_of(st.sampled_from([*SENSIBLE]), st.sampled_from([*SENSIBLE]), st.sampled_from(WRITTEN), TEXTS)


def sensible(name: str) -> st.SearchStrategy[tuple[str, str]]:
    return st.sampled_from(SENSIBLE[name]).map(lambda value: (name, json.dumps(value)))


OBJECTS = st.builds(
    lambda known, odd: object_(known + odd),
    st.lists(st.sampled_from([*SENSIBLE]).flatmap(sensible), max_size=4),
    st.lists(st.tuples(NAMES, st.one_of(PLAIN, ANYTHING)), max_size=2),
)
PROMPTS = st.sampled_from([f"a {HARBOUR} at dawn", f"{HARBOUR}, \u043f\u043e\u0440\u0442 \u6e2f", "", None]).map(
    json.dumps
)
IDS = st.sampled_from([str(MINE), str(THEIRS), "<me>", "<them>"]).map(json.dumps)
KEYS = st.one_of(st.sampled_from([TAKEN, "<\u00e9x255>", NOISE]), TEXTS).map(json.dumps)


def bodies(columns: Collection[str], job_types: Collection[str]) -> st.SearchStrategy[Body]:
    """Jobs, mostly of these types, that mostly make some sense; `columns` are those that the table has."""
    usual = st.fixed_dictionaries(
        {
            "job_type": st.sampled_from([*sorted(job_types), "rv51_fast"]).map(json.dumps),
            "metadata": OBJECTS,
            "original_prompt": PROMPTS,
            "user_id": st.just('"<me>"'),
        }
    )
    odd = st.dictionaries(st.sampled_from(sorted(columns)), st.one_of(ANYTHING, IDS), max_size=2)
    keyed = st.fixed_dictionaries({}, optional={"idempotency_key": KEYS, "enhanced_prompt": PROMPTS})
    return st.builds(operator.or_, usual, st.one_of(st.just({}), keyed, odd))


ALWAYS = [
    *(f'{{"mine": {value}}}' for value in ("<9x5000>", "1e60000", *DEEP)),
    f'{{"image_ids": ["{THEIRS}"]}}',
    f'{{"image_ids": ["{MINE}", "{THEIRS}"], "num_images": 2}}',
    *(
        f'{{"reference_url": {json.dumps(path)}}}'
        for path in ("<them>/fox.png", "<me>/fox.png", "<me>/../<them>/fox.png")
    ),
    *(f'{{"prompt": {json.dumps(text)}}}' for text in ("\0", "\ud800", "<ax4001>", "<\U0001f600x2000>", "<ax70000>")),
    *(f'{{"guidance_scale": {value}}}' for value in ("1e309", '"NaN"', "true", "[]")),
]
"""Requests that are tried at all events."""


def tried(test: Callable[[Body], None]) -> Callable[[Body], None]:
    """A property with all of ALWAYS as examples."""
    for metadata in ALWAYS:
        body = {"job_type": '"sdxl_image_fast"', "metadata": metadata, "original_prompt": f'"a {HARBOUR}"'}
        test = example(body)(test)
    return test


def send(db: Database, user: UUID, them: UUID, body: Body, types: Mapping[str, str]) -> UUID:
    """Insert a job as PostgREST does it for `user`; `types` are those of the columns. Returns its id."""
    text = object_([*body.items()]).replace("<me>", str(user)).replace("<them>", str(them))
    text = REPEATED.sub(lambda found: found[1] * int(found[2]), text)
    names = ", ".join(body)
    record = ", ".join(f"{name} {types[name]}" for name in body)
    statement = (
        f"insert into public.jobs ({names}) select {names} from json_to_record(%s) as sent ({record}) returning id"
    )
    [[job_id]] = db.execute_as(user, statement, (text,))
    return job_id


def column_types(jobs: Jobs) -> dict[str, str]:
    """The columns of public.jobs and their types."""
    rows = jobs.run(
        "select attname, format_type(atttypid, atttypmod) as type from pg_attribute"
        " where attrelid = 'public.jobs'::regclass and attnum > 0 and not attisdropped"
    )
    return {row["attname"]: row["type"] for row in rows}
