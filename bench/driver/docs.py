"""Puts a run's table and plots into docs: between two marks of docs/performance.md, and beside it."""

import os
import shutil

BEGIN, END = '<!-- scripts/bench --write-docs: begin -->', '<!-- scripts/bench --write-docs: end -->'


def block(about, table, plots):
    pictures = ['![%s](performance/%s)' % (name[:-4], name) for name in plots]
    return '\n\n'.join([BEGIN, about, table.strip()] + pictures + [END])


def replaced(page, text):
    """@page with @text, marks included, in place of what the marks hold."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError('docs/performance.md has lost its marks')
    return before + text + after


def write(root, about, table, folder, plots):
    page, pictures = os.path.join(root, 'docs', 'performance.md'), os.path.join(root, 'docs', 'performance')
    os.makedirs(pictures, exist_ok=True)
    for name in plots:
        shutil.copyfile(os.path.join(folder, name), os.path.join(pictures, name))
    with open(page, encoding='utf-8') as file:
        text = replaced(file.read(), block(about, table, plots))
    with open(page, 'w', encoding='utf-8') as file:
        file.write(text)
