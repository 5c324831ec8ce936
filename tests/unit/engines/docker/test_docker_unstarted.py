"""What Docker says of a command that it could not start becomes one sentence, with the exit code of a shell."""

from __future__ import annotations

import pytest

from worker_orchestrator.engines.docker.unstarted import goes_on, may_be_refusal, unstarted

RUNC = "OCI runtime exec failed: exec failed: unable to start container process: "
OLD_RUNC = "OCI runtime exec failed: exec failed: container_linux.go:380: starting container process caused: "
OLDEST = 'rpc error: code = 2 desc = oci runtime error: exec failed: container_linux.go:247: caused "'

SAID = [
    (RUNC + 'exec: "npm": executable file not found in $PATH: unknown\r\n', 127, 'no program "npm" in its PATH.'),
    (OLD_RUNC + 'exec: "npm": executable file not found in $PATH: unknown\r\n', 127, 'no program "npm" in its PATH.'),
    (OLDEST + 'exec: \\"npm\\": executable file not found in $PATH"\r\n', 127, 'no program "npm" in its PATH.'),
    (RUNC + 'exec: "npm": stat npm: no such file or directory: unknown\r\n', 127, 'no file "npm".'),
    (RUNC + 'exec: "npm": stat npm: not a directory: unknown\r\n', 127, 'no file "npm".'),
    (RUNC + 'exec: "npm": permission denied: unknown\r\n', 126, '"npm" is not executable'),
    (RUNC + 'exec: "npm": a new cause: unknown\r\n', 126, "a new cause"),
    (
        RUNC + 'chdir to cwd ("/nope") set in config.json failed: no such file or directory: unknown\r\n',
        126,
        'no folder "/nope"',
    ),
    (RUNC + 'chdir to cwd ("/root") set in config.json failed: permission denied: unknown\r\n', 126, '"/root"'),
    ("unable to find user me: no matching entries in passwd file\r\n", 126, 'no user "me".'),
    ("unable to find group us: no matching entries in group file\r\n", 126, 'no group "us".'),
]


@pytest.mark.parametrize(("said", "code", "sentence"), SAID)
@pytest.mark.parametrize("docker_code", [126, 127, None])
def test_a_refusal_says_what_is_missing(said: str, code: int, sentence: str, docker_code: int | None) -> None:
    """Whether it came as output or in place of a reply."""
    assert may_be_refusal(said.encode(), is_error=False)
    told = unstarted(said, docker_code, ["npm", "install"], user="me:us", workdir="/nope" if "/nope" in said else "")
    assert told is not None
    assert told.exit_code == code
    assert sentence in told.sentence
    assert told.sentence.startswith("orchestrator: ")
    assert told.sentence.endswith("\n")


INVOKED = "OCI runtime attempted to invoke a command that was not found\n"


@pytest.mark.parametrize(
    ("said", "code", "sentence"),
    [
        ("Error: crun: executable file `npm` not found in $PATH: No such file or directory: " + INVOKED, 127, "PATH."),
        ("Error: crun: executable file `npm` not found: No such file or directory: " + INVOKED, 127, 'no file "npm".'),
        ("Error: crun: the path `npm` is not a regular file: OCI permission denied\n", 126, '"npm" is not executable'),
        ("Error: crun: chdir to `/nope`: No such file or directory: " + INVOKED, 126, 'no folder "/nope"'),
        ('Error: runc: exec failed: exec: "npm": executable file not found in $PATH: ' + INVOKED, 127, "PATH."),
    ],
)
@pytest.mark.parametrize("podman_code", [126, 127])
def test_a_refusal_of_podman_names_its_runtime_and_stands_on_standard_error(
    said: str, code: int, sentence: str, podman_code: int
) -> None:
    """In its own words, after which it complains that its connection is lost."""
    assert may_be_refusal(said.encode(), is_error=True)
    assert goes_on(b"Error: read unixpacket @->/proc/self/fd/13/attach: read: connection reset by peer\n")
    assert not goes_on(b"Error: something else\n")
    told = unstarted(said, podman_code, ["npm", "install"], workdir="/nope" if "/nope" in said else "")
    assert told is not None
    assert told.exit_code == code
    assert sentence in told.sentence
    assert unstarted(said.replace("npm", "yarn"), podman_code, ["npm"], workdir="/other") is None


@pytest.mark.parametrize(
    ("said", "code", "sentence"),
    [
        ("exec `/run`: Exec format error\n", 126, "#!/bin/sh"),
        ("exec: Exec format error\n", 126, "#!/bin/sh"),
        ("exec `/run`: No such file or directory\n", 127, "the interpreter or the loader"),
        ("exec /run: no such file or directory\n", 127, "the interpreter or the loader"),
        ("exec /run: exec format error\n", 126, "#!/bin/sh"),
        ("exec /run: argument list too long\n", 126, "too long"),
        ("exec /run: permission denied\n", 126, "not executable"),
    ],
)
@pytest.mark.parametrize("runc_code", [1, 255])
def test_what_the_kernel_refuses_is_no_failure_of_the_command(
    said: str, code: int, sentence: str, runc_code: int
) -> None:
    assert may_be_refusal(said.encode(), is_error=True)
    told = unstarted(said, runc_code, ["/run"])
    assert told is not None
    assert told.exit_code == code
    assert sentence in told.sentence


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("hello\n", 126),
        ("exec /other: exec format error\n", 1),
        ("exec /run: exec format error\n", 3),
        (SAID[0][0], 1),
        ("Docker has a bad day", None),
        (SAID[0][0], 127),
        ("unable to find user bob: no matching entries in passwd file\r\n", 126),
    ],
)
def test_what_a_command_itself_says_stays(said: str, code: int | None) -> None:
    """Another exit code, another program or user (a worker may have a Docker client of its own), or other words."""
    assert unstarted(said, code, ["/run"]) is None


@pytest.mark.parametrize(
    ("data", "is_error"),
    [
        (b"exec of it\n", True),
        (b"exec a: b\nc", True),
        (SAID[0][0].encode(), True),
        (b"OCI runtime exec failed", False),
        (b"OCI runtime exec failed: " + b"x" * 5000 + b"\r\n", False),
    ],
)
def test_output_that_only_begins_alike_is_not_kept_back(data: bytes, is_error: bool) -> None:  # noqa: FBT001 # a case
    assert not may_be_refusal(data, is_error=is_error)


def test_a_name_in_the_sentence_is_one_short_line() -> None:
    told = unstarted(SAID[0][0], None, ["a\n\x1b[31m" + "b" * 1000])
    assert told is not None
    assert len(told.sentence) < 300
    assert told.sentence.count("\n") == 1
    assert "\x1b" not in told.sentence


def test_a_folder_that_was_not_asked_for_is_another_dockers() -> None:
    said = RUNC + 'chdir to cwd ("/nope") set in config.json failed: permission denied: unknown\r\n'
    assert unstarted(said, 126, ["/run"], workdir="/srv") is None
    assert unstarted(said, 126, ["/run"], workdir="/nope") is not None
    assert unstarted(said, 126, ["/run"]) is not None, "it may be the image's own"
