"""Names of recurrent parameters: torch's own, which the programs have, and ours."""

import re


def block_name(theirs: str) -> str:
    """``weight_ih_l1_reverse`` of ``torch.nn.LSTM`` or ``GRU`` -> ``back.1.weight_ih_l0``."""
    found = re.fullmatch(r"(\w+_l)(\d+)(_reverse)?", theirs)
    assert found, theirs
    return f"{'back' if found[3] else 'ahead'}.{found[2]}.{found[1]}0"
