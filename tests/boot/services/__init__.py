"""Debian's services under our init: each installed by apt on a running system, stopped, restarted, rebooted, purged.

`catalogue` says which they are and how each shows that it is up, `debs` brings their packages from the archive, and
`trial` takes a group of them through their life in one booted root. Packages and scripts are the archive's own.
"""
