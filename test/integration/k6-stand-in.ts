import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * A stand-in for k6: the modules that exported scripts use, and a runner on a virtual clock. Virtual users take
 * iterations as in k6. A request takes a given time and is logged instead of sent.
 */
const MODULES: Readonly<Record<string, string>> = {
  'index.js': 'export const sleep = (seconds) => { globalThis.standIn.nowMs += seconds * 1000; };',
  'data.js': 'export class SharedArray { constructor(name, load) { return Object.freeze(load()); } }',
  'encoding.js': `export const b64decode = (text) => {
    const bytes = Buffer.from(text, 'base64');
    return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
  };`,
  'execution.js': 'export default { get scenario() { return globalThis.standIn.scenario; } };',
  'http.js': `export default {
    CookieJar: class CookieJar {},
    request(method, url, body, params) {
      const standIn = globalThis.standIn;
      const base64 = body === null ? null : Buffer.from(body).toString('base64');
      standIn.sent.push({ atMs: standIn.nowMs - standIn.scenario.startTime, method, url, body: base64,
        headers: params.headers, redirects: params.redirects, route: params.tags.name, tags: params.tags });
      standIn.nowMs += standIn.serviceMs;
      return { status: 200 };
    },
  };`,
  'metrics.js': `export class Trend {
    constructor(name) { this.name = name; }
    add(value) { (globalThis.standIn.trends[this.name] ??= []).push(value); }
  }
  export class Rate extends Trend {}`,
};

const RUNNER = `import { readFileSync } from 'node:fs';
const startTime = 1_000_000;
const standIn = { nowMs: startTime, serviceMs: Number(process.argv[2]), sent: [], trends: {},
  scenario: { startTime, iterationInTest: 0 } };
Object.assign(globalThis, { standIn, __ENV: process.env, open: (path) => readFileSync(new URL(path, import.meta.url), 'utf8') });
Date.now = () => standIn.nowMs;
const script = await import('./replay.js');
const { replay } = script.options.scenarios;
const free = [];
const iterate = (number, atMs) => {
  standIn.scenario.iterationInTest = number;
  standIn.nowMs = atMs;
  script.default();
  return standIn.nowMs;
};
if (replay.executor === 'shared-iterations') {
  for (let user = 0; user < replay.vus; user += 1) free.push(startTime);
  for (let number = 0; number < replay.iterations; number += 1) {
    free.sort((a, b) => a - b);
    free[0] = iterate(number, free[0]);
  }
} else {
  // As in k6, a request is due when the integral of the rate reaches its number. A request that is due at the end of
  // the last stage is dropped, as k6 may do.
  const lengthMs = (text) => parseFloat(text) * (text.endsWith('ms') ? 1 : 1000);
  const endMs = startTime + replay.stages.reduce((sum, { duration }) => sum + lengthMs(duration), 0);
  const unitMs = lengthMs(replay.timeUnit);
  let [atMs, before, due] = [startTime, 0, 1];
  for (const { target, duration } of replay.stages) {
    const rate = target / unitMs;
    const area = before + rate * lengthMs(duration);
    for (; due <= area; due += 1) {
      const dueMs = atMs + (due - before) / rate;
      if (dueMs < endMs) iterate(due - 1, dueMs);
    }
    before = area;
    atMs += lengthMs(duration);
  }
}
process.stdout.write(JSON.stringify({ sent: standIn.sent, trends: standIn.trends, options: script.options }));
`;

/** Writes the stand-in beside an exported script. @returns the program to run with the service time of a request, ms */
export function layK6StandIn(directory: string): string {
  const home = join(directory, 'node_modules', 'k6');
  mkdirSync(home, { recursive: true });
  for (const [file, text] of Object.entries(MODULES)) writeFileSync(join(home, file), text);
  const names = Object.keys(MODULES).map((file) => [
    file === 'index.js' ? '.' : `./${file.slice(0, -3)}`,
    `./${file}`,
  ]);
  writeFileSync(
    join(home, 'package.json'),
    JSON.stringify({ name: 'k6', type: 'module', exports: Object.fromEntries(names) }),
  );
  const program = join(directory, 'run.mjs');
  writeFileSync(program, RUNNER);
  return program;
}
