"""A door for clients that were written for E2B: its sandboxes, commands and files, on machines of a pool.

A sandbox is a project with a machine; its id is the project's, its template the pool, its timeout a lease. What E2B's own
agent does inside of a sandbox is done here from outside, by the engine's commands and copies of files: nothing is installed
in workers, and a project that came in by this door is seen by every other.

    sandboxes     create, list, show, end: E2B's REST API
    names         their ids, what marks a project as one, and which one is at `3000-SANDBOX.DOMAIN`
    metrics       what a sandbox uses
    processes     commands and terminals that run on after whoever began them has gone
    strays        what an earlier run of the service, which was killed, left running
    process_api   the calls about them; Connect streams (`connect`)
    filesystem    what there is in a folder, make, move, remove
    watch_api     what changes in a folder: by looking again and again (`looking`, `watches`), and comparing (`changes`)
    transfer      files in and out
    access        keys, and the token of each sandbox
    routes        which path leads where

What E2B has and this has not is refused with 501 and its name; no option is accepted and ignored.
"""
