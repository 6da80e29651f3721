import { Command, Option } from 'commander';
import { describe, expect, test } from 'vitest';
import { failureOf } from '../../src/cli/exit.ts';
import { AppError, ERROR_CODES } from '../../src/core/errors.ts';

function thrownBy(args: readonly string[]): unknown {
  const command = new Command('reprise')
    .version('1.2.3')
    .option('--multiplier <number>')
    .addOption(new Option('--mode <plane>').choices(['wire', 'gateway']))
    .exitOverride()
    .configureOutput({ writeOut: () => {}, writeErr: () => {}, outputError: () => {} });
  try {
    command.parse(args, { from: 'user' });
  } catch (thrown) {
    return thrown;
  }
  throw new Error('the command line was taken');
}

describe('an error of ours', () => {
  test('that the user caused ends with 2, a target out of reach with 5, the rest with 1', () => {
    const statuses = Object.fromEntries(
      ERROR_CODES.map((code) => [code, failureOf(new AppError(code, 'x')).status]),
    );
    expect(statuses).toEqual({
      OPTION_INVALID: 2,
      INPUT_INVALID: 2,
      CAPTURE_NOT_FOUND: 2,
      CAPTURE_EMPTY: 2,
      CAPTURE_DAMAGED: 2,
      CAPTURE_ENCRYPTED: 2,
      SCHEMA_TOO_NEW: 2,
      SCHEMA_TOO_OLD: 2,
      OUTPUT_EXISTS: 2,
      OUTPUT_UNWRITABLE: 2,
      DISK_QUOTA: 2,
      LISTEN_FAILED: 2,
      TARGET_UNREACHABLE: 5,
      TRACKER_FAILED: 5,
      RECORDER_UNREACHABLE: 5,
      TARGET_FORBIDDEN: 2,
      RUN_ABORTED: 5,
      NODE_TOO_OLD: 2,
      INTERNAL: 1,
    });
  });

  test('keeps its message and its hint', () => {
    const failure = failureOf(new AppError('OPTION_INVALID', '--multiplier: 0', { hint: 'Give 1.5.' }));
    expect(failure).toEqual({ status: 2, message: '--multiplier: 0', hint: 'Give 1.5.' });
  });
});

describe('a command line that is wrong', () => {
  test('ends with 2 and passes on the nearest flag as a hint', () => {
    const failure = failureOf(thrownBy(['--multiplyer', '2']));
    expect(failure).toEqual({
      status: 2,
      message: "unknown option '--multiplyer'",
      hint: 'Did you mean --multiplier?',
    });
  });

  test.each([
    [['--origin=http://u:s3cret@model:80?key=s3cret'], "unknown option '--origin=***'"],
    [['--headr=Authorization: Bearer s3cret'], "unknown option '--headr=***'"],
    [["--headr=a'\n(b) s3cret"], "unknown option '--headr=***'"],
    [['--tarjet=u:s3cret@model'], "unknown option '--tarjet=***'"],
    [['-XKey: s3cret'], "unknown option '-XKey***'"],
    [['x', 'http://u:s3cret@a'], 'too many arguments. Expected 0 arguments but got 2: x, http://***@a.'],
  ])('is quoted without credentials: %j', (args, message) => {
    expect(failureOf(thrownBy(args)).message).toBe(message);
  });

  test.each([
    ["http://u:s3'c ret@model", 'http://***@model'],
    ["u:s3'cret@model", '***@model'],
    ["http://model?key=s3'cret", 'http://model?key=***'],
    ["it's", "it's"],
  ])('quotes a value that is no choice without credentials: %s', (value, shown) => {
    expect(failureOf(thrownBy([`--mode=${value}`]))).toMatchObject({
      message: `option '--mode <plane>' argument '${shown}' is invalid. Allowed choices are wire, gateway.`,
    });
  });

  test('keeps the hint of a flag whose value is not quoted', () => {
    expect(failureOf(thrownBy(['--multiplie=2']))).toMatchObject({
      message: "unknown option '--multiplie=***'",
      hint: 'Did you mean --multiplier?',
    });
  });

  test('without a near flag points to the help', () => {
    expect(failureOf(thrownBy(['--multiplier']))).toEqual({
      status: 2,
      message: "option '--multiplier <number>' argument missing",
      hint: 'See reprise --help.',
    });
  });

  test.each([['--help'], ['--version']])(
    'is not what %s is: it ends with 0 and says nothing more',
    (flag) => {
      expect(failureOf(thrownBy([flag]))).toEqual({ status: 0, message: null, hint: null });
    },
  );
});

describe('anything else that is thrown', () => {
  test('ends with 1 and says how to see more', () => {
    const failure = failureOf(new RangeError('off by one'));
    expect(failure.status).toBe(1);
    expect(failure.message).toBe('unexpected error: RangeError: off by one');
    expect(failure.hint).toContain('REPRISE_DEBUG=1');
  });

  test('is told even when it is no error', () => {
    expect(failureOf('plain text').message).toBe('unexpected error: plain text');
  });
});
