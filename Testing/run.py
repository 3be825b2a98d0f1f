"""Set up and run SpineSeg outside Slicer: ``python3 Testing/run.py demo | test | python | lint | files``.

Needs Python 3.11 to 3.13 and its standard library only. The packages of ``requirements.txt`` go into ``.venv`` in the
repository root, which is reused while the pins are unchanged; an interrupted set-up is made anew.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from environment import ROOT, TESTING, Stop, python_problem, say, set_up, variables, venv_python


def run(*arguments: str, screenless: bool = False, where: Path | None = None) -> int:
    """Run the venv's Python and return its exit status."""
    return subprocess.run(
        [str(venv_python()), *arguments], env=variables(screenless=screenless), cwd=where, check=False
    ).returncode


def lint(fix: bool = False) -> int:
    """Run ruff over the repository."""
    check = run("-m", "ruff", "check", "--quiet", *(["--fix"] if fix else []), str(ROOT), where=ROOT)
    layout = run("-m", "ruff", "format", "--quiet", *([] if fix else ["--check"]), str(ROOT), where=ROOT)
    say("ruff: " + ("clean" if not check and not layout else "see above; Testing/run.py lint --fix repairs most of it"))
    return check or layout


def test(arguments: list[str], slow: bool) -> int:
    """Run ruff, then pytest, whose summary comes last; fail when either does."""
    unclean = lint()
    status = run("-m", "pytest", *(["-m", ""] if slow else []), *arguments, screenless=True, where=ROOT)
    return status or unclean


def main(argv: list[str] | None = None) -> int:
    """Run one command and return the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    parser = argparse.ArgumentParser(prog="Testing/run.py", description=__doc__.splitlines()[0].replace("``", ""))
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("demo", help="segment a real CT and radiographs; writes results/")
    tests = commands.add_parser("test", help="ruff and pytest; further arguments go to pytest")
    tests.add_argument("--slow", action="store_true", help="the slow tests too")
    commands.add_parser("python", help="run the venv's Python with the arguments that follow")
    linting = commands.add_parser("lint", help="ruff only")
    linting.add_argument("--fix", action="store_true", help="repair what ruff can repair")
    commands.add_parser("files", help="write the lists of packaged files in the CMakeLists.txt anew from the tree")
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["python"]:  # whatever follows belongs to that Python, options included
        options, rest = argparse.Namespace(command="python"), arguments[1:]
    else:
        options, rest = parser.parse_known_args(arguments)
        if rest and options.command not in ("test", "demo"):
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        if options.command == "files":
            return subprocess.run([sys.executable, str(TESTING / "package_files.py")], check=False).returncode
        unusable = python_problem(sys.version_info[:2])
        if unusable:
            raise Stop(unusable)
        set_up()
        if options.command == "python":
            return run(*rest)
        if options.command == "lint":
            return lint(options.fix)
        if options.command == "demo":
            return run(str(TESTING / "demo.py"), *rest)
        return test(rest, options.slow)
    except Stop as problem:
        print(f"error: {problem}", file=sys.stderr, flush=True)
        return 1
    except OSError as problem:
        print(f"error: the set-up failed: {problem}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
