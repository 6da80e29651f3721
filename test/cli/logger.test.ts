import { describe, expect, test } from 'vitest';
import { createLogger } from '../../src/cli/logger.ts';
import type { LogFormat } from '../../src/cli/terminal.ts';

const clock = {
  nowNs: () => 0,
  epochUs: () => 1_795_537_212_345_678,
  anchor: () => ({ monotonicNs: 0, epochUs: 0 }),
};

function linesOf(format: LogFormat, log: (logger: ReturnType<typeof createLogger>) => void): string[] {
  const lines: string[] = [];
  log(createLogger(format, { write: (line) => lines.push(line) }, clock));
  return lines;
}

describe('logs for a collector', () => {
  test('are one JSON object a line, with level, time, message and fields', () => {
    const [line = '', ...others] = linesOf('json', (logger) =>
      logger.warn({ reason: 'disk_full', lostBytes: 12 }, 'recording is off'),
    );
    expect(others).toEqual([]);
    expect(line.endsWith('}\n')).toBe(true);
    expect(JSON.parse(line)).toEqual({
      level: 'warn',
      time: '2026-11-24T16:20:12.345Z',
      message: 'recording is off',
      reason: 'disk_full',
      lostBytes: 12,
    });
  });
});

describe('logs for a person', () => {
  test('are one line of time, level, message and fields', () => {
    const lines = linesOf('pretty', (logger) => {
      logger.info({ listen: '127.0.0.1:8080', targets: 1 }, 'recording');
      logger.error({ reason: 'heart stopped' }, 'recorder restarted');
      logger.warn({}, 'second signal');
    });
    expect(lines).toEqual([
      '16:20:12.345 info  recording  listen=127.0.0.1:8080 targets=1\n',
      '16:20:12.345 error recorder restarted  reason="heart stopped"\n',
      '16:20:12.345 warn  second signal\n',
    ]);
  });

  test('cannot be forged by text that carries line ends or escapes', () => {
    const lines = linesOf('pretty', (logger) => logger.warn({ host: 'a\n16:20 error\u001b[A' }, 'odd\nhost'));
    expect(lines).toEqual(['16:20:12.345 warn  odd\\x0ahost  host="a\\n16:20 error\\u001b[A"\n']);
  });
});
