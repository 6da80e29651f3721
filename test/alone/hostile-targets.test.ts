import { setTimeout as pause } from 'node:timers/promises';
import { beforeAll, expect, it } from 'vitest';
import type { Exchange } from '../../src/core/exchange.ts';
import type { Verdict } from '../../src/documents/replay.ts';
import { captureOf } from '../support/captures.ts';
import { requestMessage, responseMessage } from '../support/exchanges.ts';
import { repeated } from '../support/long-form.ts';
import { type InstalledPackage, packAndInstall } from '../support/packed-tarball.ts';
import { startProcess } from '../support/process.ts';
import { documentOf, replayHere, serverOf } from '../support/replaying.ts';
import { temporaryDirectory } from '../support/temp-dir.ts';
import {
  ANSWER,
  type Answer,
  after,
  answerBy,
  answersEach,
  answerTo,
  boastful,
  brokenByEvent,
  CHOICE,
  COMPLETION,
  chat,
  chatOf,
  closesIdle,
  completion,
  completionOf,
  emptyStart,
  errorInDialect,
  every,
  falseGzip,
  filtered,
  gzipped,
  hangs,
  hinted,
  jitterOf,
  left,
  NO_CONTENT,
  numberOf,
  oneAtATime,
  oneToken,
  REORDERED,
  recordedRequests,
  recordedStatus,
  resetsAfter,
  signInPage,
  slowerFrom,
  slowHandshakes,
  some,
  streams,
  TOOL_CALL,
  ticket,
  untilClose,
  wholeChat,
  withHeaders,
  withoutLastChunk,
} from './hostile-targets.ts';

/** What a busy machine may add. It never excuses a PASS, and never hides a FAIL. */
const OUR_SIDE: ReadonlySet<string> = new Set([
  'lag_over_bound',
  'arrivals_off_plan',
  'generator_paused',
  'too_close',
]);
/** A run that our own lag left undecided is played again, twice at most. What the last play says, counts. */
const PLAYS = 3;

let installed: InstalledPackage;
beforeAll(async () => {
  installed = await packAndInstall(temporaryDirectory());
});
const SEEDS = repeated([1], [1, 2, 3]);
const LIMIT = 'latency: p(95)<500';
const STATUS = { PASS: 0, FAIL: 3, INCONCLUSIVE: 4 } as const;

interface Case {
  readonly name: string;
  readonly recorded?: (seed: number) => Exchange[];
  readonly target: () => Answer;
  readonly slo?: string;
  readonly args?: readonly string[];
  /** What is done to the generator once so many requests came. */
  readonly stopped?: { readonly after: number; readonly forMs: number };
  /** How long each TLS handshake takes; without one, the target is http. */
  readonly handshakeMs?: number;
  readonly verdict: Verdict;
  /** Of INCONCLUSIVE, the reasons; else a note that must be there. */
  readonly codes?: readonly string[];
}

/** The verdict on a target that answers otherwise than recorded. */
const OTHERWISE = { verdict: 'INCONCLUSIVE', codes: ['not_comparable'] } as const;

const plain = (seed: number) => recordedRequests({ seed });
const withParts = (parts: (number: number) => Partial<Exchange>) => (seed: number) =>
  recordedRequests({ seed }, parts);
const slow = withParts(() => ({ firstByteOffsetUs: 199_500, lastByteOffsetUs: 200_000 }));
const impatient = withParts((number) => (number % 3 === 0 ? left(150) : {}));
const throttled = withParts((number) => (number % 10 < 3 ? recordedStatus(429) : {}));
const twoRoutes = withParts((number) => (number % 4 === 0 ? { route: 'POST /small' } : {}));
const chats = withParts(chat);
const third = every(3);
const someStreams = withParts((number) => (third(number) ? chat : wholeChat)(number));
/** One of three labels, at random. */
const labelOf = (number: number) => Math.imul(number + 1, 2_654_435_761) % 3;
const varying = (number: number) => 10 + ((number * 37) % 60);
const eachItsOwn = withParts((number) => ({ response: responseMessage(200, answerTo(number)) }));
const fifth = every(5);
const twentieth = every(20);
const healthy = () => after(8);
const ERROR = '{"error":{"message":"no GPU is left"}}';

