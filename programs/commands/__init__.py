"""One file a command: `./impala NAME`."""
