import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { inertJson, shownJsonText } from '../../src/core/text.ts';
import { type ExportFormat, OutputFile } from '../../src/formats/export-writer.ts';
import { EXPORT_FORMATS } from '../../src/formats/index.ts';
import { k6Program, RateSteps } from '../../src/formats/k6.ts';
import { arrivalAlone, exchangeOf, requestMessage, responseMessage } from '../support/exchanges.ts';
import {
  exportOf,
  HOSTILE,
  jsonLines,
  NO_ACCOUNT,
  numberedExchanges,
  sendsOf,
} from '../support/export-scene.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

/** Controls, marks of direction and what ends a script: nothing of it may stand in a text file as it is. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
const HARMFUL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202e]|<\/|<!/u;

describe('an export', () => {
  test.each(EXPORT_FORMATS.map((format) => [format.name, format] as const))(
    'to %s keeps hostile text inert, its files private, and its names its own',
    (_, format) => {
      const text = `${HOSTILE} \u202e`;
      const harmful = exchangeOf({
        model: text,
        route: `POST /${text}`,
        request: requestMessage({
          target: '/..%2f..%2fetc/passwd?=cmd',
          headers: [
            ['Host', '../../../etc\x9b'],
            ['Content-Type', 'application/json</script>'],
            ['X-Evil', '=1+1\x9b31m</script>'],
          ],
          body: JSON.stringify({ text }),
        }),
        response: responseMessage(200, text),
      });
      const { path, files } = exportOf(format, sendsOf([harmful]));
      for (const { name } of files)
        expect([null, 'locustfile.py', 'replay.js', 'requests.jsonl']).toContain(name);
      const paths = format.shape === 'file' ? [path] : readdirSync(path).map((name) => join(path, name));
      for (const file of paths) {
        expect(statSync(file).mode & 0o777).toBe(0o600);
        if (format.name !== 'parquet') {
          const lines = readFileSync(file, 'utf8').replaceAll('\r\n', '\n');
          // In tables and traces markup is a text like any other; only a page would have to escape it.
          expect(['csv', 'mooncake'].includes(format.name) ? lines.replaceAll('</', '') : lines).not.toMatch(
            HARMFUL,
          );
        }
      }
      if (format.shape === 'directory') {
        const [row] = jsonLines<{ r: string }>(join(path, 'requests.jsonl'));
        expect(row?.r).toMatch(/^POST \/=cmd.*\\x1b/);
        expect(row?.r.replaceAll('</', '')).not.toMatch(HARMFUL);
      }
      expect(readdirSync(dirname(path)).length).toBe(1);
    },
  );

  test('says the same in another way: inert JSON is the same JSON', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(JSON.parse(inertJson(value))).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
    const text = '{"a":"\u009b\u202e","b":12345678901234567890}';
    expect(JSON.parse(shownJsonText(text))).toEqual(JSON.parse(text));
    expect(shownJsonText(text)).not.toMatch(HARMFUL);
  });

  test('never writes into a file that is there', () => {
    const path = join(temporaryDirectory(), 'there');
    writeFileSync(path, 'mine');
    expect(() => new OutputFile(path)).toThrow(/EEXIST/);
    expect(readFileSync(path, 'utf8')).toBe('mine');
  });
});

describe('what formats cannot carry', () => {
  test.each(EXPORT_FORMATS.map((format) => [format.name, format] as const))(
    'is stated by %s',
    (_, format) => {
      expect(format.cannotCarry.length).toBeGreaterThan(0);
    },
  );

  test('is counted: repeated and chunked headers, bodies that are no JSON, responses that are not there', () => {
    const sends = sendsOf(numberedExchanges(20));
    const chunked = sends.map((send) => ({
      ...send,
      request: send.request && { ...send.request, chunked: true },
    }));
    const lostBy = (name: string, given = sends) =>
      exportOf(EXPORT_FORMATS.find((each) => each.name === name)!, given).lost;
    expect(lostBy('locust')).toEqual({ 'a header that came more than once: its values are joined': 20 });
    expect(lostBy('vegeta', chunked)).toEqual({ 'a chunked body: sent with its length': 20 });
    expect(Object.values(lostBy('mooncake'))).toEqual([2]);
    expect(lostBy('har')).toEqual({ 'a binary request body: base64, which other readers treat as text': 2 });
    expect(lostBy('csv')).toEqual({});
  });

  test('leaves a table of arrivals alone that says so of each', () => {
    const { path } = exportOf(
      EXPORT_FORMATS.find(({ name }) => name === 'csv')!,
      sendsOf([arrivalAlone(1_700_000_000_000_000)]).map((send) => ({
        ...send,
        request: null,
        skipped: 'no_payload',
      })),
    );
    const [, row = ''] = readFileSync(path, 'utf8').split('\r\n');
    expect(row).toMatch(/1700000000000000,.*,no_payload$/);
  });
});

test('a Mooncake payload keeps its digits and its keys, on one line', () => {
  const body = '{\r\n "b": 1.10, "a": 12345678901234567890,\n "text": "one\\ntwo"\n}';
  const { path } = exportOf(
    EXPORT_FORMATS.find(({ name }) => name === 'mooncake')!,
    sendsOf([exchangeOf({ request: requestMessage({ body }) })]),
  );
  const text = readFileSync(path, 'utf8');
  expect(text.split('\n')).toHaveLength(2);
  expect(text).toContain('"b": 1.10, "a": 12345678901234567890');
  expect(jsonLines<{ payload: { text: string } }>(path)[0]?.payload.text).toBe('one\ntwo');
});

test('a Mooncake payload keeps its markup: a trace is no page', () => {
  const body = '{"text":"</script><!-- </think>"}';
  const { path } = exportOf(
    formatNamed('mooncake'),
    sendsOf([exchangeOf({ request: requestMessage({ body }) })]),
  );
  expect(readFileSync(path, 'utf8')).toContain(`"payload": ${body}}`);
});

test.each([
  [4, 300e9, '4/300s'],
  [19_366, 3_600_123e6, '19366/3600123ms'],
  [10, 1.5, '10/2ns'],
  [7, 0, '7/1s'],
])('the rate that is printed for Vegeta is the mean of %i requests in %i ns', (requests, spanNs, rate) => {
  const settings = {
    creator: { name: 'reprise', version: '0' },
    origin: 'http://h',
    mode: 'exact',
    includeBodies: false,
    objectives: null,
    promptBlocks: null,
    account: NO_ACCOUNT,
  } as const;
  const writer = formatNamed('vegeta').open(join(temporaryDirectory(), 'out'), settings);
  writer.end({ requests, spanNs, concurrency: 1 });
  expect(writer.usage[0]).toContain(` -rate=${rate} `);
});

test('headers that are called like members of every object reach k6 as they are', () => {
  const program = k6Program({
    mode: 'rate',
    target: '',
    requests: 1,
    spanS: 1,
    users: 1,
    stepS: 1,
    counts: [1],
    thresholds: {},
  });
  const source = /function headersOf[\s\S]*?\n\}\n/.exec(program)?.[0];
  const headersOf = runInNewContext(`(() => { const extra = {}; ${source}; return headersOf; })()`) as (
    pairs: readonly (readonly [string, string])[],
  ) => object;
  const pairs = [
    ['constructor', '1'],
    ['__proto__', '2'],
    ['toString', '3'],
    ['X', 'a'],
    ['x', 'b'],
  ] as const;
  expect(Object.entries(headersOf(pairs))).toEqual([
    ['constructor', '1'],
    ['__proto__', '2'],
    ['toString', '3'],
    ['X', 'a, b'],
  ]);
});

function formatNamed(name: string): ExportFormat {
  return EXPORT_FORMATS.find((format) => format.name === name)!;
}

describe('steps of a rate', () => {
  test('hold every send, in as many steps as there may be', () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 3_600_000 }), { minLength: 1 }), (offsetsMs) => {
        const steps = new RateSteps(16);
        for (const ms of offsetsMs.sort((a, b) => a - b)) steps.add(ms * 1e6);
        expect(steps.counts.length).toBeLessThanOrEqual(16);
        expect(steps.counts.reduce((sum, count) => sum + count, 0)).toBe(offsetsMs.length);
        const last = offsetsMs.at(-1) ?? 0;
        expect(steps.counts.length).toBe(Math.floor(last / 1000 / steps.stepS) + 1);
      }),
    );
  });
});
