# SPDX-License-Identifier: Apache-2.0
"""The git hooks of tools/hooks, installed by `./run hooks` in a repository of the test's own, on planted commits."""
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from gate import print_tap
from planted import CASES, LICENSE, case

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ('git', 'clang-format')
COPIED = ('run', '.clang-format', 'tools/hooks', 'tests/gates/gate.py', 'tests/gates/hygiene.py')

GOOD = [LICENSE, '#pragma once', '', 'int answer();']
UNFORMATTED = [LICENSE, '#pragma once', '', 'int   answer( );']
UNCLEAN = [LICENSE, '#pragma once', '', '// TO' + 'DO: answer']


class Repository:
    """Has the tree's own `run` and hooks, and no configuration of the user's."""

    def __init__(self, folder):
        self.root = Path(folder)
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith('GIT_')} | {
            'HOME': folder, 'GIT_CONFIG_NOSYSTEM': '1', 'GIT_CONFIG_GLOBAL': os.devnull,
            'GIT_AUTHOR_NAME': 'A', 'GIT_AUTHOR_EMAIL': 'a@example.net',
            'GIT_COMMITTER_NAME': 'A', 'GIT_COMMITTER_EMAIL': 'a@example.net'}
        for name in COPIED:
            target = self.root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, target)
        self.git('init', '--quiet')
        self.git('add', '.')
        self.git('commit', '--quiet', '--no-verify', '-m', 'base: a beginning')

    def call(self, *command):
        return subprocess.run(command, cwd=self.root, env=self.environment, capture_output=True, text=True, timeout=60)

    def git(self, *arguments):
        result = self.call('git', *arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def install(self):
        result = self.call('./run', 'hooks')
        assert result.returncode == 0, result.stderr
        return result.stdout

    def stage(self, file, lines):
        path = self.root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(''.join(line + '\n' for line in lines))
        self.git('add', file)

    def commit(self, message='net: a number'):
        result = self.call('git', 'commit', '--quiet', '-m', message)
        return result.returncode, result.stderr

    def refuses(self, says, message='net: a number'):
        before = self.git('rev-parse', 'HEAD')
        status, complaint = self.commit(message)
        assert status != 0, 'the commit was made'
        assert says in complaint, f'expected "{says}", was told:\n{complaint}'
        assert self.git('rev-parse', 'HEAD') == before


@case('well formatted and clean files with a subject of the form are committed')
def _(repository):
    repository.install()
    repository.stage('net/answer.h', GOOD)
    status, complaint = repository.commit('net: a number\n\nIts reason.')
    assert status == 0, complaint


@case('a file that is not formatted is refused')
def _(repository):
    repository.install()
    repository.stage('net/answer.h', UNFORMATTED)
    repository.refuses('net/answer.h:4:')


@case('what is staged is judged, not what the working tree holds')
def _(repository):
    repository.install()
    repository.stage('net/answer.h', UNFORMATTED)
    (repository.root / 'net/answer.h').write_text('\n'.join(GOOD) + '\n')
    repository.refuses('net/answer.h:4:')
    repository.stage('net/answer.h', GOOD)
    (repository.root / 'net/answer.h').write_text('\n'.join(UNFORMATTED) + '\n')
    status, complaint = repository.commit()
    assert status == 0, complaint


@case('a file that breaks a hygiene rule is refused')
def _(repository):
    repository.install()
    repository.stage('net/answer.h', UNCLEAN)
    repository.refuses('net/answer.h:4: TO' + 'DO: finish it')


@case('a removed file is no reason to refuse')
def _(repository):
    repository.stage('net/answer.h', UNFORMATTED)
    repository.commit()
    repository.install()
    repository.git('rm', '--quiet', 'net/answer.h')
    status, complaint = repository.commit('net: no number')
    assert status == 0, complaint


@case('subjects without an area, longer than 72 characters or with a full stop are refused')
def _(repository):
    repository.install()
    repository.stage('net/answer.h', GOOD)
    repository.refuses('is not of the form', 'Add a number')
    repository.refuses('has 73 characters', 'net: ' + 68 * 'a')
    repository.refuses('full stop', 'net: a number.')
    repository.refuses('is not empty', 'net: a number\nwith a reason')


@case('subjects of several areas, and those that git writes, are taken')
def _(repository):
    repository.install()
    for number, message in enumerate(('net, tests/e2e: a number', 'fixup! net: a number', 'Merge branch x')):
        repository.stage('net/answer.h', GOOD + number * ['int more();'])
        status, complaint = repository.commit(message)
        assert status == 0, complaint


@case('installing twice changes nothing')
def _(repository):
    first = repository.install()
    hooks = {path.name: path.read_text() for path in (repository.root / '.git/hooks').iterdir()}
    assert repository.install() == first
    assert hooks == {path.name: path.read_text() for path in (repository.root / '.git/hooks').iterdir()}


@case("a hook of the user's own is left as it is, and said")
def _(repository):
    own = repository.root / '.git/hooks/commit-msg'
    own.parent.mkdir(exist_ok=True)
    own.write_text('#!/bin/sh\n')
    result = repository.call('./run', 'hooks')
    assert result.returncode == 2 and 'is there already' in result.stderr, result.stderr
    assert own.read_text() == '#!/bin/sh\n'
    assert not (repository.root / '.git/hooks/pre-commit').exists()


@case('`run hooks` takes no arguments')
def _(repository):
    result = repository.call('./run', 'hooks', 'now')
    assert result.returncode == 2 and 'takes no arguments' in result.stderr, result.stderr


def is_installed(package):
    query = ['dpkg-query', '-W', '-f', '${db:Status-Status}', package]
    return shutil.which('dpkg-query') and subprocess.run(query, capture_output=True, text=True).stdout == 'installed'


def main():
    missing = [package for package in NEEDED if not is_installed(package)]  # `./run hooks` would install them
    if missing:
        print(f'1..0 # SKIP these Debian packages are missing: {", ".join(missing)}')
        return 0
    results = {}
    for sentence, function in CASES.items():
        with tempfile.TemporaryDirectory(prefix='hooks-') as folder:
            try:
                function(Repository(folder))
                results[sentence] = []
            except (AssertionError, subprocess.SubprocessError, OSError) as failure:
                results[sentence] = [failure]
    return print_tap(results)


if __name__ == '__main__':
    sys.exit(main())
