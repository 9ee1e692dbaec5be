#!/usr/bin/env python3
"""At most one argument of a call in codegen/ may emit code (codegen/build.h): C leaves the order of
arguments to its compiler, and objects must not depend on who compiled spcc. What returns a V emits
code, unless it takes a const bld, and so does what LLVM calls Build. Prints the calls that break
the rule; --self-test shows that it finds one."""
import pathlib
import re
import sys

FOLDER = pathlib.Path(__file__).resolve().parent.parent / 'codegen'
SKIPPED = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
DECLARED = re.compile(r'^(?:static )?V (\w+)\((const bld )?', re.M)
CALL = re.compile(r'\b(\w+)\(')
NO_CALLS = {'if', 'for', 'while', 'switch', 'return', 'sizeof'}


def blank(match):
    """Comments and strings without what could be taken for code; lines stay where they are."""
    return re.sub(r'[^\n]', ' ', match.group())


def arguments(text, start):
    """The arguments of the call whose parenthesis opens before `start`."""
    depth, begin, out = 1, start, []
    for at in range(start, len(text)):
        char = text[at]
        if char in '([{':
            depth += 1
        elif char in ')]}':
            depth -= 1
        if depth == 0 or (depth == 1 and char == ','):
            out.append(text[begin:at])
            begin = at + 1
        if depth == 0:
            break
    return out


def broken(text, emitting):
    """(line, function) of each call with several arguments that emit code."""
    for call in CALL.finditer(text):
        if call.group(1) in NO_CALLS:
            continue
        emits = [any(name in emitting or name.startswith('LLVMBuild') for name in CALL.findall(a))
                 for a in arguments(text, call.end())]
        if sum(emits) > 1:
            yield text.count('\n', 0, call.start()) + 1, call.group(1)


def main():
    files = sorted(FOLDER.glob('*.[ch]'))
    texts = {f: SKIPPED.sub(blank, f.read_text()) for f in files}
    emitting = {name for text in texts.values() for name, pure in DECLARED.findall(text) if not pure}
    if sys.argv[1:] == ['--self-test']:
        bad = 'x = vadd(b, vload(b, p, 0),\n  vmul(b, x, y));\n'
        good = 'x = vadd(b, vload(b, p, 0), k64(b, 1)); /* vadd(b, vload(b), vload(b)) */\n'
        found = list(broken(SKIPPED.sub(blank, good + bad), emitting))
        return 0 if found == [(2, 'vadd')] else f'the rule is not watched over: {found}'
    failed = False
    for file, text in texts.items():
        for line, name in broken(text, emitting):
            print(f'error: codegen/{file.name}:{line}: several arguments of {name} emit code')
            failed = True
    if not failed:
        print('no order of arguments decides what code is emitted')
    return failed


sys.exit(main())
