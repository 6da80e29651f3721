import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { columnsOf, tableLines } from '../../src/analysis/render/table.ts';
import { createLogger } from '../../src/cli/logger.ts';
import { Terminal } from '../../src/cli/terminal.ts';
import { systemClock } from '../../src/core/clock.ts';
import { LogCommand, shownText, TonedLine } from '../../src/core/text.ts';

class TextOutput {
  text = '';
  readonly isTTY: boolean;
  readonly columns: number;

  constructor(isTTY: boolean, columns = 20) {
    this.isTTY = isTTY;
    this.columns = columns;
  }

  write(text: string): void {
    this.text += text;
  }
}

function makeTerminal(isTTY = false, noColor = '') {
  const clock = {
    ns: 0,
    nowNs: () => clock.ns,
    epochUs: () => 0,
    anchor: () => ({ monotonicNs: 0, epochUs: 0 }),
  };
  const stdout = new TextOutput(isTTY);
  const stderr = new TextOutput(isTTY);
  return { terminal: new Terminal(stdout, stderr, clock, noColor), stdout, stderr, clock };
}

describe('the terminal', () => {
  test('prints results to stdout and notes to stderr', () => {
    const { terminal, stdout, stderr } = makeTerminal();
    terminal.print('one', 'two');
    terminal.note('by the way');
    expect(stdout.text).toBe('one\ntwo\n');
    expect(stderr.text).toBe('by the way\n');
  });

  test('leaves no place within a verdict where a log of both streams could have a line of stderr', () => {
    const log: string[] = [];
    const stream = { write: (text: string) => log.push(text) };
    const both = new Terminal(stream, stream, systemClock);
    both.print('FAIL: at 2 times the recorded 2.8', 'min (from 05:55:55)');
    both.note('page written to mine.html', 'history written');
    expect(log).toEqual([
      'FAIL: at 2 times the recorded 2.8\nmin (from 05:55:55)\n',
      'page written to mine.html\nhistory written\n',
    ]);
  });

  test('colours a line where somebody looks who has not said NO_COLOR, and only its own escapes act', () => {
    const line = new TonedLine('FAIL \u001b[2J', 'bad');
    const printed = ([isTTY, noColor]: readonly [boolean, string]) => {
      const { terminal, stdout } = makeTerminal(isTTY, noColor);
      terminal.print(line);
      return stdout.text;
    };
    expect(printed([true, ''])).toBe('\u001b[31mFAIL \\x1b[2J\u001b[0m\n');
    expect(printed([true, '1'])).toBe('FAIL \\x1b[2J\n');
    expect(printed([false, ''])).toBe('FAIL \\x1b[2J\n');
  });

  test('prints one JSON document that ends with a line end', () => {
    const { terminal, stdout } = makeTerminal();
    const document = { exchanges: 3, routes: ['POST /x\u001b[2J'], '\u202emodel\u009b': '\u2028\u007f' };
    terminal.json(document);
    expect(stdout.text.endsWith('}\n')).toBe(true);
    expect(stdout.text).not.toMatch(/(?!\n)[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}]/u);
    expect(JSON.parse(stdout.text)).toEqual(document);
    terminal.jsonLine(document);
    expect(stdout.text).not.toMatch(/(?!\n)[\p{Cc}\p{Bidi_Control}\p{Zl}\p{Zp}]/u);
  });

  test('shows progress only where somebody can watch it', () => {
    const { terminal, stderr } = makeTerminal(false);
    terminal.progress('50 %');
    expect(terminal.interactive).toBe(false);
    expect(stderr.text).toBe('');
  });

  test('redraws progress at most five times a second, within the width of the screen', () => {
    const { terminal, stderr, clock } = makeTerminal(true);
    terminal.progress('a');
    clock.ns = 199_999_999;
    terminal.progress('b');
    clock.ns = 200_000_000;
    terminal.progress('c'.repeat(100));
    expect(stderr.text).toBe(`\r\u001b[2Ka\r\u001b[2K${'c'.repeat(19)}`);
  });

  test('shows no part of a number: what does not fit is left out whole', () => {
    const part = fc.string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 30 });
    fc.assert(
      fc.property(fc.array(part, { minLength: 1 }), fc.integer({ min: 1, max: 120 }), (parts, columns) => {
        const stderr = new TextOutput(true, columns);
        new Terminal(stderr, stderr, { ...systemClock, nowNs: () => 0 }).progress(...parts);
        const line = stderr.text.slice('\r\u001b[2K'.length);
        expect(line.length).toBeLessThan(columns);
        const prefixes = parts.map((_, at) => parts.slice(0, at + 1).join('  '));
        const fitting = prefixes.filter(({ length }) => length < columns);
        expect(line).toBe(fitting.at(-1) ?? prefixes[0]?.slice(0, columns - 1));
      }),
    );
  });

  test('takes progress away before anything else is printed, and only once', () => {
    const { terminal, stdout, stderr } = makeTerminal(true);
    terminal.progress('50 %');
    terminal.print('done');
    terminal.print('really');
    expect(stderr.text).toBe('\r\u001b[2K50 %\r\u001b[2K');
    expect(stdout.text).toBe('done\nreally\n');
  });
});

