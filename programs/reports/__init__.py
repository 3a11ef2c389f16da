"""What `./impala report` says of several runs."""
