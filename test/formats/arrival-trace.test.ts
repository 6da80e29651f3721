import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { AppError } from '../../src/core/errors.ts';
import type { Exchange } from '../../src/core/exchange.ts';
import { arrivalSource } from '../../src/formats/arrival-trace.ts';
import { Redaction } from '../../src/redaction/head-redaction.ts';
import { repeated } from '../support/long-form.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';
import { type ArrivalFlags, hash, hmac, imported, latin1, never, readingOf, traceFile } from './support.ts';

const MS: ArrivalFlags = { time: 't', unit: 'ms' };

async function arrivalsOf(
  content: string | Buffer,
  name?: string,
  raw: ArrivalFlags = MS,
): Promise<number[]> {
  return (await imported(traceFile(content, name), raw)).arrivals;
}

async function problemOf(
  content: string | Buffer,
  raw: ArrivalFlags = MS,
  name = 'trace.csv',
): Promise<{ code: string; message: string; hint: string | null }> {
  const path = traceFile(content, name);
  const thrown: unknown = await imported(path, raw).then(
    () => expect.unreachable('the import should have failed'),
    (error: unknown) => error,
  );
  expect(thrown).toBeInstanceOf(AppError);
  const { code, message, hint } = thrown as AppError;
  expect(message.startsWith(path)).toBe(true);
  return { code, message: message.slice(path.length), hint };
}

describe('a CSV trace', () => {
  test('is read with CRLF or LF, with or without a last line end, and with blank lines', async () => {
    const expected = [1_000, 2_500, 3_000];
    for (const content of [
      't,n\n1,a\n2.5,b\n3,c\n',
      't,n\r\n1,a\r\n2.5,b\r\n3,c',
      't,n\n1,a\n\n2.5,b\r\n3,c\n\n\n',
    ]) {
      expect(await arrivalsOf(content)).toEqual(expected);
    }
  });

  test('may carry a byte order mark and quoted fields with commas, quotes and line ends in them', async () => {
    const content = '\ufeff"t","who"\r\n"1","a,""b""\r\nc"\r\n"2",plain\r\n';
    const { exchanges } = await imported(traceFile(content), { ...MS, clientField: 'who' });
    expect(exchanges.map((exchange) => exchange.arrivalUs)).toEqual([1_000, 2_000]);
    expect(exchanges[0]?.client).toEqual(hmac('client\0a,"b"\r\nc', 8));
  });

  test('may be gzip whatever its name says, and may not be although it is called .gz', async () => {
    expect(await arrivalsOf(gzipSync('t\n1\n2\n'), 'trace.csv')).toEqual([1_000, 2_000]);
    const path = join(temporaryDirectory(), 'trace.csv.gz');
    writeFileSync(path, 't\n1\n2\n');
    expect((await imported(path, MS)).arrivals).toEqual([1_000, 2_000]);
  });

  test('may be gzip of several members, as appending makes them', async () => {
    expect(await arrivalsOf(Buffer.concat([gzipSync('t\n1\n'), gzipSync('2\n')]))).toEqual([1_000, 2_000]);
  });

  test('keeps order, ties and rows that go back in time, and counts the latter', async () => {
    const { arrivals, tally } = await imported(traceFile('t\n5\n5\n3\n3\n9\n8\n'), MS);
    expect(arrivals).toEqual([5_000, 5_000, 3_000, 3_000, 9_000, 8_000]);
    expect(tally).toEqual({ rows: 6, firstArrivalUs: 3_000, lastArrivalUs: 9_000, outOfOrder: 2 });
  });

  test('counts numbers from the origin, and gaps from the row before', async () => {
    const origin = '2026-11-20T10:00:00Z';
    const originUs = Date.parse(origin) * 1000;
    expect(await arrivalsOf('t\n0\n1.5\n', undefined, { ...MS, origin })).toEqual([
      originUs,
      originUs + 1_500,
    ]);
    expect(await arrivalsOf('t\n66\n0\n117\n', undefined, { ...MS, origin, gaps: true })).toEqual(
      [66_000, 66_000, 183_000].map((us) => originUs + us),
    );
  });

  test('longer than any chunk comes out whole and in order', async () => {
    const count = 120_000;
    const content = `t,x\n${Array.from({ length: count }, (_, row) => `${row},${'é'.repeat(row % 5)}`).join('\n')}\n`;
    for (const name of ['trace.csv', 'trace.csv.gz']) {
      const arrivals = await arrivalsOf(content, name);
      expect(arrivals).toHaveLength(count);
      expect(arrivals.findIndex((arrivalUs, row) => arrivalUs !== row * 1_000)).toBe(-1);
    }
  });
});

