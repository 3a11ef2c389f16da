"""What `./impala report` makes of run directories: curves, scores, a page."""
