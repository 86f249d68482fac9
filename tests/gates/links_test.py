# SPDX-License-Identifier: Apache-2.0
"""The links gate on planted trees."""
import links
from planted import LICENSE, case, run_cases

# What stands in line 2 of docs/page.md, beside README.md and net/wire.h, and how the message starts; '' when it
# is right.
PAGE_LINES = [
    ('[front](../README.md)', ''),
    ('[front](../READ.md)', 'leads nowhere: ../READ.md'),
    ('[a folder](../net/)', ''),
    ('[gone](../net/gone.h)', 'leads nowhere: ../net/gone.h'),
    ('[from the root](net/wire.h)', 'leads nowhere: net/wire.h'),
    ('![a picture](gone.svg)', 'leads nowhere: gone.svg'),
    ('[elsewhere](https://example.net/a.md)', ''),
    ('[below](#a-heading-of-two)', ''),
    ('[below](#no-heading)', 'no such heading: #no-heading'),
    ('[there](../README.md#front)', ''),
    ('[there](../README.md#back)', 'no such heading: ../README.md#back'),
    ('`[not a link](gone.md)`', ''),
    ('`net/wire.h` and `net/`', ''),
    ('`net/gone.h`', 'no such file: net/gone.h'),
    ('`conntrack/`', 'no such file: conntrack/'),
    ('`other/gone.h`, `gone.h`', ''),
]

COMMENTS = [
    ('// see wire.h, net/wire.h', ''),
    ('// see gone.h', 'no such file: gone.h'),
    ('// see net/gone.h.', 'no such file: net/gone.h'),
    ('/* rte_mbuf.h is not ours */', ''),
    ('#include "net/gone.h"', ''),
    ('const char* text = "gone.h";', ''),
]


def page(text, says):
    @case(f'{"refused" if says else "allowed"} on a page: {text.replace("#", "(hash)")!r}')
    def _(tree):
        tree.write('README.md', '# `Front`')
        tree.write('net/wire.h', LICENSE)
        tree.write('docs/page.md', '## A heading, of two', text)
        tree.expect(links.check, *([f'docs/page.md:2: {says}'] if says else []))


def comment(text, says):
    @case(f'{"refused" if says else "allowed"} in a source: {text.replace("#", "(hash)")!r}')
    def _(tree):
        tree.write('README.md', 'Front')
        tree.write('net/wire.h', LICENSE)
        tree.write('net/a.cc', LICENSE, text)
        tree.expect(links.check, *([f'net/a.cc:2: {says}'] if says else []))


for row in PAGE_LINES:
    page(*row)
for row in COMMENTS:
    comment(*row)


@case('a link in a fenced block is shown, not followed')
def _(tree):
    tree.write('README.md', '```', '[a](gone.md)', '```')
    tree.expect(links.check)


@case('a tree without a page fails: the gate would have looked at nothing')
def _(tree):
    tree.expect(links.check, '.:1: no page found')


if __name__ == '__main__':
    run_cases()