describe('the log of a pipeline', () => {
  const hostile = ['::set-env name=a::b', '  ::add-mask::x', '##[error]x', 'a ##vso[task.complete]'];
  /** What the runners of GitHub and Azure take for a command. */
  const COMMAND = /^\s*::|##\w*\[/m;

  test('takes no captured text for a command', () => {
    const { terminal, stdout, stderr } = makeTerminal();
    terminal.print(...hostile);
    terminal.note(...hostile);
    terminal.json({ model: hostile[2] });
    terminal.jsonLine({ model: hostile[3] });
    expect(stdout.text + stderr.text).not.toMatch(COMMAND);
    expect(JSON.parse(stdout.text.split('\n').at(-2) ?? '')).toEqual({ model: hostile[3] });
  });

  test('takes our own for one', () => {
    const { terminal, stderr } = makeTerminal();
    terminal.note('kept', new LogCommand('::error title=FAIL::model ##[group]'));
    expect(stderr.text).toBe('kept\n::error title=FAIL::model #\\x23[group]\n');
  });

  test('takes no field of a log line for a command', () => {
    const lines: string[] = [];
    for (const format of ['json', 'pretty'] as const) {
      const logger = createLogger(format, { write: (line) => lines.push(line) });
      for (const model of hostile) logger.info({ model }, 'loaded');
    }
    expect(lines).toHaveLength(8);
    expect(lines.join('')).not.toMatch(COMMAND);
    expect(JSON.parse(lines[2] ?? '')).toMatchObject({ model: hostile[2], message: 'loaded' });
  });
});

describe('a table', () => {
  test('is aligned by its widest cell, numbers flush right, without trailing blanks', () => {
    const lines = tableLines(
      [...columnsOf(['route'], ['count']), ...columnsOf(['note'], [])],
      [
        ['POST /v2/models/{model}/infer', '7', ''],
        ['GET /x', '12345', 'slow'],
      ],
    );
    expect(lines).toEqual([
      'route                          count  note',
      'POST /v2/models/{model}/infer      7',
      'GET /x                         12345  slow',
    ]);
  });

  test('cannot be bent by captured text', () => {
    const lines = tableLines(columnsOf(['a', 'b'], []), [['x\ny\u001b[A\tz', '1']]);
    expect(lines).toEqual(['a               b', 'x\\x0ay\\x1b[A z  1']);
  });
});

describe('captured text', () => {
  test('loses every control character and every mark of direction', () => {
    expect(shownText('\u001b[31m\u0007\u009b\r\u202e\u2066\u2028\u007f')).toBe(
      '\\x1b[31m\\x07\\x9b\\x0d\\x202e\\x2066\\x2028\\x7f',
    );
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(shownText(text)).not.toMatch(/(?!\t)[\p{Cc}\p{Bidi_Control}]/u);
      }),
    );
  });

  test('keeps what can be read, in any script', () => {
    expect(shownText('POST /größe/模型\t→ 200')).toBe('POST /größe/模型\t→ 200');
  });
});
