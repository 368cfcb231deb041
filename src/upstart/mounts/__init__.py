"""mountall: the file systems of the machine, from what fstab(5) wants to what is mounted, as events.

Files become a plan (`fstab`, `plan`), the plan becomes a state (`reducer`) that inputs move and that answers with
actions; both are pure. `perform` is the thin part that does what the actions say and tells what came of it.
"""
