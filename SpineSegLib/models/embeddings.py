"""Embeddings of texts for networks that are guided by one: stored as files, made by any encoder of texts.

A file is JSON: ``{"texts": […], "encoder": "…", "vector": […]}``. It lies beside the cards, its name begins with an
underscore, and a card names it as an argument of its network: ``"text": {"embedding": "_file.json"}``. To make one with
a CLIP-like encoder, such as MedCLIP's or OpenCLIP's, hand its function to `pooled`::

    import open_clip
    from SpineSegLib.models.embeddings import pooled, write_embedding

    model, _, _ = open_clip.create_model_and_transforms("ViT-B-32", pretrained="…")
    tokenise = open_clip.get_tokenizer("ViT-B-32")
    texts = ["spinous processes of the cervical vertebrae", …]
    vector = pooled(lambda texts: model.encode_text(tokenise(texts)).detach().numpy(), texts)
    write_embedding("_clip.json", vector, texts=texts, encoder="OpenCLIP ViT-B-32")
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from SpineSegLib.errors import problem
from SpineSegLib.io import written_whole

LENGTH = 512
"""Numbers of an embedding of CLIP ViT-B/32 and of MedCLIP, and of `hashed_words`."""


def hashed_words(texts: Sequence[str], length: int = LENGTH) -> np.ndarray:
    """Return texts as an array (texts, length) without any trained encoder: each word's hash is a vector of signs.

    It tells texts apart and knows nothing of what they mean: it keeps the architecture usable where there are no
    weights of an encoder (feature hashing, Weinberger et al., ICML 2009).
    """
    rows = []
    for text in texts:
        words = re.findall(r"[a-z0-9]+", text.lower())
        bits = [np.frombuffer(hashlib.shake_256(word.encode()).digest(-(-length // 8)), np.uint8) for word in words]
        rows.append(sum((2.0 * np.unpackbits(each)[:length] - 1 for each in bits), np.zeros(length)))
    return np.array(rows)


def pooled(encode: Callable[[Sequence[str]], np.ndarray], texts: Sequence[str]) -> np.ndarray:
    """Return one vector of length 1 for texts: each embedding scaled to length 1, then their mean (paper 000, 2.5.4).

    Parameters
    ----------
    encode : texts to an array (texts, n)

    Raises
    ------
    ValueError : the encoder gives something else, or zeros
    """
    found = np.asarray(encode(list(texts)), dtype=np.float64)
    if found.ndim != 2 or len(found) != len(texts) or not np.isfinite(found).all():
        msg = f"the encoder gives an array of shape {found.shape} for {len(texts)} texts, expected finite (texts, n)"
        raise ValueError(msg)
    mean = _unit(np.mean([_unit(row) for row in found], axis=0))
    return mean.astype(np.float32)


def _unit(vector: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vector)
    if length == 0:
        msg = "a text's embedding is zero"
        raise ValueError(msg)
    return vector / length


def write_embedding(path: str | Path, vector: np.ndarray, *, texts: Sequence[str], encoder: str) -> None:
    """Write an embedding file, whole or not at all."""
    content = {"texts": list(texts), "encoder": encoder, "vector": [round(float(value), 6) for value in vector]}
    with written_whole(Path(path)) as part:
        part.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")


def read_embedding(path: Path) -> list[float]:
    """Return the vector of an embedding file.

    Raises
    ------
    InputError : it is none
    """
    try:
        vector = [float(value) for value in json.loads(path.read_text(encoding="utf-8"))["vector"]]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise problem(path, f"no embedding of a text ({error})", "a list 'vector'", "Make it again") from error
    if not vector or not np.isfinite(vector).all():
        raise problem(path, "an empty vector, or one that is not finite", "numbers", "Make it again")
    return vector