const NOT_A_NUMBER = `{"outputs":[${'NaN,'.repeat(ANSWER.length / 5)}NaN]}`;
const CASES: readonly Case[] = [
  { name: 'healthy', target: healthy, verdict: 'PASS' },
  // Recorded so slowly that it is far faster on a busy machine too.
  { name: 'a faster build', recorded: slow, target: () => after(0), verdict: 'PASS', codes: ['far_faster'] },
  // Clients that left.
  {
    name: 'hangs on a third whose clients left',
    recorded: impatient,
    target: () => some(third, hangs, after(8)),
    verdict: 'INCONCLUSIVE',
    codes: ['censored'],
  },
  {
    name: 'the same, calibrated',
    recorded: impatient,
    target: () => some(third, hangs, after(8)),
    args: ['--compare-at-1x', '1s'],
    verdict: 'INCONCLUSIVE',
    codes: ['censored'],
  },
  {
    name: 'the same, waited for',
    recorded: impatient,
    target: () => some(third, hangs, after(8)),
    args: ['--cancels', 'wait', '--timeout', 'first-byte=1s'],
    verdict: 'FAIL',
  },
  { name: 'answers before the clients left', recorded: impatient, target: healthy, verdict: 'PASS' },
  {
    name: 'hangs for longer than the limit until the clients left',
    recorded: withParts((number) => (third(number) ? left(700) : {})),
    target: () => some(third, hangs, after(8)),
    verdict: 'FAIL',
  },
  // Answers that are none.
  {
    name: '200 with an empty body',
    target: () => after(1, ''),
    ...OTHERWISE,
  },
  {
    name: '200 with an error',
    target: () => after(1, ERROR),
    ...OTHERWISE,
  },
  {
    name: '200 with an error of the recorded size',
    target: () => after(1, JSON.stringify({ error: 'x'.repeat(ANSWER.length - 12) })),
    ...OTHERWISE,
  },
  {
    name: '200 with an error for a twentieth',
    target: () => some(twentieth, after(8, ERROR), after(8)),
    ...OTHERWISE,
  },
  {
    name: '200 with an error for a twentieth, on purpose: as was recorded',
    recorded: withParts((number) => ({
      answerError: twentieth(number),
      ...(twentieth(number) ? { response: responseMessage(200, ERROR) } : {}),
    })),
    target: () => some(twentieth, after(8, ERROR), after(8)),
    verdict: 'PASS',
  },
  {
    name: '200 with an error for a third, recorded for a twentieth',
    recorded: withParts((number) => ({ answerError: twentieth(number) })),
    target: () => some(third, after(8, ERROR), after(8)),
    ...OTHERWISE,
  },
  {
    name: 'an empty body for a twentieth',
    target: () => some(twentieth, after(8, ''), after(8)),
    ...OTHERWISE,
  },
  {
    name: 'JSON cut by 40 bytes in two thirds',
    target: () => some(third, after(8), after(8, ANSWER.slice(0, -40))),
    ...OTHERWISE,
  },
  {
    name: 'JSON cut at 60 % over HTTP/1.0',
    target: () => untilClose(8, ANSWER.slice(0, ANSWER.length * 0.6)),
    ...OTHERWISE,
  },
  { name: 'whole JSON over HTTP/1.0', target: () => untilClose(8, ANSWER), verdict: 'PASS' },
  {
    name: 'NaN in place of numbers',
    target: () => after(8, NOT_A_NUMBER),
    ...OTHERWISE,
  },
  {
    name: 'NaN in place of numbers, as was recorded',
    recorded: withParts(() => ({ answerError: true, response: responseMessage(200, NOT_A_NUMBER) })),
    target: () => after(8, NOT_A_NUMBER),
    verdict: 'PASS',
  },
  {
    name: 'null in place of numbers',
    target: () => after(8, NOT_A_NUMBER.replaceAll('NaN', 'null')),
    ...OTHERWISE,
  },
  {
    name: 'a chat without choices, of the recorded size',
    recorded: withParts(wholeChat),
    target: () => after(8, completion([])),
    ...OTHERWISE,
  },
  {
    name: 'a chat without content, of the recorded size',
    recorded: withParts(wholeChat),
    target: () => after(8, completion([NO_CONTENT])),
    ...OTHERWISE,
  },
  {
    name: 'a chat that calls tools in place of content',
    recorded: withParts(wholeChat),
    target: () => after(8, completion([TOOL_CALL])),
    verdict: 'PASS',
  },
  {
    name: 'the same answer to everything',
    recorded: eachItsOwn,
    target: healthy,
    ...OTHERWISE,
  },
  {
    name: 'the same answer to half of the requests',
    recorded: eachItsOwn,
    target: () => some(every(2), after(8), answersEach(8)),
    ...OTHERWISE,
  },
  {
    name: 'to each request its own answer',
    recorded: eachItsOwn,
    target: () => answersEach(8),
    verdict: 'PASS',
  },
  {
    name: 'one of three answers, often another than was recorded',
    recorded: withParts((number) => ({ response: responseMessage(200, answerTo(labelOf(number))) })),
    target: () => (number, response, request) =>
      after(8, answerTo(labelOf(number + Number(number % 5 === 0))))(number, response, request),
    verdict: 'PASS',
  },
  {
    name: 'streams of one token among whole answers of the same route',
    recorded: someStreams,
    target: () => some(third, oneToken(8), after(8, COMPLETION)),
    ...OTHERWISE,
  },
  {
    name: 'streams among whole answers of the same route',
    recorded: someStreams,
    target: () => some(third, streams(8), after(8, COMPLETION)),
    verdict: 'PASS',
  },
  {
    name: 'one of two models of a route answers little',
    recorded: withParts((number) => (every(4)(number) ? { model: 'large' } : {})),
    target: () => some(every(4), after(8, '{"outputs":[1]}'), after(8)),
    ...OTHERWISE,
  },
  {
    name: 'a chat with a quarter of the tokens, of the recorded size',
    recorded: withParts(wholeChat),
    target: () => after(8, completion([CHOICE], 10)),
    ...OTHERWISE,
  },
  {
    name: 'another content in a tenth, compared',
    recorded: eachItsOwn,
    target: () => some(every(10), after(8, answerTo(1)), answersEach(8)),
    args: ['--check', 'values'],
    ...OTHERWISE,
  },
  {
    name: 'another content in a tenth, compared, as an objective allows',
    recorded: eachItsOwn,
    target: () => some(every(10), after(8, answerTo(1)), answersEach(8)),
    slo: `${LIMIT}; mismatch: rate<0.2`,
    verdict: 'PASS',
  },
  {
    name: 'another content in a fiftieth, compared',
    recorded: eachItsOwn,
    target: () => some(every(50), after(8, answerTo(1)), answersEach(8)),
    args: ['--check', 'values'],
    verdict: 'PASS',
    codes: ['not_comparable'],
  },
  {
    name: 'a smaller model',
    target: () => after(2, ANSWER.slice(0, 400)),
    ...OTHERWISE,
  },
  {
    name: 'three times as much',
    target: () => after(8, ANSWER.repeat(3)),
    ...OTHERWISE,
  },
  {
    name: 'one of two routes answers nothing',
    recorded: twoRoutes,
    target: () => some(every(4), after(1, ''), after(8)),
    ...OTHERWISE,
  },
  {
    name: 'a stream answered whole',
    recorded: chats,
    target: () =>
      after(
        8,
        JSON.stringify({ choices: [{ message: { content: 'x'.repeat(400) }, finish_reason: 'stop' }] }),
      ),
    ...OTHERWISE,
  },
  {
    name: 'a stream answered whole, with an objective of streams',
    recorded: chats,
    target: () =>
      after(
        8,
        JSON.stringify({ choices: [{ message: { content: 'x'.repeat(400) }, finish_reason: 'stop' }] }),
      ),
    slo: 'ttft: p(95)<500',
    verdict: 'INCONCLUSIVE',
    codes: ['not_comparable', 'not_comparable', 'too_few_samples'],
  },
  // Requests turned away.
  {
    name: '401 for all',
    target: () => after(1, ERROR, 401),
    ...OTHERWISE,
  },
  {
    name: '404 for a twentieth',
    target: () => some(twentieth, after(1, ERROR, 404), after(8)),
    verdict: 'INCONCLUSIVE',
    codes: ['not_comparable', 'not_comparable'],
  },
  {
    name: '302 for all',
    target: () => after(1, '', 302),
    ...OTHERWISE,
  },
  {
    name: '204 for all',
    target: () => after(1, '', 204),
    verdict: 'INCONCLUSIVE',
    codes: ['not_comparable', 'not_comparable'],
  },
  {
    name: '429 for a twentieth',
    target: () => some(twentieth, after(1, ERROR, 429), after(8)),
    verdict: 'FAIL',
  },
  {
    name: 'a throttled recording, throttled again',
    recorded: throttled,
    target: () => some((number) => number % 10 < 3, after(1, ERROR, 429), after(8)),
    verdict: 'PASS',
    codes: ['recorded_refusals'],
  },
  {
    name: 'serves what production refused',
    recorded: throttled,
    target: healthy,
    verdict: 'PASS',
    codes: ['recorded_refusals'],
  },
  {
    name: 'a throttled recording whose served requests are slow',
    recorded: throttled,
    target: () => some((number) => number % 10 < 3, after(1, ERROR, 429), after(700)),
    slo: 'latency: p(50)<500',
    verdict: 'FAIL',
  },
  // Failures.
  {
    name: '503 for a twentieth',
    target: () => some(twentieth, after(1, ERROR, 503), after(8)),
    verdict: 'FAIL',
  },
  { name: '500 for all, within the guard of its time', target: () => after(1, ERROR, 500), verdict: 'FAIL' },
  {
    name: 'resets a twentieth',
    target: () => some(twentieth, (_, response) => void response.destroy(), after(8)),
    verdict: 'FAIL',
  },
  {
    name: 'breaks off a twentieth',
    target: () =>
      some(
        twentieth,
        (_, response) => {
          response.writeHead(200, { 'content-length': ANSWER.length });
          response.write(ANSWER.slice(0, 20), () => response.destroy());
        },
        after(8),
      ),
    verdict: 'FAIL',
  },
  {
    name: 'hangs on a twentieth',
    target: () => some(twentieth, hangs, after(8)),
    args: ['--timeout', 'first-byte=1s'],
    verdict: 'FAIL',
  },
  // Slowness.
  { name: 'slow', target: () => after(700), verdict: 'FAIL' },
  { name: 'a slow tail', target: () => some(every(8), after(800), after(8)), verdict: 'FAIL' },
  { name: 'at twice its capacity', target: () => oneAtATime(15), verdict: 'FAIL' },
  {
    name: 'at twice its capacity, into our cap',
    target: () => oneAtATime(20),
    args: ['--max-in-flight', '80'],
    verdict: 'FAIL',
  },
  {
    name: 'slow by the median only',
    target: () => after(300),
    slo: 'latency: p(50)<200, p(95)<5000',
    verdict: 'FAIL',
  },
  // Our own caps.
  {
    name: 'healthy, and our cap on requests in flight',
    target: () => after(40),
    args: ['--max-in-flight', '8'],
    verdict: 'INCONCLUSIVE',
    codes: ['in_flight_cap', 'achieved_below'],
  },
  {
    name: 'healthy, and our ceiling on the rate',
    target: healthy,
    args: ['--max-rate', '100'],
    verdict: 'INCONCLUSIVE',
    codes: ['in_flight_cap', 'achieved_below'],
  },
  // A generator that stands still.
  {
    name: 'slow, and a stall of 0.6 s',
    target: () => after(400),
    slo: 'latency: p(50)<200',
    stopped: { after: 60, forMs: 600 },
    verdict: 'FAIL',
  },
  {
    name: 'healthy, and a stall that only lag violates',
    target: healthy,
    slo: 'latency: p(50)<150',
    stopped: { after: 20, forMs: 900 },
    verdict: 'INCONCLUSIVE',
    codes: ['lag_over_bound'],
  },
  {
    name: 'healthy, and two sends late by 14 ms',
    target: healthy,
    slo: 'latency: p(90)<400',
    stopped: { after: 60, forMs: 14 },
    verdict: 'PASS',
  },
  // Streams.
  {
    name: 'healthy streams',
    recorded: chats,
    target: () => streams(8),
    slo: 'ttft: p(95)<500; itl: p(95)<500',
    verdict: 'PASS',
  },
  {
    name: 'a slow first token',
    recorded: chats,
    target: () => streams(700),
    slo: 'ttft: p(95)<500',
    verdict: 'FAIL',
  },
  {
    name: 'streams that break off in good order',
    recorded: chats,
    target: () => some(twentieth, streams(8, 3), streams(8)),
    slo: 'ttft: p(90)<500',
    verdict: 'FAIL',
  },
  {
    name: 'streams under a content coding',
    recorded: chats,
    target: () => streams(8, 7, { 'content-encoding': 'br' }),
    slo: 'ttft: p(95)<500',
    verdict: 'INCONCLUSIVE',
    codes: ['streams_unread', 'too_few_samples'],
  },
  // Too little to say.
  {
    name: 'healthy, and too few for the percentile',
    target: healthy,
    slo: 'latency: p(99)<5000',
    verdict: 'INCONCLUSIVE',
    codes: ['too_few_samples'],
  },
  // Invented by somebody who had not read how a run is judged.
  {
    name: 'called gzip and not compressed, in a fifth',
    target: () => some(fifth, falseGzip, after(8)),
    ...OTHERWISE,
  },
  {
    name: 'a sign-in page of the recorded size for a tenth',
    target: () => some(every(10), signInPage, after(8)),
    ...OTHERWISE,
  },
  {
    name: '200 with errors of other dialects for a fifth, of the recorded size',
    target: () => some(fifth, errorInDialect, after(8)),
    ...OTHERWISE,
  },
  {
    name: '202 with a ticket of the recorded size for a tenth',
    target: () => some(every(10), ticket, after(8)),
    ...OTHERWISE,
  },
  {
    name: 'an error event amid a tenth of the streams',
    recorded: chats,
    target: () => some(every(10), brokenByEvent, streams(8)),
    slo: 'ttft: p(90)<500',
    verdict: 'FAIL',
  },
  {
    name: 'an empty first chunk immediately, and a late first word',
    recorded: chats,
    target: () => emptyStart(700),
    slo: 'ttft: p(95)<500',
    verdict: 'FAIL',
  },
  {
    name: 'slow tokens, counted as forty times as many',
    recorded: withParts((number) => ({ ...chat(number), outputTokens: 5 })),
    target: () => boastful(60, 200),
    slo: 'tpot: p(95)<30',
    ...OTHERWISE,
  },
  {
    name: 'another model in place of the recorded one for a third, compared',
    recorded: withParts((number) => ({
      ...wholeChat(number),
      response: responseMessage(200, answerBy('m-70b')),
    })),
    target: () => some(third, after(8, answerBy('m-08b')), after(8, answerBy('m-70b'))),
    args: ['--check', 'values'],
    ...OTHERWISE,
  },
  {
    name: 'to each request the answer of the one before, compared',
    recorded: eachItsOwn,
    target: () => (number, response, request) =>
      after(8, answerTo(Math.max(0, number - 1)))(number, response, request),
    args: ['--check', 'values'],
    ...OTHERWISE,
  },
  {
    name: 'whole JSON in chunks that never end, in a third',
    target: () => some(third, withoutLastChunk, after(8)),
    verdict: 'FAIL',
  },
  {
    name: 'refused by a content filter for a fifth, of the recorded size',
    recorded: withParts((number) => ({ ...wholeChat(number), finish: 'stop' })),
    target: () => some(fifth, after(8, filtered), after(8, COMPLETION)),
    ...OTHERWISE,
  },
  { name: 'slower with each request, late in the run', target: () => slowerFrom(150, 12), verdict: 'FAIL' },
  {
    name: 'slow for one rare model only',
    recorded: withParts((number) => (every(12)(number) ? { model: 'rare' } : {})),
    target: () => some(every(12), after(700), after(8)),
    slo: 'latency{*model}: p(50)<500',
    verdict: 'FAIL',
  },
  { name: 'early hints immediately, and a late answer', target: () => hinted(700), verdict: 'FAIL' },
  {
    name: 'a slow TLS handshake for each request',
    target: () => withHeaders(1, { connection: 'close' }),
    handshakeMs: 900,
    args: ['--target-tls', 'insecure'],
    verdict: 'FAIL',
  },
  {
    name: 'a slow TLS handshake for each connection, which serves many requests',
    target: healthy,
    handshakeMs: 150,
    args: ['--target-tls', 'insecure'],
    verdict: 'PASS',
  },
  { name: 'early hints, chunks and trailers', target: () => hinted(8), verdict: 'PASS' },
  { name: 'closes idle connections after 20 ms', target: () => closesIdle(20), verdict: 'PASS' },
  { name: 'resets each connection after its answer', target: () => resetsAfter, verdict: 'PASS' },
  {
    name: 'keys in another order, indented, compared',
    recorded: withParts(() => ({
      response: responseMessage(200, JSON.stringify({ ...JSON.parse(ANSWER), name: 'm' })),
    })),
    target: () => after(8, REORDERED),
    args: ['--check', 'values'],
    verdict: 'PASS',
  },
  {
    name: 'answers of varying length, as recorded, and 40 ms of jitter',
    recorded: withParts((number) => chatOf(number, varying(number))),
    target: () => (number, response, request) =>
      after(jitterOf(number), completionOf(varying(number + 9)))(number, response, request),
    verdict: 'PASS',
  },
  {
    name: 'newly compressed, to a fifth of the recorded size',
    recorded: withParts((number) => ({
      request: requestMessage({
        target: `/v2/models/m/infer?n=${number}`,
        headers: [
          ['Host', 'model.internal:8000'],
          ['Content-Type', 'application/json'],
          ['Content-Length', '13'],
          ['Accept-Encoding', 'gzip'],
        ],
      }),
    })),
    target: () => gzipped,
    args: ['--check', 'values'],
    ...OTHERWISE,
  },
];

