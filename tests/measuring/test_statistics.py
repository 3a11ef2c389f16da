"""Statistics and limits of the benchmarks."""

import argparse

import pytest

from benchmarks import comparison, memory, scaling


def test_rounds_are_compared_round_by_round():
  rounds = [
    {
      'pipeline': {'agent_steps_per_second': ours},
      'acme': {'agent_steps_per_second': theirs},
      'limit': {'limit': limit},
    }
    for ours, theirs, limit in (
      *((400, 100, 500), (900, 300, 1000), (200, 20, 250)),
    )
  ]
  made = comparison.summarise(rounds)
  acme = made['agent_steps_per_second']['acme']
  assert (acme['median'], acme['least'], acme['most']) == (100, 20, 300)
  assert made['ratios']['pipeline / acme']['values'] == [4, 3, 10]
  assert made['ratios']['pipeline / acme']['median'] == 4
  assert made['ratios']['pipeline / limit']['values'] == [0.8, 0.9, 0.8]
  assert comparison.median_round('acme', rounds) == rounds[0]['acme']


def test_memory_is_judged_from_what_comes_after_settling():
  points = ((0, 500), (1, 90), (3, 100), (4, 103), (5, 106))
  readings = [memory.Reading(minute, rss, rss / 2) for minute, rss in points]
  flags = dict(settle_minutes=3, max_slope_mb_per_minute=2.9, max_actor_mb=900)

  def judge(name, **more):
    given = argparse.Namespace(**{**flags, **more})
    return memory.judge({name: readings}, given)

  judged = judge('queue')
  assert judged['processes']['queue'] == {
    'rss_mb_settled': 100,
    'rss_mb_end': 106,
    'rss_mb_peak': 500,
    'pss_mb_end': 53,
    'slope_mb_per_minute': pytest.approx(3),
  }
  assert judged['complaints'] == [
    'queue grows by 3.00 MB a minute, more than 2.9'
  ]
  assert judge('actor', max_slope_mb_per_minute=4, max_actor_mb=499)[
    'complaints'
  ] == ['actor reached 500 MB, more than 499']


def test_costs_must_not_grow():
  def rows(*sizes):
    names = ('environments', 'cpu_ms_per_agent_step')
    return {
      str(index): dict(zip(names, size, strict=True))
      for index, size in enumerate(sizes)
    }

  sweeps = {
    # From 8 to 64 environments they fall, then rise less.
    'environments': rows((4, 0.1), (8, 1.6), (16, 1.0), (64, 1.15), (128, 9.0)),
    'actors': rows((8, 1.0), (64, 1.2), (128, 9.0)),
    'batch_sizes': rows((8, 1.0), (8, 9.0)),
  }
  assert scaling.judge(sweeps, 1.2) == []
  (complaint,) = scaling.judge(sweeps, 1.19)
  assert 'by actors' in complaint and 'a factor of 1.20' in complaint
  assert len(scaling.judge(sweeps, 1.1)) == 2
  assert scaling.judge({'actors': rows((8, 1.0))}, 1.0) == []
