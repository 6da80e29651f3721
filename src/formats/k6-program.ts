import type { ExportMode } from './export-writer.ts';

/** What a script is made of; nothing of it was captured. */
export interface K6Plan {
  readonly mode: ExportMode;
  readonly origin: string | null;
  readonly requests: number;
  readonly spanS: number;
  /** Virtual users: most requests open at once. */
  readonly users: number;
  readonly stepS: number;
  /** Requests of each step. */
  readonly counts: readonly number[];
}

/** A k6 script that `tsc --checkJs` can hold against k6's types. */
export function k6Program(plan: K6Plan): string {
  const body = plan.mode === 'exact' ? exactPart(plan) : ratePart(plan);
  const imports = plan.mode === 'exact' ? EXACT_IMPORTS : '';
  return (
    HEAD.replace('EXACT_IMPORTS\n', imports).replace('DEFAULT_TARGET', () =>
      JSON.stringify(plan.origin ?? ''),
    ) + body
  );
}

const EXACT_IMPORTS = "import { sleep } from 'k6';\nimport { Trend } from 'k6/metrics';\n";

const HEAD = `// Plays requests.jsonl against a target:  k6 run -e TARGET=http://staging:8000 replay.js
//   HEADERS  a JSON object of headers set on every request, such as {"Authorization": "Bearer ..."}
//   VUS      how many requests may be open at once
import { SharedArray } from 'k6/data';
import { b64decode } from 'k6/encoding';
import exec from 'k6/execution';
import http from 'k6/http';
EXACT_IMPORTS

/**
 * Number, milliseconds after the start, method, target, headers, body as base64, route.
 * @typedef {{ i: number, t: number, m: string, p: string, h: [string, string][], b: string | null, r: string }} Row
 */

const target = __ENV.TARGET || DEFAULT_TARGET;
if (target === '') throw new Error('give the target: -e TARGET=http://staging:8000');
/** @type {Record<string, string>} */
const extra = JSON.parse(__ENV.HEADERS || '{}');

/** @type {Row[]} */
const rows = new SharedArray('requests', () =>
  open('./requests.jsonl')
    .split('\\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line)),
);

/**
 * @param {[string, string][]} pairs
 * @returns {Record<string, string>}
 */
function headersOf(pairs) {
  // Without a prototype: names such as constructor and __proto__ are recorded ones like any other.
  /** @type {Record<string, string>} */
  const headers = Object.create(null);
  /** @type {Record<string, string>} */
  const names = Object.create(null);
  for (const [name, value] of pairs) {
    const first = (names[name.toLowerCase()] = names[name.toLowerCase()] || name);
    const joint = name.toLowerCase() === 'cookie' ? '; ' : ', ';
    headers[first] = headers[first] === undefined ? value : headers[first] + joint + value;
  }
  for (const name of Object.keys(extra)) headers[names[name.toLowerCase()] || name] = extra[name];
  return headers;
}

/** @param {Row} row */
function send(row) {
  http.request(row.m, target + row.p, row.b === null ? null : b64decode(row.b, 'std'), {
    headers: headersOf(row.h),
    // What is planned and no more: no redirect is followed, no cookie kept from one answer to the next.
    redirects: 0,
    jar: new http.CookieJar(),
    responseType: 'none',
    timeout: '300s',
    tags: { name: row.r },
  });
}
`;

function exactPart({ requests, spanS, users }: K6Plan): string {
  return `
/** Before the first request, so that the virtual users are there. */
const leadMs = 2000;
const lag = new Trend('schedule_lag', true);

/** @type {import('k6/options').Options} */
export const options = {
  scenarios: {
    replay: {
      executor: 'shared-iterations',
      vus: Number(__ENV.VUS || ${users}),
      iterations: ${requests},
      maxDuration: '${spanS + 330}s',
    },
  },
  // Open loop as long as virtual users last: where this fails there were too few of them.
  thresholds: { schedule_lag: ['p(99)<50'] },
};

export default function () {
  const row = rows[exec.scenario.iterationInTest];
  const dueMs = exec.scenario.startTime + leadMs + row.t;
  const waitMs = dueMs - Date.now();
  if (waitMs > 0) sleep(waitMs / 1000);
  lag.add(Date.now() - dueMs);
  send(row);
}
`;
}

function ratePart({ requests, users, stepS, counts }: K6Plan): string {
  // A jump and a hold for every step: k6 would otherwise draw a slope from one rate to the next.
  const stages = counts
    .map(
      (count) => `        { target: ${count}, duration: '0s' }, { target: ${count}, duration: '${stepS}s' },`,
    )
    .join('\n');
  return `
/** @type {import('k6/options').Options} */
export const options = {
  scenarios: {
    replay: {
      executor: 'ramping-arrival-rate',
      startRate: ${counts[0] ?? 0},
      timeUnit: '${stepS}s',
      preAllocatedVUs: Number(__ENV.VUS || ${users}),
      maxVUs: ${Math.max(users, 10_000)},
      stages: [
${stages}
      ],
    },
  },
  // A dropped iteration is a request that was not sent.
  thresholds: { dropped_iterations: ['count<1'] },
};

export default function () {
  send(rows[exec.scenario.iterationInTest % ${requests}]);
}
`;
}