/** Judged by what is answered, not by when. CI replays these in this process, which saves half of their time. */
const isHere = repeated(
  ({ codes = [] }: Case) => codes.includes('not_comparable'),
  () => false,
);

async function played(each: Case, seed: number) {
  const { recorded = plain, target, slo = LIMIT, args = [], stopped, handshakeMs } = each;
  const answer = target();
  const server = await serverOf((request, response) => answer(numberOf(request), response, request));
  const url = handshakeMs === undefined ? server.url : await slowHandshakes(server.port, handshakeMs);
  if (isHere(each)) {
    const finished = await replayHere(captureOf(recorded(seed)), url, ['--json', '--slo', slo, ...args]);
    return { document: documentOf(finished), status: finished.status };
  }
  const run = startProcess(process.execPath, [
    ...[installed.bin, 'replay', captureOf(recorded(seed)), '--target', url, '--json'],
    ...['--out', `${temporaryDirectory()}/run`, '--slo', slo, ...args],
  ]);
  if (stopped !== undefined) {
    while (server.requests.length < stopped.after && run.child.exitCode === null) await pause(2);
    run.child.kill('SIGSTOP');
    await pause(stopped.forMs);
    run.child.kill('SIGCONT');
  }
  const finished = await run.finished;
  return { document: documentOf(finished), status: finished.status };
}

for (const each of CASES) {
  it.each(SEEDS)(`${each.verdict}: ${each.name} (seed %i)`, async (seed) => {
    const { codes = [], verdict } = each;
    const isOurs = (code: string) => OUR_SIDE.has(code) && !codes.includes(code);
    for (let play = 1; ; play += 1) {
      const { document, status } = await played(each, seed);
      const found = document.reasons.map(({ code }) => code);
      const said = JSON.stringify([...document.reasons, ...document.notes].map(({ text }) => text));
      const reasons = new Set(found.filter((code) => !isOurs(code)));
      expect(status, said).toBe(document.verdict && STATUS[document.verdict]);
      const isUndecidedByUs = document.verdict === 'INCONCLUSIVE' && reasons.size === 0;
      if (verdict === 'PASS' && isUndecidedByUs && play < PLAYS) continue;
      expect(document.verdict, said).toBe(verdict);
      const expected = { PASS: [], FAIL: ['slo_violated'], INCONCLUSIVE: codes };
      expect(reasons, said).toEqual(new Set(expected[verdict]));
      if (verdict === 'PASS') {
        expect(document.notes.map(({ code }) => code)).toEqual(expect.arrayContaining([...codes]));
      }
      return;
    }
  });
}