describe('a JSONL trace', () => {
  test('gives the same arrivals as a CSV, by key or by JSON pointer', async () => {
    const lines = [1, 2.5, 3].map((t) => JSON.stringify({ t, at: { 'a/b': t } })).join('\r\n');
    expect(await arrivalsOf(lines, 'trace.jsonl')).toEqual([1_000, 2_500, 3_000]);
    expect(await arrivalsOf(lines, 'trace.jsonl', { ...MS, time: '/at/a~1b' })).toEqual([
      1_000, 2_500, 3_000,
    ]);
  });

  test('keeps the digits of a number that no double can hold', async () => {
    const content = '{"t": 1700000000.123456500000001, "user": 12345678901234567890}\n';
    const raw = { time: 't', unit: 's', clientField: 'user' };
    const { exchanges } = await imported(traceFile(content, 'trace.jsonl'), raw);
    expect(exchanges[0]?.arrivalUs).toBe(1_700_000_000_123_457);
    expect(exchanges[0]?.client).toEqual(hmac('client\x0012345678901234567890', 8));
  });

  test('takes text as time, and leaves an absent or empty client without a key', async () => {
    const content =
      '{"t":"2023-11-16T18:15:46.68059Z","c":""}\n{"t":"2023-11-16T18:15:47Z","c":null}\n{"t":"2023-11-16T18:15:48Z"}';
    const { exchanges, arrivals } = await imported(traceFile(content), { time: 't', clientField: 'c' });
    expect(arrivals[0]).toBe(1_700_158_546_680_590);
    expect(exchanges.map((exchange) => exchange.client)).toEqual([null, null, null]);
  });
});

describe('clients and sessions', () => {
  test('become keyed hashes: equal for equal text, apart for different text, key and kind', async () => {
    const content = 't,c,s\n1,ann,ann\n2,bob,\n3,ann,x\n';
    const { exchanges } = await imported(traceFile(content), { ...MS, clientField: 'c', sessionField: 's' });
    const [first, second, third] = exchanges;
    expect(first?.client).toEqual(hmac('client\0ann', 8));
    expect(third?.client).toEqual(first?.client);
    expect(second?.client).not.toEqual(first?.client);
    expect(first?.session).toEqual(hmac('session\0ann', 8));
    expect(second?.session).toBeNull();
  });
});

test('an arrival without payload says of everything else that it is not known', async () => {
  const { exchanges } = await imported(traceFile('t\n1\n'), MS);
  const { arrivalUs, requestChunks, responseChunks, ...unknown } = exchanges[0]!;
  expect({ arrivalUs, requestChunks, responseChunks }).toEqual({
    arrivalUs: 1_000,
    requestChunks: [],
    responseChunks: [],
  });
  expect(new Set(Object.values(unknown))).toEqual(new Set([null]));
});

