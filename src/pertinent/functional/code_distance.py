"""How far apart binary codes can be: the repulsion threshold of HyP2 from coding theory, for any classes and bits.

2^k words of n bits that form a linear code differ pairwise in at least d bits; d(n, k) is the largest such d known. Its
cosine, 1 - 2 d / n, is the nearest that the words of an ideal code come: beyond it classes need not be pushed apart.

Griesmer's bound says sum over i < k of ceil(d / 2^i) <= n. It is reached for k <= 4 and nearly so after that; for
k <= 20 and n <= 256 the table of integers below says by how much the best known code falls short of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pertinent.errors import InputError

LONGEST = 256
"""Bits up to which the table goes."""

# By k: what the best known code lacks to Griesmer's bound for n = k, k + 1, ... in base 36; 0 after the end.
_SHORTFALL = {
    5: "000110011",
    6: "000110011011000110110011000000000011",
    7: "00011001101100011011001211210001101100110110001211210110000000000011001101100011011",
    8: (
        "0001100110110001211210121121000121121011011000122222112222210001211210121121001211210121121000121121"
        "0121121001211221110000000000001100110110001101100110110000110110011011000110110000000000000001100110"
        "11"
    ),
    9: (
        "0001100110110001211210122222100121121012222210122222112232221001221220122122001222221122322200122222"
        "1122322201223222122322210001221220122122001221221122122000122222112212200122122112222210001221221122"
        "222101221220122122100122222112232220122122111"
    ),
    10: (
        "0001100121110001211210122322210122122012232220122322212233221001222221122222101223222122332210122322"
        "2122322201223322322343221001222321222222101222321222232210122232122233221122322212233221001223322222"
        "33221122322212232220012233322333332223233322323"
    ),
    11: (
        "0001100121110001222210122322210122222212233221122342232234221001223322222332211223332332343222122333"
        "3333343222223433343444322101222322232333212223332343443321222333233333322222332222233221001223322222"
        "3322112232221223222101223332333443323333433344"
    ),
    12: (
        "0001210121110001222221122322220122332222233222122343233234322101223332332333221223333343443332232343"
        "3344444333333443444555433211223332343443323333433344554432333343334445433333344344455544323433432344"
        "544433434433343344222222343334445432333344344"
    ),
    13: (
        "0001210121122101222222222342221122332222234322122343233334432211223332343443323333433344454332333343"
        "3344554433433443444565444222323332344544433434433444565444344444344455543443444445556554433434433444"
        "56444454555445556554434455444445644444456544"
    ),
    14: (
        "0001210121122101223222222343221122332232234332322343334344433212223332344444323444443444554433343343"
        "3444554434433443454565444323433433344564445445644554566644544564454455543444444445556554434444543444"
        "5664456456645655666655556666566766555666766"
    ),
    15: (
        "0001210122222211223222322343222122333232234332322343344344433322223333344444333444443444554433344544"
        "4444554444433443454565444323433433344564445445644554566644544565455456544454454445556664445445644544"
        "566656766776676777665566777667677665666787"
    ),
    16: (
        "0001210122222211223222322343222122333232234332322343344344433322323433344554443445644544566644544566"
        "4565566645655665566666665545545654564566556666665666666654564565456456544454454445556665445545654554"
        "56665676677667777766556677766767766566678"
    ),
    17: (
        "0001210122222211223422322343322232333334344332332343344445443323445443344564444445654564566655565566"
        "5666666656766766777787666555655665566566656667866766788766676788778878766676787777778766656767876788"
        "7888678778887878876666767877777777666767"
    ),
    18: (
        "0001210122222221223422322344332332343334344432342344345455544333445544444566445545654566566655565566"
        "567676666677777677788776655666666656666666666786678788877667778888888887677789889a99aa88877878888888"
        "998888878988888888766787788777777766777"
    ),
    19: (
        "0001210122222221223422322344333333343334444433444554445456654444445654564566555656665566666655665566"
        "567676666677777677788776655676776666676666666788678889887777788889a99aa888999aa89aabaaa9889a9aa999aa"
        "9aa989a89a9888898886678889887878876677"
    ),
    20: (
        "0001210122222221223422332344333333343334444443444564455456664444445654564566555656666676766665666566"
        "66767666667777767778887665567677666667666666678877889a888778788889a99aa889a99aa89aabbbba999a9aa999aa"
        "baaa89aa9aa99989988767889988787887667"
    ),
}


@dataclass(frozen=True)
class Threshold:
    """A cosine and where it comes from.

    Attributes:
        cosine: 1 - 2 distance / bits, in -1..1.
        distance: bits in which any two words differ at least.
        reason: one sentence.
    """

    cosine: float
    distance: int
    reason: str


def code_threshold(num_classes: int, bits: int) -> Threshold:
    """Largest cosine between the words of the best known binary code that has a word for each class.

    Args:
        num_classes: 1 or more; two words at least are taken.
        bits: length of the words, 1 or more.

    Raises:
        InputError: no class or no bit.
    """
    if num_classes < 1 or bits < 1:
        raise InputError(f"num_classes and bits must be at least 1, got {num_classes} and {bits}")
    k = max(1, (num_classes - 1).bit_length())
    distance, source = _distance(bits, k)
    reason = f"{num_classes} classes need 2^{k} words; with {bits} bits these can differ in {distance} bits ({source})"
    return Threshold(1 - 2 * distance / bits, distance, f"{reason}, so cosine 1 - 2 * {distance} / {bits}")


def _distance(n: int, k: int) -> tuple[int, str]:
    if k > n:
        return 1, f"fewer than 2^{k} words exist, so some classes must share one; 1 is the least for words that differ"
    if k <= 4:
        return griesmer(n, k), "Griesmer's bound, which is reached"
    if n <= LONGEST and k in _SHORTFALL:
        return _tabled(n, k), "table of the best known linear codes"
    if k in _SHORTFALL:
        return _lengthened(n, k), f"a code of at most {LONGEST} bits from the table, lengthened: a lower bound"
    return _varshamov(n, k), "Varshamov's lower bound"


def griesmer(n: int, k: int) -> int:
    """Largest d that Griesmer's bound allows for words of n bits, 2^k of them."""
    low, high = 0, n
    while low < high:
        middle = (low + high + 1) // 2
        needed = sum(-(-middle // (1 << i)) for i in range(k))
        low, high = (middle, high) if needed <= n else (low, middle - 1)
    return low


def _tabled(n: int, k: int) -> int:
    shortfall = _SHORTFALL[k][n - k : n - k + 1] or "0"
    return griesmer(n, k) - int(shortfall, 36)


def _lengthened(n: int, k: int) -> int:
    """Words set side by side add their distances; 2^k words of 2^k - 1 bits that differ in 2^(k-1) exist (simplex)."""
    block, gain = ((1 << k) - 1, 1 << (k - 1)) if (1 << k) <= LONGEST else (LONGEST, _tabled(LONGEST, k))
    times = -(-(n - LONGEST) // block)
    rest = n - times * block
    return times * gain + (_tabled(rest, k) if rest >= k else 0)


def _varshamov(n: int, k: int) -> int:
    """Largest d for which sum over i <= d - 2 of C(n - 1, i) < 2^(n - k), which guarantees a linear code."""
    d, volume = 1, 0
    while d < n:
        volume += math.comb(n - 1, d - 1)
        if volume >= 1 << (n - k):
            break
        d += 1
    return d
