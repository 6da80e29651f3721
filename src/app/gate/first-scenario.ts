import { writeFileSync } from 'node:fs';
import { samplesNeeded } from '../../analysis/stats/percentiles.ts';
import { AppError } from '../../core/errors.ts';
import { byProgram, type ResolvedOptions, text } from '../../core/options.ts';
import { countOf, formatMs, formatShare } from '../../core/units.ts';
import type { Distribution } from '../../documents/parts.ts';
import type { ProfileDocument } from '../../documents/profile.ts';
import { maskedPartsOf } from '../../replay/request/build.ts';
import { encryptionKeyOf, encryptionKeyOption, openForReplay } from '../open-capture.ts';
import { PROFILE_OPTIONS, profileInThread, resolveProfileOptions } from '../profile.ts';
import { StagedFile, writingTo } from '../staged-output.ts';

export const INIT_OPTIONS = {
  out: text('-o, --out <file>', 'file to write; it must not exist', { default: 'scenario.yaml' }),
  target: text('--target <url>', 'the server to test; never production'),
  encryptionKeyFile: encryptionKeyOption('file with the key of an encrypted capture'),
};

/** The proposed window is this long, if the recording is longer. */
const WINDOW = { text: '10m', us: 600e6 };
/** A limit is this many times what was recorded, and at least this much more: replays add some time of their own. */
const MARGIN = { times: 1.2, leastMs: 5 };
const ERRORS = { least: 0.01, times: 2 };
/** The default of --confidence. */
const CONFIDENCE = 0.95;
/** Requests that are searched for masked values. */
const SEARCHED = 1_000;
/** Preferred percentiles; a small recording supports only the last. */
const HIGH = ['p95', 'p99'] as const;
type Percentile = (typeof HIGH)[number] | 'p50';

/**
 * Writes a scenario for a capture.
 * @returns the proposed objectives
 * @throws AppError OUTPUT_EXISTS, OUTPUT_UNWRITABLE, CAPTURE_NOT_FOUND, CAPTURE_EMPTY, CAPTURE_DAMAGED,
 *   CAPTURE_ENCRYPTED for a wrong key
 */
export async function writeFirstScenario(
  capture: string,
  options: ResolvedOptions<typeof INIT_OPTIONS>,
): Promise<readonly string[]> {
  const file = new StagedFile(options.out, 'writing');
  const facts = factsOf(capture, options.encryptionKeyFile);
  const stated = { payloadSample: 0, ...(facts.isLong ? { window: [`peak=${WINDOW.text}`] } : {}) };
  const profile = await profileInThread({
    directory: capture,
    options: resolveProfileOptions(byProgram(PROFILE_OPTIONS, stated)),
  });
  const objectives = objectivesOf(profile);
  try {
    writingTo(options.out, () =>
      writeFileSync(file.path, scenarioText({ capture, profile, objectives, facts, ...options })),
    );
    file.publish();
  } catch (thrown) {
    file.discard();
    throw thrown;
  }
  return objectives.map(({ expression }) => expression);
}

interface CaptureFacts {
  readonly isLong: boolean;
  readonly encrypted: boolean;
  /** The masked headers of the first requests; null if they cannot be read without a key. */
  readonly maskedHeaders: readonly string[] | null;
  readonly hidesMore: boolean;
}

function factsOf(capture: string, encryptionKeyFile: string | null): CaptureFacts {
  const opened = openForReplay(capture, encryptionKeyOf({ encryptionKeyFile }), [], false);
  try {
    const { overview, source, inspection } = opened;
    const { firstArrivalUs, lastArrivalUs } = overview;
    if (firstArrivalUs === null || lastArrivalUs === null) {
      throw new AppError('CAPTURE_EMPTY', `the capture ${capture} holds no exchange`, {
        hint: 'Record some traffic first.',
      });
    }
    const encrypted = inspection.encrypted.segments > 0;
    const headers = new Set<string>();
    let [searched, hidesMore] = [0, false];
    if (!encrypted || encryptionKeyFile !== null) {
      for (const row of source.rows()) {
        const masked = maskedPartsOf(source.payload(row)?.request?.redacted ?? []);
        for (const name of masked.headers) headers.add(name.toLowerCase());
        hidesMore ||= masked.queryKeys.length + masked.bodyValues.length > 0;
        searched += 1;
        if (searched === SEARCHED) break;
      }
    }
    return {
      isLong: lastArrivalUs - firstArrivalUs > WINDOW.us,
      encrypted,
      maskedHeaders: searched === 0 ? null : [...headers].sort(),
      hidesMore,
    };
  } finally {
    opened.source.close();
  }
}

/** An objective, and what it is derived from. */
interface Proposed {
  readonly expression: string;
  readonly because: string;
}

function objectivesOf({ latencyMs, ttftMs, errors, mix }: ProfileDocument): readonly Proposed[] {
  const streamed = (mix.streamed ?? 0) > 0 ? limitsOf('ttft', ttftMs, 'streams') : [];
  const share = errors?.failedShare ?? null;
  const limit = Math.min(1, Math.max(ERRORS.least, roundedUp((share ?? 0) * ERRORS.times)));
  return [
    ...limitsOf('latency', latencyMs, 'completed requests'),
    ...streamed,
    {
      expression: `errors: rate<${limit}`,
      because: `Failed in the recording: ${share === null ? 'unknown' : formatShare(share)}.`,
    },
  ];
}

