"""Attention over a grid of tokens with decomposed relative positions, without holding all scores at once.

The score of a query at (y, x) and a key at (v, u) is q·k/√d + q·R_h[y - v] + q·R_w[x - u] (Li et al., MViTv2,
CVPR 2022, eq. 4; as in the image encoder of Kirillov et al., Segment anything, ICCV 2023). Three ways to the same
numbers: with gradients (`attention`), and without for small windows (`window_attention`) and for many tokens
(`attention_in_chunks`). On a CPU most of the time would go into memory that is touched for the first time; it must be
little and used again.
"""

from __future__ import annotations

import torch
from torch.nn import functional


def relative_table(positions: torch.Tensor, size: int) -> torch.Tensor:
    """Return (size, size, d): the vector of each pair of query and key position along an axis.

    Parameters
    ----------
    positions : (2·n - 1, d), of the differences -(n - 1)…n - 1; interpolated linearly when the axis is not n long
    size : of the axis
    """
    if len(positions) != 2 * size - 1:
        positions = functional.interpolate(positions.t()[None].float(), 2 * size - 1, mode="linear")[0].t()
    index = torch.arange(size, device=positions.device)
    return positions[index[:, None] - index[None, :] + size - 1]


def relative_scores(
    queries: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the scores (g, h, w, h) of every row and (g, h, w, w) of every column, for queries (g, h, w, d).

    Parameters
    ----------
    rows, columns : (h, h, d) and (w, w, d), see `relative_table`
    """
    return (
        torch.einsum("ghwd,hkd->ghwk", queries, rows.to(queries.dtype)),
        torch.einsum("ghwd,wkd->ghwk", queries, columns.to(queries.dtype)),
    )


def folded(
    queries: torch.Tensor, keys: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return queries and keys, longer by h + w, whose plain products are the scores.

    A query gets its scores of all rows and columns, a key a one for its own row and column: the sum of the products is
    exact, and any fast attention takes it.

    Parameters
    ----------
    queries, keys : (g, h, w, d)
    rows, columns : see `relative_scores`

    Returns
    -------
    both : (g, h·w, d + h + w)
    """
    groups, height, width, depth = queries.shape
    by_row, by_column = relative_scores(queries, rows, columns)
    place = torch.arange(height * width, device=keys.device)
    ones = torch.cat([functional.one_hot(place // width, height), functional.one_hot(place % width, width)], dim=1).to(
        keys.dtype
    )
    long = torch.cat([queries * depth**-0.5, by_row, by_column], dim=-1).flatten(1, 2)
    return long, torch.cat([keys.flatten(1, 2), ones.expand(groups, -1, -1)], dim=-1)


def attention(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor
) -> torch.Tensor:
    """Return (g, h, w, d), differentiable: what every query gathers from the values.

    On a CPU all scores are held, which is the quickest there when gradients are wanted; elsewhere the fused attention
    holds none.

    Parameters
    ----------
    queries, keys, values : (g, h, w, d)
    rows, columns : see `relative_scores`
    """
    long, keys = folded(queries, keys, rows, columns)
    values = values.flatten(1, 2)
    if long.device.type in ("cpu", "meta"):
        found = torch.softmax(long @ keys.transpose(1, 2), dim=-1) @ values
    else:
        found = functional.scaled_dot_product_attention(long[None], keys[None], values[None], scale=1.0)[0]
    return found.view_as(queries)


def window_attention(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    rows: torch.Tensor,
    columns: torch.Tensor,
    scores: torch.Tensor,
) -> torch.Tensor:
    """Return the same as `attention`, without gradients, the scores being held in memory that is there already.

    Parameters
    ----------
    scores : at least g·(h·w)² elements, overwritten
    """
    long, keys = folded(queries, keys, rows, columns)
    groups, tokens = long.shape[:2]
    scores = scores[: groups * tokens**2].view(groups, tokens, tokens)
    torch.bmm(long, keys.transpose(1, 2), out=scores)
    torch.softmax(scores, dim=-1, out=scores)
    return torch.bmm(scores, values.flatten(1, 2)).view_as(queries)


def attention_in_chunks(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    rows: torch.Tensor,
    columns: torch.Tensor,
    scores: torch.Tensor,
    out: torch.Tensor,
) -> None:
    """Do the same as `attention` for one head, without gradients, some rows of queries at a time.

    Parameters
    ----------
    queries, keys, values : (h, w, d)
    scores : memory for at least w·(h·w) elements, one row of queries; overwritten
    out : (h, w, d), gets the result
    """
    height, width, depth = queries.shape
    tokens = height * width
    by_row, by_column = (each[0] for each in relative_scores(queries[None], rows, columns))
    keys, values = keys.reshape(tokens, depth).t(), values.reshape(tokens, depth)
    step = min(height, scores.numel() // (width * tokens))
    for start in range(0, height, step):
        some = slice(start, min(start + step, height))
        count = (some.stop - start) * width
        chunk = scores[: count * tokens].view(count, tokens)
        grid = chunk.view(-1, width, height, width)
        torch.add(by_row[some, :, :, None], by_column[some, :, None, :], out=grid)
        torch.addmm(chunk, queries[some].reshape(count, depth), keys, alpha=depth**-0.5, out=chunk)
        torch.softmax(chunk, dim=-1, out=chunk)
        out[some] = torch.mm(chunk, values).view(-1, width, depth)
