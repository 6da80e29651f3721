import { readdirSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parseMultiplier } from '../../src/core/units.ts';
import { parseObjectives } from '../../src/documents/metrics/objectives.ts';
import { captureOf } from '../support/captures.ts';
import { runCommand } from '../support/command-here.ts';
import { exchangeOf } from '../support/exchanges.ts';
import { serverOf } from '../support/replaying.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

/** What somebody types by mistake, and what the answer must say to type instead. CAPTURE and URL are real. */
const MISTAKES: readonly (readonly [args: string, answer: RegExp])[] = [
  ['record --dir new', /--target is missing\n {2}hint: .*--target http:.*reprise record --dir .* -- /],
  [
    'record --dir /proc/new --target URL --listen 127.0.0.1:0',
    /^reprise: nothing can be recorded: \/proc\/new.*\n {2}hint: Name a directory/,
  ],
  ['record CAPTURE --dir new', /cannot be started: .*\n {2}hint: .*-- python3/],
  [
    'run CAPTURE',
    /is a directory.*\n {2}hint: .*reprise init CAPTURE .*reprise run --preset sustained CAPTURE/,
  ],
  [
    'replay CAPTURE --target URL --multiplier 1e9',
    /--multiplier: "1e9" is more than a million.*\n {2}hint: .*1\.5.*--rate/,
  ],
  ['export k7 CAPTURE', /^reprise: "k7" is not a format: .*\bk6\b/],
  ['replay CAPTURE --target URL --slo p95<300ms', /write "latency: p\(95\)<300"/],
  ['show CAPTURE --status 4**', /--status: "4\*\*" is no HTTP status\n {2}hint: .*404.*4xx/],
  ['show CAPTURE 1 --full', /--full has no effect without --payload.*\n {2}hint: Add --payload/],
  [
    'replay CAPTURE --model gpt --dry-run',
    /^reprise: No exchange of the window has model gpt\b.*\n {2}hint: /,
  ],
  [
    'replay CAPTURE --model gpt --target URL',
    /^reprise: No exchange of the window has model gpt\b.*\n {2}hint: /,
  ],
  [
    'capacity CAPTURE --model gpt --target URL --slo errors:rate<0.1',
    /No exchange of the window has model gpt\b.*\n {2}hint: /,
  ],
  [
    'replay CAPTURE --target URL --rate 200000 --duration 10s',
    /up to 20\d{4} requests in a second.*\n {2}hint: .*--threads.*--max-rate/,
  ],
  [
    'replay CAPTURE --target URL --rate 2000000 --duration 10s',
    /^reprise: --rate: "2000000" is more than a million/,
  ],
  [
    'replay CAPTURE --target URL --duration 30',
    /--duration: "30" is not a duration.*\n {2}hint: Did you mean 30s\?/,
  ],
  ['replay CAPTURE --target URL --rps 50', /unknown option '--rps'\n {2}hint: Did you mean --rate\?/],
  ['replay CAPTURE --url URL', /unknown option '--url'\n {2}hint: Did you mean --target\?/],
  ['record --target URL --out new', /unknown option '--out'\n {2}hint: Did you mean --dir\?/],
  ['record --target URL --dir new --port 8080', /unknown option '--port'\n {2}hint: Did you mean --listen\?/],
  ['report', /missing required argument 'run'\n {2}hint: reprise report RUN: RUN is .*replay/],
  ['init', /missing required argument 'capture'\n {2}hint: reprise init CAPTURE: /],
  ['run', /missing required argument 'scenario'\n {2}hint: reprise run SCENARIO: /],
  ['run new.yaml', /scenario new\.yaml cannot be read.*\n {2}hint: .*reprise init CAPTURE/],
  ['import arrivals', /missing required argument 'file'\n {2}hint: reprise import arrivals FILE: /],
  ['report CAPTURE', /is not a readable run: it is a capture\n {2}hint: .*reprise inspect/],
];

test.each(MISTAKES)(
  'reprise %s is answered with what to type, and nothing is written or sent',
  async (args, answer) => {
    const server = await serverOf();
    const capture = captureOf([exchangeOf()]);
    const cwd = temporaryDirectory();
    const before = readdirSync(capture);
    const words = args
      .split(' ')
      .map((word) => (word === 'CAPTURE' ? capture : word === 'URL' ? server.url : word));
    const { status, stdout, stderr } = await runCommand(words, { cwd });
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr.replaceAll(capture, 'CAPTURE')).toMatch(answer);
    expect(readdirSync(cwd)).toEqual([]);
    expect(readdirSync(capture)).toEqual(before);
    expect(server.requests).toEqual([]);
  },
);

test('a plan of more than can be sent is planned with a warning', async () => {
  const load = ['--rate', '30000', '--duration', '1s', '--max-requests', '9'];
  const args = ['replay', captureOf([exchangeOf()]), '--dry-run', ...load];
  const { status, stderr } = await runCommand(args);
  expect({ status, stderr }).toEqual({
    status: 0,
    stderr: expect.stringMatching(/^warning: .* \d{5} requests .*\n {2}hint: /),
  });
  const limited = await runCommand([...args, '--max-rate', '10000']);
  expect(limited).toMatchObject({ status: 0, stderr: '' });
});

test.each([
  ['p95<300ms', 'latency: p(95)<300'],
  ['p(99.9) <= 2s', 'latency: p(99.9)<=2s'],
  ['latency < 300', 'latency: p(95)<300'],
  ['p95 ttft<1s', 'ttft: p(95)<1s'],
  ['errors<1%', 'errors: rate<1%'],
])('an objective %s is answered with %s', (text, meant) => {
  expect(() => parseObjectives([text])).toThrow(`write "${meant}"`);
  expect(parseObjectives([meant])[0]?.expression).toBe(meant);
});

test.each(['speed<300', 'p95', '<5', 'p(95)>300', 'latency=5'])(
  'an objective %s is answered with the metrics',
  (text) => {
    expect(() => parseObjectives([text])).toThrow(/no metric \(latency, |no preset/);
  },
);

test('a million times the recorded pace is the most', () => {
  expect(parseMultiplier('1e6', '')).toBe(1e6);
  expect(parseMultiplier('1000000x', '')).toBe(1e6);
  for (const text of ['1000001', '1e400', '9'.repeat(400)])
    expect(() => parseMultiplier(text, '')).toThrow('a million');
});