function limitsOf(metric: string, recorded: Distribution, what: string): Proposed[] {
  const isSupported = (name: Percentile) => recorded.count >= samplesOf(name);
  const high: readonly Percentile[] = HIGH.filter(isSupported);
  const names = high.length > 0 ? high : (['p50'] as const).filter(isSupported);
  return names.flatMap((name) => {
    const ms = recorded[name];
    if (ms === null) return [];
    const limit = roundedUp(Math.max(ms * MARGIN.times, ms + MARGIN.leastMs));
    return {
      expression: `${metric}: p(${name.slice(1)})<${limit}`,
      because: `Recorded ${name}: ${formatMs(ms)}, of ${recorded.count.toLocaleString('en-US')} ${what}.`,
    };
  });
}

/** As many as show the percentile below a limit that half of the allowed share exceeds. */
function samplesOf(name: Percentile): number {
  const percent = Number(name.slice(1));
  return samplesNeeded(percent, CONFIDENCE, (1 - percent / 100) / 2);
}

/** The next number with two digits. */
function roundedUp(value: number): number {
  if (value === 0) return 0;
  const exponent = Math.floor(Math.log10(value)) - 1;
  // Without the first rounding, 0.02 / 0.001 would be rounded up to 21.
  const digits = Math.ceil(Number((value / 10 ** exponent).toFixed(6)));
  return Number(`${digits}e${exponent}`);
}

interface Parts extends Pick<ResolvedOptions<typeof INIT_OPTIONS>, 'target' | 'encryptionKeyFile' | 'out'> {
  readonly capture: string;
  readonly profile: ProfileDocument;
  readonly objectives: readonly Proposed[];
  readonly facts: CaptureFacts;
}

/** A text in double quotes means the same in JSON and YAML. */
const quoted = (value: string): string => JSON.stringify(value);

function scenarioText({ capture, profile, objectives, facts, target, encryptionKeyFile }: Parts): string {
  const isLatencyProposed = objectives.length > 1;
  const lines = [
    '# A first load test, proposed by reprise init. Every value is yours to change.',
    '# Keys are the flags of reprise replay without their dashes: docs/guides/scenarios.md.',
    `name: ${quoted(`first test of ${nameOf(capture)}`)}`,
    `capture: ${quoted(capture)}`,
    '',
    '# The server to test, never production. reprise run FILE --target URL sets or replaces it.',
    target === null ? '# target: http://staging:8000' : `target: ${quoted(target)}`,
    ...keyLines(facts, encryptionKeyFile),
    '',
    ...windowLines(profile, facts),
    '',
    '# 1 replays at the recorded pace, 2 twice as fast.',
    'multiplier: 1',
    '',
    '# Objectives. Each time limit is the recorded percentile plus a fifth, at least 5 ms more, rounded up to two digits.',
    '# The error limit is twice the recorded share, at least 1 %. Set what you promise your users.',
    ...(isLatencyProposed
      ? []
      : ['# Too few latencies were recorded to propose a limit: add "latency: p(95)<300".']),
    'slo:',
    ...objectives.flatMap(({ expression, because }) => [`  # ${because}`, `  - ${quoted(expression)}`]),
    '',
    ...redactionLines(facts),
  ];
  return `${lines.join('\n')}\n`;
}

function keyLines({ encrypted }: CaptureFacts, keyFile: string | null): string[] {
  if (keyFile !== null) return [`encryption-key-file: ${quoted(keyFile)}`];
  return encrypted ? ['# The capture is encrypted: name its key.', '# encryption-key-file: capture.key'] : [];
}

function windowLines({ window, requests, rate }: ProfileDocument, { isLong }: CaptureFacts): string[] {
  const perSecond = rate.mean === null ? '' : `, ${Number(rate.mean.toPrecision(3))} a second`;
  const traffic = `${countOf(requests, 'request')}${perSecond}, from ${window?.from ?? 'its start'}`;
  if (isLong) return [`# Window: the busiest 10 minutes (${traffic}).`, `window: peak=${WINDOW.text}`];
  return [`# Window: the whole recording (${traffic}).`, '# A shorter one: window: peak=1m'];
}

function redactionLines({ maskedHeaders, hidesMore }: CaptureFacts): string[] {
  const more = hidesMore ? ['# Query or body values are masked too, and are sent masked.'] : [];
  const example = ['# header:', '#   - "authorization: env:TEST_TOKEN"'];
  if (maskedHeaders === null) {
    return [
      '# Redaction. Masked credentials are not sent. Give test credentials from a variable:',
      ...example,
    ];
  }
  if (maskedHeaders.length === 0) {
    return [
      '# Redaction. No header is masked in the first requests. If the target needs a token, read it from a variable:',
      ...example,
      ...more,
    ];
  }
  return [
    '# Redaction. These headers are masked in the recording. Give test values, each from a variable:',
    '# header:',
    ...maskedHeaders.map((name) => `#   - ${quoted(`${name}: env:TEST_${variableOf(name)}`)}`),
    ...more,
  ];
}

function variableOf(header: string): string {
  return header.toUpperCase().replaceAll(/[^A-Z0-9]/g, '_');
}

/** The name of a capture: the last part of its path. */
export function nameOf(capture: string): string {
  return capture.split(/[/\\]+/).findLast((part) => part !== '' && part !== '.') ?? capture;
}
