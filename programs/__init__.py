"""The commands, the program they launch, and what starts and shows it.

Importing this package sets what TensorFlow, Reverb and Launchpad need to find
before they are imported, so that every command and every child has it.
"""

from programs import startup

startup.prepare()
