"""The method of direct-coverage. Open with the paper's formula and say what each symbol is:

    loss = -sum_k q_k log p_k,    p = softmax(z)

z: logits (N, K); q: what the paper does to the targets (N, K).

Below it the functions and classes that a reader lifts out. Their docstrings state shapes, units, errors and the place in
the paper; bad input is a ValueError that says what to do. Only torch, `baselines` and `reference` are imported here.
"""
