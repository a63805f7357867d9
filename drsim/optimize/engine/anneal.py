"""Simulated annealing over shifts and swaps, compiled."""

from __future__ import annotations

import numpy as np

from drsim.compiled import compiled, inlined
from drsim.optimize.engine.model import Model, State
from drsim.optimize.engine.step import balance_delta, broken_delta, leaves, load_delta, put, room


@inlined
def draw(random, below):  # type: ignore[no-untyped-def]
    """Next random integer in [0, below); Vigna's xorshift64*, DOI 10.1145/2845077."""
    x = random[0]
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    random[0] = x
    high = np.int64((x * np.uint64(2685821657736338717)) >> np.uint64(33))
    return (high * np.int64(below)) >> 31


@compiled
def most_moved(groups_moved: np.ndarray, top: int) -> int:
    """Most units moved of one group, searched from a bound of it downwards."""
    while top > 0 and groups_moved[top] == 0:
        top -= 1
    return top


PATIENCE = -np.log((np.arange(1 << 14) + 0.5) / (1 << 14))
"""What a step may cost, in temperatures, by the luck of the draw: the rule of Metropolis without its logarithm."""


@compiled
def anneal(
    m: Model,
    s: State,
    limit: np.ndarray,
    over_price: np.ndarray,
    bar: np.ndarray,
    rule_price: float,
    wrong: int,
    lawful: bool,
    patience: np.ndarray,
    random: np.ndarray,
    steps: int,
    hot: float,
    cold: float,
    swaps: float,
    homes: float,
    alike: np.ndarray,
    kins: float,
    chains: float,
    worst: np.ndarray,
    focus: float,
) -> tuple[float, int]:
    """Propose so many steps while the temperature falls geometrically.

    Parameters
    ----------
    m, s : Model, State
        The problem, and the placement to change.
    limit, over_price : array of float, shape (H, R)
        What a host holds beyond its limit is charged at this price.
    bar : array of float, shape (H, R)
        What no step may make a host hold.
    rule_price : float
        Price of a broken rule.
    wrong : int
        Rules that are broken now.
    lawful : bool
        Whether no step may break more rules than it mends.
    patience : array of float
        `PATIENCE`.
    random : array of uint64, shape (1,)
        State of the random numbers; changed.
    steps : int
        How many steps to propose.
    hot, cold : float
        First and last temperature, in the unit of costs.
    swaps, homes, kins : float
        Share of the proposals that exchange two units; that send one home; share of the exchanges with one alike.
    alike : array of int, shape (U, K)
        Units that need about the same.
    chains : float
        Share of the exchanges in which the other unit goes home or anywhere instead, not to where the first one was.
    worst : array of int
        Hosts to relieve.
    focus : float
        Share of the proposals that concern a unit on one of those hosts.

    Returns
    -------
    float, int
        Change of the priced cost, and of the number of broken rules.
    """
    demand, held, safety, load_price, home = m.demand, m.held, m.safety, m.load_price, m.home
    capacity = m.capacity
    balance, move_price, route_price, allowed, kind = m.balance, m.move_price, m.route_price, m.allowed, m.kind
    group_price, groups_from, groups_of = m.group_price, m.groups_from, m.groups_of
    place, use, full, moved, groups_moved = s.place, s.use, s.full, s.moved, s.groups_moved
    first, after = s.first, s.after
    units, hosts = kind.size, capacity.shape[0]
    nobody = units
    routes = route_price.shape[0] > 0
    balances = balance.shape[0] > 0
    top = most_moved(groups_moved, groups_moved.size - 1)
    total, all_broken = 0.0, 0
    rounds = max(1, steps // 1000)
    factor = (cold / hot) ** (1.0 / rounds)
    t = hot
    kin_below, chain_below = np.int64(kins * 1024), np.int64(chains * 1024)
    swap_below, home_from = np.int64(swaps * 1024), np.int64(1024 - homes * 1024)
    focus_below = np.int64(focus * 1024) if worst.size else np.int64(0)
    for _ in range(rounds):
        t *= factor
        for _ in range(1000):
            u = draw(random, units)
            if focus_below and draw(random, 1024) < focus_below:
                crowded = worst[draw(random, worst.size)]
                if first[crowded] >= 0:
                    u = first[crowded]
                    first[crowded] = after[u]
            source = place[u]
            luck = draw(random, 1024)
            if luck < swap_below:
                kin = draw(random, 1024) < kin_below
                v = alike[u, draw(random, alike.shape[1])] if kin else draw(random, units)
                d = place[v]
            elif luck >= home_from:
                d = home[u]
                v = nobody
                if luck & 1 and d != source and first[d] >= 0:
                    v = first[d]
                    first[d] = after[v]
            else:
                v = nobody
                d = draw(random, hosts)
            if d == source:
                continue
            e, goes = source, u
            if v != nobody and chain_below and draw(random, 1024) < chain_below:
                e = home[v] if luck & 2 else draw(random, hosts)
                goes = u if e == source else nobody
                if e == d:
                    continue
            chain = v != nobody and e != source
            if not allowed[kind[u], d] or (v != nobody and not allowed[kind[v], e]):
                continue
            if not room(demand, held, full, bar, home, d, u, v):
                continue
            if v != nobody and not room(demand, held, full, bar, home, e, v, goes):
                continue
            enough = t * patience[draw(random, patience.size)]
            delta = move_price[u] * leaves(source, home[u], d)
            if routes:
                delta += route_price[home[u], d] - route_price[home[u], source]
            if v != nobody:
                delta += move_price[v] * leaves(d, home[v], e)
                if routes:
                    delta += route_price[home[v], e] - route_price[home[v], d]
            elif group_price != 0.0 and groups_from[u] < groups_from[u + 1]:
                change = leaves(source, home[u], d)
                g = groups_of[groups_from[u]]
                if change > 0 and moved[g] == top:
                    delta += group_price
                elif change < 0 and moved[g] == top and groups_moved[top] == 1:
                    delta -= group_price
            comes = nobody if chain else v
            if balances:
                delta += balance_delta(demand, use, capacity, balance, source, comes, u)
                delta += balance_delta(demand, use, capacity, balance, d, u, v)
                if chain:
                    delta += balance_delta(demand, use, capacity, balance, e, v, nobody)
            delta += load_delta(
                demand, held, use, full, safety, limit, load_price, over_price, home, source, comes, u, np.inf
            )
            # What comes without anything going only adds: the sum may stop once it is more than mended rules are worth.
            much = enough + rule_price * (wrong + all_broken)
            most = much - delta if v == nobody else np.inf
            delta += load_delta(demand, held, use, full, safety, limit, load_price, over_price, home, d, u, v, most)
            if delta > much:
                continue
            if chain:
                delta += load_delta(
                    demand, held, use, full, safety, limit, load_price, over_price, home, e, v, nobody, much - delta
                )
                if delta > much:
                    continue
            broken = broken_delta(m, s, u, d)
            if v == nobody:
                delta += broken * rule_price
                if delta > enough or (lawful and broken > 0):
                    continue
                put(m, s, u, d)
            else:
                put(m, s, u, d)
                broken += broken_delta(m, s, v, e)
                delta += broken * rule_price
                if delta > enough or (lawful and broken > 0):
                    put(m, s, u, source)
                    continue
                put(m, s, v, e)
            if group_price != 0.0:
                now = most_moved(groups_moved, min(top + 2, groups_moved.size - 1))
                if v != nobody:
                    delta += group_price * (now - top)
                top = now
            total += delta
            all_broken += broken
    return total, all_broken
