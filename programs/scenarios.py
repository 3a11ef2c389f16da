"""Fetches ViZDoom's battle scenario: `./impala scenarios --accept_license`.

The vizdoom package lacks the map of doom_benchmark and doom_battle, and the
wheel of Sample Factory holds it. Nothing of that wheel is installed.
"""

import sys
from collections.abc import Sequence

from programs import downloads, startup

_WHEEL = 'sample-factory==2.1.1'
_NOTICE = f"""\
The battle scenario was made by the authors of "Learning to Act by Predicting
the Future" (Dosovitskiy and Koltun, 2016) and is fetched out of the package
{_WHEEL}, which its makers publish under the MIT licence. Whether you
may use it is for you to know."""


def files() -> downloads.Files:
  """The scenario's configuration and its map."""
  return downloads.Files(
    command='scenarios',
    what='scenario files',
    wheel=_WHEEL,
    sha256='4acaef95c3790f4328bf839e07631737879f3c6409d22ee6e5d67635db8482a7',
    folder='sf_examples/vizdoom/doom/scenarios',
    md5s={
      'battle.cfg': '89c09ed021fa6b6eedb66710c5f11eb2',
      'battle.wad': '4755d4bb4317488205a7a7af09c8e9a1',
    },
    directory=startup.scenario_directory(),
    variable='IMPALA_SCENARIOS_DIR',
    notice=_NOTICE,
  )


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command and returns its exit status."""
  return downloads.run(files(), arguments)


if __name__ == '__main__':
  sys.exit(main())
