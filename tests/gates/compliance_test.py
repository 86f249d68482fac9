# SPDX-License-Identifier: Apache-2.0
"""The compliance gate on planted trees."""
import compliance
from planted import LICENSE, case, run_cases

HEAD = ('| requirement | | what | shown by |', '|---|---|---|---|')


def page(tree, *lines):
    tree.write('docs/compliance.md', *HEAD, *lines)
    tree.write('tests/conntrack/a_test.cc', LICENSE, 'TEST(Rfc4787, Req1_Mapping) {}', 'TEST_F(Pipeline, Works) {}')
    tree.write('tests/e2e/behaviour/udp.py', '@case("an empty datagram passes")')


@case('tests that exist are accepted: by name, by its beginning, by their sentence')
def _(tree):
    page(tree, '| REQ-1 | met | . | `Rfc4787.Req1_*`, `Pipeline.Works`, `udp.py: an empty datagram passes` |')
    tree.expect(compliance.check)


@case('a GoogleTest that does not exist is refused')
def _(tree):
    page(tree, '| REQ-1 | met | . | `Rfc4787.Req2_*`, `Pipeline.Works` |')
    tree.expect(compliance.check, 'docs/compliance.md:3: no such test: Rfc4787.Req2_*')


@case('a sentence that does not stand in its file, and a file that does not exist, are refused')
def _(tree):
    page(tree, '| REQ-1 | met | . | `udp.py: a full datagram passes`, `tcp.py: an empty datagram passes` |')
    tree.expect(compliance.check, 'docs/compliance.md:3: no such test: udp.py: a full',
                'docs/compliance.md:3: no such test: tcp.py')


@case('what is met must be shown; what is not met need not')
def _(tree):
    page(tree, '| REQ-1 | met | . | by hand |', '| REQ-2 | option | . | |', '| REQ-3 | no | . | |')
    tree.expect(compliance.check, 'docs/compliance.md:3: no test shows REQ-1', 'docs/compliance.md:4: no test shows REQ-2')


@case('a verdict that the page does not explain is refused')
def _(tree):
    page(tree, '| REQ-1 | nearly | . | `Pipeline.Works` |')
    tree.expect(compliance.check, 'docs/compliance.md:3: what is "nearly"?')


@case('without a page, or without a table on it, the gate fails')
def _(tree):
    tree.expect(compliance.check, 'docs/compliance.md:1: there is no table')


if __name__ == '__main__':
    run_cases()
