import { cpSync, mkdirSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { beforeAll, describe, expect, test } from 'vitest';
import { COMMANDS } from '../../src/cli/commands/index.ts';
import { everyCommand } from '../../src/cli/program.ts';
import { parseMultiplier } from '../../src/core/units.ts';
import { parseObjectives } from '../../src/documents/metrics/objectives.ts';
import { History } from '../../src/storage/history.ts';
import { captureOf } from '../support/captures.ts';
import { runCommand } from '../support/command-here.ts';
import { exchangeOf } from '../support/exchanges.ts';
import { serverOf } from '../support/replaying.ts';
import { mixedSends, storedRun } from '../support/reported-runs.ts';
import { playedAt, searched } from '../support/searched.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';

/**
 * What somebody types by mistake, and what the answer must name: CAPTURE, URL (of a server), PLACE (its address) and the
 * files of the scene are real. The exit code is 2 unless it is given.
 */
const MISTAKES: readonly (readonly [args: string, answer: RegExp, code?: number])[] = [
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
    'replay CAPTURE --filter model=gpt --dry-run',
    /^reprise: No exchange of the window has model gpt\b.*\n {2}hint: /,
  ],
  [
    'replay CAPTURE --filter model=gpt --target URL',
    /^reprise: No exchange of the window has model gpt\b.*\n {2}hint: /,
  ],
  [
    'capacity CAPTURE --filter model=gpt --target URL --slo errors:rate<0.1',
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
  // What is typed first, with only --help read: the words in another order, or without their flags.
  ['replay URL capture', /Did you mean --target URL\?/],
  ['replay capture URL', /Did you mean --target URL\?/],
  ['replay capture 2x --target URL', /Did you mean --multiplier 2x\?/],
  ['replay capture 10s --target URL', /Did you mean --duration 10s\?/],
  ['capacity capture 10m --target URL --slo realtime', /Did you mean --budget 10m\?/],
  ['report run run', /reprise report RUN\b.*reprise report --help/],
  ['compare run run run run', /A1 A2 --with B1 B2/],
  ['compare run', /Give two runs/],
  ['import arrivals times.csv out', /Did you mean --out out\?/],
  ['init capture new.yaml', /Did you mean --out new\.yaml\?/],
  ['status capture', /Did you mean --dir capture\?/],
  ['drain capture', /Did you mean --dir capture\?/],
  ['gate capture', /takes? .*--help|reprise gate with flags: see reprise gate --help/],
  ['faults up.yaml', /reprise faults --help/],
  ['publish run mlflow', /reprise publish RUN\b/],
  ['export run k6', /^reprise: "run" is not a format/],
  ['export k6', /reprise export FORMAT CAPTURE: CAPTURE is directory of a capture\./],
  ['record URL', /Did you mean reprise record --target URL --dir /],
  ['record --dir new URL', /Did you mean reprise record --target URL --dir /],
  ['record --dir new python3 server.py --port 8000', /Put -- before the command/],
  ['record --dir new python3 -m http.server', /Put -- before the command/],
  // Values that are missing, or empty.
  [
    'record --target URL',
    /--dir is missing\n {2}hint: --dir <directory>: directory of the capture, such as captures\/today\./,
  ],
  ['record --target --dir new', /--target has no value: --dir follows it\n {2}hint: --target <url>: /],
  ['record --target URL --dir', /--dir has no value\n {2}hint: --dir <directory>: /],
  ['replay capture --target', /--target has no value\n {2}hint: --target <url>: /],
  ['replay capture --target=', /--target: "" is neither.*\n {2}hint: .*staging:8000/],
  ['replay capture --target URL --slo', /--slo has no value\n {2}hint: --slo <objective>: .*p\(99\)<200/],
  ['replay capture --target URL --multiplier', /--multiplier has no value\n {2}hint: .*1\.5 or 2x/],
  ['publish run', /--to is missing\n {2}hint: --to <where>: .*mlflow:\/\//],
  ['gate', /^reprise: --serve is missing\n--scenario is missing\n {2}hint: --serve <address>: /],
  ['import arrivals times.csv --out new', /--time is missing\n {2}hint: --time </],
  ['capacity capture', /--target is missing\n {2}hint: .*--target http.*reprise capacity --simulate/],
  ['capacity capture --target URL', /--slo is missing.*\n {2}hint: .*--slo /],
  // Addresses.
  ['record --target 18111 --dir new', /Did you mean 127\.0\.0\.1:18111\?/],
  ['record --target localhost --dir new', /Did you mean localhost:8000\?/],
  ['record --target ftp://127.0.0.1:8000 --dir new', /Did you mean http:\/\/127\.0\.0\.1:8000\?/],
  ['record --target http:/127.0.0.1:8000 --dir new', /Did you mean http:\/\/127\.0\.0\.1:8000\?/],
  ['record --target http://127.0.0.1:8000/v1 --dir new', /paths pass through unchanged/],
  ['record --target URL --dir new --listen 18119', /Did you mean 127\.0\.0\.1:18119\?/],
  ['record --target 127.0.0.1:8085 --dir new --listen 127.0.0.1:8085', /the address of the model server/],
  ['record --target URL --dir new --listen PLACE', /another --listen|--listen/],
  ['replay capture --target 127.0.0.1', /Did you mean 127\.0\.0\.1:8000\?/],
  ['replay capture --target http//staging:8000', /Did you mean http:\/\/staging:8000\?/],
  ['replay capture --target http://127.0.0.1:1', /cannot be reached.*\n {2}hint: /, 5],
  // Units and numbers.
  ['replay capture --target URL --duration 5min', /Did you mean 5m\?/],
  ['replay capture --target URL --duration "5 sec"', /Did you mean 5s\?/],
  ['record --target URL --dir new --max-disk 10G', /Did you mean 10GiB\?/],
  ['record --target URL --dir new --retain 28', /Did you mean 28s\?.*\bd\b/],
  ['record --target URL --dir new --sample 150%', /such as 10% or 0\.1/],
  ['replay capture --target URL --multiplier 2x,4x', /such as 1, 1\.5 or 2x/],
  ['replay capture --target URL --multiplier -2', /such as 1, 1\.5 or 2x/],
  ['replay capture --target URL --stages 10s:1x', /10m@1x/],
  ['replay capture --target URL --stages 1x@30s', /TIME@MULTIPLIER/],
  ['replay capture --target URL --rate 50rps --duration 1s', /--rate: "50rps".*\n {2}hint: --rate </],
  ['replay capture --target URL --max-in-flight 0', /\n {2}hint: --max-in-flight <n\|parts>: /],
  ['replay capture --target URL --window yesterday', /--window: "yesterday" is no window/],
  ['replay capture --target URL --window 2025-01-01T00:00:00Z..2025-01-02T00:00:00Z', /It holds 20\d\d-/],
  ['report run --tz Berlin', /Europe\/Berlin/],
  // Objectives.
  ['replay capture --target URL --slo "latncy: p(95)<300"', /write latency\b/],
  ['replay capture --target URL --slo "http_req_duration: p(95)<300"', /write service\b/],
  ['replay capture --target URL --slo realtme', /write realtime\b/],
  ['replay capture --target URL --slo "latency: p95 < 300"', /write p\(95\)/],
  // Words for commands and flags that other tools have.
  ['recrod --target URL', /Did you mean record\?/],
  ['stop --dir capture', /Did you mean drain\?/],
  ['version', /Did you mean --version\?/],
  ['diff run run', /Did you mean compare\?/],
  ['help recrod', /Did you mean reprise help record\?/],
  ['import csv times.csv', /Did you mean arrivals\?/],
  ['import trace.har --out new', /reprise import har trace\.har --out /],
  ['capture', /reprise inspect capture/],
  ['replay capture --dryrun', /Did you mean --dry-run\?/],
  ['replay capture -m 2', /See reprise replay --help/],
  ['inspect capture --html page.html', /It is a flag of .*\breport\b/],
  ['report run --slo realtime', /It is a flag of .*\breplay\b/],
  ['forget capture --session x', /Did you mean --session-/],
  ['ls capture', /Did you mean inspect\?/],
  ['breakpoint capture', /Did you mean capacity\?/],
  ['remove capture', /Did you mean forget\?/],
  ['import nginx access.log', /Did you mean arrivals\?/],
  ['import access.log', /reprise import arrivals access\.log --time FIELD --out /],
  ['replay access.log --target URL', /reprise import arrivals access\.log --time FIELD --out /],
  ['replay capture --target URL --at 2x', /Did you mean --multiplier\?/],
  ['forget capture --user u1', /Did you mean --client-name\?/],
  ['record --target URL --dir new --mask x-user', /Did you mean --redact\?/],
  // One path where another belongs.
  ['inspect run', /it is a run\n {2}hint: .*reprise report run\b/],
  ['inspect search', /it is a search of reprise capacity\n {2}hint: .*reprise report search\b/],
  ['inspect run/run.sqlite', /it is a file of a run\n {2}hint: Give the directory: run\./],
  ['inspect captrue', /there is no such directory\n {2}hint: Did you mean capture\?/],
  ['inspect empty', /it is empty\n {2}hint: .*reprise record --dir/],
  ['inspect runs', /\n {2}hint: Name one within it, such as runs\/monday\./],
  ['inspect profile.json', /it is a profile\n {2}hint: .*reprise profile --document profile\.json/],
  ['inspect history.sqlite', /it is a database\n {2}hint: .*reprise history history\.sqlite/],
  ['replay scenario.yaml --target URL', /\n {2}hint: .*reprise run scenario\.yaml/],
  ['replay trace.har --target URL', /\n {2}hint: .*reprise import har trace\.har --out /],
  ['replay notes.txt --target URL', /\n {2}hint: .*reprise import --help/],
  ['replay search --target URL', /\n {2}hint: .*reprise report search\b/],
  ['replay run --target URL', /\n {2}hint: .*reprise report run\b/],
  ['report runn', /\n {2}hint: Did you mean run\?/],
  ['report runs', /\n {2}hint: Name one within it, such as runs\/monday\./],
  ['report run/run.sqlite', /it is a file of a run\n {2}hint: Give the directory: run\./],
  ['report search --format k6', /\n {2}hint: .*reprise report search\/steps\/01/],
  ['run run', /\n {2}hint: .*reprise report run\b/],
  ['compare run/run.sqlite run', /it is a file of a run\n {2}hint: Give the directory: run\./],
  ['compare run notes.txt', /\n {2}hint: .*profile --json/],
  ['report pair', /it is a replay of two targets\n {2}hint: .*reprise compare pair \(--html FILE/],
  ['show pair', /\n {2}hint: .*reprise compare pair\b/],
  ['inspect pair', /\n {2}hint: .*reprise compare pair\b/],
  ['replay pair --target URL', /\n {2}hint: .*reprise compare pair\b/],
  [
    'report pair/comparison.json',
    /it is a file of a replay of two targets\n {2}hint: Give the directory: pair\./,
  ],
  ['report weeks', /\n {2}hint: Name one within it, such as weeks\/pair\./],
  ['compare run search', /\n {2}hint: Give a run/],
  ['history run', /it is|a directory\n {2}hint: .*reprise report run\b/],
  ['history nothing.sqlite', /\n {2}hint: .*--history/],
  ['history run/run.sqlite', /another file of SQLite\n {2}hint: Give the directory: run\./],
  ['import har capture --out new', /\n {2}hint: .*reprise inspect capture\b/],
  ['import har broken.json --out new', /\n {2}hint: The file is truncated/],
  ['import arrivals times.csv --out capture --time t --unit s', /\n {2}hint: .*never overwrites/],
  ['export k6 capture --out capture --target URL', /^reprise: capture is not empty\n {2}hint: /],
  ['export csv capture --out notes.txt', /^reprise: .*is there already\n {2}hint: /],
  ['replay capture --target URL --out run', /^reprise: run is not empty\n {2}hint: Name a new directory/],
  [
    'capacity capture --target URL --slo realtime --out run',
    /^reprise: run is not empty.*\n {2}hint: .*--out/,
  ],
  ['record --target URL --listen PLACE0 --dir notes.txt', /notes\.txt is a file\n {2}hint: .*directory/],
  ['record --target URL --listen PLACE0 --dir run', /it is a run\n {2}hint: Name a new directory/],
  ['report run --html missing/page.html', /^reprise: missing\/page\.html cannot be written.*\n {2}hint: /],
  ['mock run', /\n {2}hint: .*reprise report run\b/],
  // Settings of every command.
  [
    'replay capture --target URL --log-format xml',
    /^reprise: --log-format: "xml" is none of: pretty, json\n {2}hint: /,
  ],
  ['--log-format text record --dir new', /^reprise: --log-format: "text" is none of: pretty, json/],
  // Settings in files.
  ['replay capture --config capture', /capture cannot be read.*\n {2}hint: Give a YAML file/],
  ['replay capture --config broken.json', /configuration broken\.json: line 1/],
  ['replay capture --config settings.yaml', /replay\.taget is not a setting; did you mean target\?/],
  ['run --preset sustaind capture --target URL', /--preset: "sustaind" is none of: sustained/],
];

/** One of each thing that a path may name. */
function scene(): string {
  const directory = temporaryDirectory();
  const at = (...names: string[]) => join(directory, ...names);
  renameSync(captureOf([exchangeOf()]), at('capture'));
  const run = storedRun(mixedSends(10));
  cpSync(run, at('run'), { recursive: true });
  cpSync(run, at('runs', 'monday'), { recursive: true });
  for (const pair of [at('pair'), at('weeks', 'pair')]) {
    cpSync(run, join(pair, '01-A'), { recursive: true });
    writeFileSync(join(pair, 'comparison.json'), '{}');
  }
  mkdirSync(at('empty'));
  mkdirSync(at('search'));
  writeFileSync(at('search', 'capacity.json'), JSON.stringify(searched([playedAt(1)])));
  new History(at('history.sqlite'), 'write').close();
  writeFileSync(at('profile.json'), JSON.stringify({ schemaVersion: 1, kind: 'profile' }));
  writeFileSync(at('notes.txt'), 'of Monday\n');
  writeFileSync(at('broken.json'), '{"log": ');
  writeFileSync(at('trace.har'), '{}');
  writeFileSync(at('access.log'), '{"time": 1}\n');
  writeFileSync(at('times.csv'), 't\n1\n2\n');
  writeFileSync(at('scenario.yaml'), 'capture: capture\n');
  writeFileSync(at('settings.yaml'), 'replay:\n  taget: http://a:1\n');
  return directory;
}

const filesIn = (directory: string) => readdirSync(directory, { recursive: true }).sort();

describe('a mistake is answered with what to type, and nothing is written or sent', () => {
  let cwd = '';
  let commands: readonly Command[] = [];
  beforeAll(async () => {
    cwd = scene();
    commands = await everyCommand(COMMANDS);
  });

  test.each(MISTAKES.map(([args, answer, code = 2]) => ({ args, answer, code })))(
    'reprise $args',
    async ({ args, answer, code }) => {
      const server = await serverOf();
      const places: Readonly<Record<string, string>> = {
        CAPTURE: join(cwd, 'capture'),
        URL: server.url,
        PLACE: new URL(server.url).host,
        PLACE0: '127.0.0.1:0',
      };
      const given = (args.match(/"[^"]*"|\S+/g) ?? []).map((word) => word.replaceAll('"', ''));
      const words = given.map((word) => places[word] ?? word);
      const before = filesIn(cwd);
      const { status, stdout, stderr } = await runCommand(words, { cwd });
      expect({ status, stdout }).toEqual({ status: code, stdout: '' });
      const shown = stderr.replaceAll(places['CAPTURE'] as string, 'CAPTURE').replaceAll(server.url, 'URL');
      expect(shown).toMatch(answer);
      expect(filesIn(cwd)).toEqual(before);
      expect(server.requests).toEqual([]);
      const [, hint = ''] = /\n {2}hint: (.*)/.exec(stderr) ?? [];
      expect(hint).not.toBe('');
      expectTypable(hint, given[0] ?? '');
    },
  );

  /** Each command that a hint names is there, with the flags that it names after it. */
  function expectTypable(hint: string, typed: string): void {
    const known = new Map(commands.map((each) => [each.name(), flagsIn(each)]));
    for (const [, name = '', rest = ''] of hint.matchAll(/\breprise (?:help )?([a-z]+)((?: [^`.,;:?]*)?)/g)) {
      if (!known.has(name)) expect(['help', 'config'], hint).toContain(name);
      for (const [flag] of rest.split(' -- ')[0]?.matchAll(/--[a-z][\w-]*/g) ?? [])
        expect([...(known.get(name) ?? []), ...OF_ALL], hint).toContain(flag);
    }
    const [, flag] = /^Did you mean (--[\w-]+)/.exec(hint) ?? [];
    if (flag !== undefined) expect([...(known.get(typed) ?? []), ...OF_ALL], hint).toContain(flag);
  }
});

const OF_ALL = ['--help', '--help-all', '--version', '--config', '--log-format'];

function flagsIn(command: Command): string[] {
  const own = command.options.flatMap(({ flags }) => flags.match(/--[\w-]+/g) ?? []);
  return [...own, ...command.commands.flatMap(flagsIn)];
}

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
