// Replays requests.jsonl against a target:  k6 run -e TARGET=http://staging:8000 replay.js
//   HEADERS  a JSON object of headers set on every request, such as {"Authorization": "Bearer ..."}
//   VUS      how many requests may be open at once
import { sleep } from 'k6';
import { SharedArray } from 'k6/data';
import { b64decode } from 'k6/encoding';
import exec from 'k6/execution';
import http from 'k6/http';
import { Rate, Trend } from 'k6/metrics';

/**
 * The exported plan. `mode` is `exact` or `rate`; `counts` are the requests of each step of `stepS` seconds;
 * `thresholds` are objectives.
 * @type {{ mode: string, target: string, requests: number, users: number, spanS: number, stepS: number, counts: number[], thresholds: Record<string, string[]> }}
 */
const plan = {
  mode: 'exact',
  target: '',
  requests: 0,
  users: 1,
  spanS: 0,
  stepS: 1,
  counts: [0],
  thresholds: {},
};

/**
 * Number, milliseconds after the start, method, target, headers, body as base64, route, tags.
 * @typedef {{ i: number, t: number, m: string, p: string, h: [string, string][], b: string | null, r: string, g?: Record<string, string> }} Row
 */

const target = __ENV.TARGET || plan.target;
if (target === '') throw new Error('give the target: -e TARGET=http://staging:8000');
/** @type {Record<string, string>} */
const extra = JSON.parse(__ENV.HEADERS || '{}');

/** @type {Row[]} */
const rows = new SharedArray('requests', () =>
  open('./requests.jsonl')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line)),
);

/** Delay before the first request, so that the virtual users are ready. */
const leadMs = 2000;
const lag = new Trend('schedule_lag', true);
// Latency from the planned instant, and from the actual send. A failed request counts as longer than any limit.
const scheduledLatency = new Trend('scheduled_latency', true);
const serviceLatency = new Trend('service_latency', true);
const errors = new Rate('errors');
const neverMs = 1e9;

/** @type {import('k6/options').Options} */
export const options = plan.mode === 'exact' ? exactOptions() : rateOptions();

/**
 * Every request at its instant.
 * @returns {import('k6/options').Options}
 */
function exactOptions() {
  return {
    scenarios: {
      replay: {
        executor: 'shared-iterations',
        vus: Number(__ENV.VUS || plan.users),
        iterations: plan.requests,
        maxDuration: `${plan.spanS + 330}s`,
      },
    },
    // The loop is open while virtual users are free. If this threshold fails, there were too few.
    thresholds: { schedule_lag: ['p(99)<50'], ...plan.thresholds },
  };
}

/**
 * Requests at the recorded rate.
 * @returns {import('k6/options').Options}
 */
function rateOptions() {
  return {
    scenarios: {
      replay: {
        executor: 'ramping-arrival-rate',
        startRate: plan.counts[0] || 0,
        timeUnit: `${plan.stepS}s`,
        preAllocatedVUs: Number(__ENV.VUS || plan.users),
        maxVUs: Math.max(plan.users, 10000),
        // Each step is a jump and a hold, because k6 would otherwise ramp from one rate to the next.
        stages: [
          ...plan.counts.flatMap((count) => [
            { target: count, duration: '0s' },
            { target: count, duration: `${plan.stepS}s` },
          ]),
          // The last request is due at the end of the last step. Without these stages k6 sometimes does not send it.
          { target: 1, duration: '0s' },
          { target: 1, duration: '1ms' },
          { target: 0, duration: '0s' },
          { target: 0, duration: '1s' },
        ],
      },
    },
    // A dropped iteration is a request that was not sent.
    thresholds: { dropped_iterations: ['count<1'], ...plan.thresholds },
  };
}

export default function () {
  if (plan.mode === 'exact') sendAtInstant(rows[exec.scenario.iterationInTest]);
  else send(rows[exec.scenario.iterationInTest % plan.requests]);
}

/** @param {Row} row */
function sendAtInstant(row) {
  const dueMs = exec.scenario.startTime + leadMs + row.t;
  const waitMs = dueMs - Date.now();
  if (waitMs > 0) sleep(waitMs / 1000);
  lag.add(Date.now() - dueMs);
  const isAnswered = send(row);
  scheduledLatency.add(isAnswered ? Date.now() - dueMs : neverMs, row.g);
}

/**
 * @param {Row} row
 * @returns {boolean} whether it got an answer that is no server error
 */
function send(row) {
  const sentMs = Date.now();
  const { status } = http.request(row.m, target + row.p, row.b === null ? null : b64decode(row.b, 'std'), {
    headers: headersOf(row.h),
    // Only planned requests are sent: no redirect is followed, and no cookie is kept between requests.
    redirects: 0,
    jar: new http.CookieJar(),
    responseType: 'none',
    timeout: '300s',
    tags: { name: row.r, ...row.g },
  });
  const isAnswered = status > 0 && status < 500;
  serviceLatency.add(isAnswered ? Date.now() - sentMs : neverMs, row.g);
  errors.add(!isAnswered, row.g);
  return isAnswered;
}

/**
 * Headers as the map that k6 expects. Values of the same name are joined.
 * @param {[string, string][]} pairs
 * @returns {Record<string, string>}
 */
function headersOf(pairs) {
  // Without a prototype: `constructor` and `__proto__` are header names like any other.
  /** @type {Record<string, string>} */
  const headers = Object.create(null);
  /** @type {Record<string, string>} */
  const names = Object.create(null);
  for (const [name, value] of pairs) {
    names[name.toLowerCase()] = names[name.toLowerCase()] || name;
    const first = names[name.toLowerCase()];
    const joint = name.toLowerCase() === 'cookie' ? '; ' : ', ';
    headers[first] = headers[first] === undefined ? value : headers[first] + joint + value;
  }
  for (const name of Object.keys(extra)) headers[names[name.toLowerCase()] || name] = extra[name];
  return headers;
}