describe('columns of tokens', () => {
  const facts = (exchanges: readonly Exchange[]) =>
    exchanges.map(({ promptTokens, outputTokens }) => [promptTokens, outputTokens]);

  test.each([
    ['Azure', 't,ContextTokens,GeneratedTokens\n1,374,44\n2,,0\n'],
    ['ServeGen', 't,client,input_tokens,output_tokens\n1,7,374,44\n2,7,,0\n'],
    ['BurstGPT', 't,Model,Request tokens,Response tokens,Total tokens\n1,GPT-4,374,44,418\n2,GPT-4,,0,0\n'],
    ['JSONL', '{"t":1,"input_tokens":374,"output_tokens":"44"}\n{"t":2,"output_tokens":0}\n'],
  ])('are read under the names of %s', async (_, content) => {
    expect(facts((await imported(traceFile(content), MS)).exchanges)).toEqual([
      [374, 44],
      [null, 0],
    ]);
  });

  test('of any name are read where it is given, and what is no whole number is unknown', async () => {
    const flags = { ...MS, promptTokensField: 'in', outputTokensField: 'out' };
    const content = 't,in,out,input_tokens\n1,5,7.0,9\n2,many,-1,9\n';
    expect(facts((await imported(traceFile(content), flags)).exchanges)).toEqual([
      [5, 7],
      [null, null],
    ]);
    await expect(imported(traceFile('t\n1\n'), flags)).rejects.toThrow(/no column "in"/);
  });

  test('make prompts of that length, each another and the same again', async () => {
    const content = 't,ContextTokens,GeneratedTokens\n1,374,44\n2,374,9\n3,12,\n';
    const bodies = async (requestPath: string) => {
      const { exchanges } = await imported(traceFile(content), { ...MS, buildPrompts: 'm', requestPath });
      expect(facts(exchanges)).toEqual([
        [374, 44],
        [374, 9],
        [12, null],
      ]);
      expect(exchanges[0]).toMatchObject({
        route: `POST ${requestPath}`,
        model: 'm',
        outcome: null,
        status: null,
      });
      return exchanges.map(({ request }) => JSON.parse(latin1(request?.body.kept ?? null)));
    };
    const chats = await bodies('/v1/chat/completions');
    const prompts = chats.map(({ messages }) => messages[0].content as string);
    expect(prompts.map((prompt) => prompt.split(' ').length)).toEqual([374, 374, 12]);
    expect(new Set(prompts).size).toBe(3);
    expect(chats.map(({ max_tokens }) => max_tokens)).toEqual([44, 9, undefined]);
    expect((await bodies('/v1/completions')).map(({ prompt }) => prompt)).toEqual(prompts);
    expect(await bodies('/v1/chat/completions')).toEqual(chats);
  });

  test('are not guessed for a prompt: a row without them is refused', async () => {
    const flags = { ...MS, buildPrompts: 'm', requestPath: '/v1/completions' };
    await expect(imported(traceFile('t,ContextTokens\n1,5\n2,\n'), flags)).rejects.toThrow(
      /line 3: no tokens/,
    );
    await expect(imported(traceFile('t\n1\n'), flags)).rejects.toThrow(/line 2: no tokens/);
    await expect(imported(traceFile('t,input_tokens\n1,99999999999\n'), flags)).rejects.toThrow(/too large/);
  });
});

test('any gaps written as CSV or JSONL, packed or not, come back as the arrivals they were', async () => {
  const gaps = fc.array(fc.oneof(fc.constant(0), fc.nat(50_000_000)), { minLength: 1, maxLength: 40 });
  await fc.assert(
    fc.asyncProperty(gaps, fc.boolean(), fc.boolean(), async (gapsUs, packed, jsonl) => {
      let sumUs = 0;
      const expected = gapsUs.map((gapUs) => (sumUs += gapUs));
      const texts = gapsUs.map((us) => `${Math.floor(us / 1e6)}.${String(us % 1e6).padStart(6, '0')}`);
      const content = jsonl
        ? texts.map((text) => `{"dt":${text}}\n`).join('')
        : `n,dt\n${texts.map((text, row) => `${row},${text}\n`).join('')}`;
      const raw = { time: 'dt', unit: 's', gaps: true };
      expect(await arrivalsOf(content, packed ? 'trace.gz' : 'trace', raw)).toEqual(expected);
    }),
    { numRuns: repeated(15, 60) },
  );
});

