"""What this machine gives to a run: the machine's half of `doctor`."""

import os
import pathlib
import platform
import resource
import shutil
from typing import NamedTuple

from programs.launching import isolation

_GIB = 1 << 30
# To plan with, not measured here: bounds on resident memory, an actor with 16
# Atari environments.
_ACTOR_GIB = 0.9
_LEARNER_GIB = 1.5


class Finding(NamedTuple):
  """The outcome of one check."""

  name: str
  level: str  # ok, info, warn or FAIL: FAIL where a run cannot work.
  text: str
  mend: str = ''


def judge(level: str, passed: bool, name: str, text: str, mend: str) -> Finding:
  """An ok finding, or one of the level with what mends it."""
  if passed:
    return Finding(name, 'ok', text)
  return Finding(name, level, text, mend)


def vector_instructions() -> list[str]:
  """Those that TensorFlow and oneDNN ask for and this processor has."""
  info = pathlib.Path('/proc/cpuinfo').read_text()
  flags = set(info.partition('flags')[2].partition('\n')[0].split())
  return [name for name in ('avx', 'avx2', 'avx512f') if name in flags]


def check_cpu() -> Finding:
  """The vector instructions."""
  found = vector_instructions()
  text = f'{platform.machine()}, {", ".join(found) or "no AVX"}'
  if 'avx' not in found:
    mend = 'TensorFlow 2.8 needs AVX: use another machine or virtual CPU type'
    return Finding('CPU', 'FAIL', text, mend)
  mend = 'without AVX2 the learner is several times slower'
  return judge('warn', 'avx2' in found, 'CPU', text, mend)


def check_memory() -> Finding:
  """How much fits on this machine."""
  cores = len(os.sched_getaffinity(0))
  info = pathlib.Path('/proc/meminfo').read_text()
  free = int(info.partition('MemAvailable:')[2].split()[0]) / (1 << 20)
  actors = max(1, min(cores, int((free - _LEARNER_GIB) / _ACTOR_GIB)))
  text = f'{cores} cores, {free:.1f} GiB of memory free: --num_actors={actors}'
  text += ' fits (0.9 GiB each with 16 Atari games)'
  mend = 'a learner and one actor want 2.5 GiB: close other programs'
  return judge('warn', free > 2.5, 'sizing', text, mend)


def check_disk() -> Finding:
  """Room for runs and checkpoints."""
  free = shutil.disk_usage('.').free / _GIB
  mend = 'a run writes up to 1 GiB: make room or choose another --logdir'
  text = f'{free:.1f} GiB free in {os.getcwd()}'
  return judge('warn', free >= 2, 'disk', text, mend)


def check_shared_memory() -> Finding:
  """The file system that ViZDoom and others share memory through."""
  usage = shutil.disk_usage('/dev/shm')
  text = f'{usage.total / _GIB:.1f} GiB, {usage.free / _GIB:.1f} free'
  mend = 'in a container: docker run --shm-size=2g'
  return judge('warn', usage.total >= _GIB, '/dev/shm', text, mend)


def check_limits() -> Finding:
  """Open files and processes: every environment and connection takes some."""
  files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
  processes = resource.getrlimit(resource.RLIMIT_NPROC)[0]
  text = f'{files} open files, {processes} processes'
  text = text.replace(str(resource.RLIM_INFINITY), 'unlimited')
  enough = [
    limit == resource.RLIM_INFINITY or limit >= 4096
    for limit in (files, processes)
  ]
  mend = 'many actors need 4096 of each: ulimit -n 4096; ulimit -u 4096'
  return judge('warn', all(enough), 'limits', text, mend)


def check_proxies() -> Finding:
  """Proxies, which gRPC would otherwise ask for this machine's own ports."""
  names = [name for name in os.environ if name.lower().endswith('_proxy')]
  names = [name for name in names if name.lower() != 'no_proxy']
  if not names:
    return Finding('proxies', 'ok', 'none')
  text = f'{", ".join(sorted(names))}; not for {os.environ["no_proxy"]}'
  return Finding('proxies', 'ok', text)


def check_isolation() -> Finding:
  """Whether a run here can have a network of its own."""
  why = isolation.why_not()
  text = why or 'a run on this machine has a network of its own'
  mend = (
    'other machines reach the ports of runs here, if nothing keeps them away: '
    '--require_isolation refuses; a container can be had with --network=none'
  )
  return judge('warn', not why, 'isolation', text, mend)


def check_git() -> Finding:
  """git, which a run's record names the revision with."""
  path = shutil.which('git')
  mend = 'runs will not record their revision: install git'
  return judge('warn', path is not None, 'git', path or 'absent', mend)


CHECKS = (
  check_cpu,
  check_memory,
  check_disk,
  check_shared_memory,
  check_limits,
  check_proxies,
  check_isolation,
  check_git,
)