describe('bad input is refused with its line, the reason and the way out', () => {
  test.each([
    ['an empty file', '', ': the file is empty', null],
    ['a byte order mark and nothing else', '\ufeff', ': the file is empty', null],
    ['blank lines only', '\n\r\n\n', ': holds no exchange', null],
    ['a header and no row', 't,n\n', ': holds no exchange', null],
    ['a time that is none', 't\n1\nabc\n3\n', ', line 3: "abc" is not a number', null],
    ['an empty time', 't,n\n1,a\n,b\n', ', line 3: "" is not a number', null],
    ['a time below zero', 't\n1\n-2\n', ', line 3: "-2" is below zero', null],
    ['a row that is too short', 't,n\n1,a\n2\n', ', line 3: Invalid Record Length', null],
    ['a row that is too long', 't,n\r\n1,a\r\n\r\n2,b,c\r\n', ', line 4: Invalid Record Length', null],
    ['a stray quote', 't,n\n1,a"b\n', ', line 2: Invalid Opening Quote', null],
    ['a quote that never ends', 't,n\n1,a\n"2,b\n3,c\n', ', line 4: Quote Not Closed', null],
    ['a line of a JSONL that is cut', '{"t":1}\n{"t":', ', line 2: not JSON', null],
    [
      'a line that is no object',
      '{"t":1}\n[2]\n',
      ', line 2: not a JSON object',
      'Each line must be an object.',
    ],
    ['an object without the field', '{"t":1}\n{"u":2}\n', ', line 2: no time in field "t"', '"u"'],
    ['a field that is no time', '{"t":1}\n{"t":true}\n', ', line 2: no time in field "t"', null],
    [
      'JSON deeper than a stack',
      `{"t":1}\n{"t":0.5,"u":${'['.repeat(50_000)}${']'.repeat(50_000)}}\n`,
      ', line 2: the JSON is nested too deeply',
      'flatten',
    ],
    ['a JSON array', '[{"t":1}]', ', line 1: the file is a JSON array', 'one JSON object a line'],
    ['a column that is not there', 'a,"b c"\n1,2\n', ', line 1: no column "t"', '"a", "b c"'],
    ['a column that is there twice', 't,t\n1,2\n', ', line 1: two columns are called "t"', 'Rename'],
  ])('%s', async (_title, content, message, hint) => {
    const problem = await problemOf(content);
    expect(problem.code).toBe('INPUT_INVALID');
    expect(problem.message.slice(0, message.length)).toBe(message);
    if (hint !== null) expect(problem.hint).toContain(hint);
  });

  test.each([
    ['a fraction without seconds', '2023-11-16T18:15.5Z', /line 2: "2023-11-16T18:15.5Z" is not an ISO 8601/],
    ['an instant that no capture holds', '2262-04-11T23:47:16Z', /line 2: .* is a time past the year 2255/],
  ])('%s is refused where it stands', async (_title, time, reason) => {
    expect((await problemOf(`t\n${time}\n`, { time: 't' })).message).toMatch(reason);
  });

  test('a number where ISO 8601 is expected asks for the unit instead of guessing one', async () => {
    const problem = await problemOf('t\n1700000000\n', { time: 't' });
    expect(problem.message).toBe(', line 2: "1700000000" is not an ISO 8601 instant');
    expect(problem.hint).toContain('--unit');
  });

  test('milliseconds read as seconds end up past the year 2255, which asks whether the unit is right', async () => {
    const problem = await problemOf('t\n1700000000000\n', { time: 't', unit: 's' });
    expect(problem.message).toContain('line 2: "1700000000000" is a time past the year 2255');
    expect(problem.hint).toContain('--unit');
  });

  test('a gzip cut short says so, and where that showed', async () => {
    const content = `t\n${Array.from({ length: 100_000 }, (_, row) => `${(row * 7919) % 100_003}`).join('\n')}\n`;
    const packed = gzipSync(content);
    const problem = await problemOf(packed.subarray(0, packed.length - 20_000));
    expect(problem.message).toMatch(/^: the gzip data end too early \(after line \d{4,}\)$/);
    expect(problem.hint).toContain('truncated');
  });

  test('a gzip that is damaged says so', async () => {
    const packed = Buffer.from(gzipSync(`t\n${'1\n'.repeat(5_000)}`));
    packed.fill(0xff, 20, 30);
    expect((await problemOf(packed)).message).toContain('not sound gzip');
  });

  test('UTF-16 is named as what it is', async () => {
    expect((await problemOf(Buffer.from('\ufefft\n1\n', 'utf16le'))).message).toBe(': the text is UTF-16');
  });

  test('a field that swallows the file stops at the limit instead of filling memory', async () => {
    const content = `t\n1\n"${'x'.repeat(3 * 1024 * 1024)}`;
    expect((await problemOf(content)).message).toMatch(/^, line 3: Max Record Size/);
  });

  test('a line that never ends stops at the limit', async () => {
    const content = `{"t":1}\n{"t":2,"x":"${'x'.repeat(3 * 1024 * 1024)}"}`;
    expect((await problemOf(content)).message).toMatch(/^, line 2: a line of more than \d+ bytes$/);
  });

  test('a file that is not there, and a folder', async () => {
    const folder = temporaryDirectory();
    await expect(imported(join(folder, 'none.csv'), MS)).rejects.toThrow(/none\.csv: cannot be read: ENOENT/);
    await expect(imported(folder, MS)).rejects.toThrow(/cannot be read: EISDIR/);
  });
});

test('an import that is aborted stops with the reason of the signal', async () => {
  const controller = new AbortController();
  const path = traceFile(`t\n${'1\n'.repeat(200_000)}`);
  const deps = { hash, redaction: new Redaction(), bodies: 'requests' } as const;
  const arrivals = arrivalSource(path, readingOf({ time: 't', unit: 'ms' }), deps, null);
  const reason = new Error('interrupted');
  const reading = (async () => {
    for await (const _ of arrivals.batches(controller.signal)) controller.abort(reason);
  })();
  await expect(reading).rejects.toBe(reason);
  expect(arrivals.tally.rows).toBeLessThan(200_000);
  expect(never.aborted).toBe(false);
});
