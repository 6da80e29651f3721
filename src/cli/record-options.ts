import type { RecorderSettings } from '../app/recording/capture.ts';
import { AppError, Problems } from '../core/errors.ts';
import { KeyedHash } from '../core/keyed-hash.ts';
import { LIMITS, SUPERVISION } from '../core/limits.ts';
import { type Asked, readOptions } from '../core/options.ts';
import {
  formatBytes,
  parseBytes,
  parseCount,
  parsePositiveMs,
  parseShare,
  parseWaitMs,
} from '../core/units.ts';
import type { ProbeAddress } from '../proxy/control/probe-server.ts';
import { parseEndpoint } from '../proxy/endpoint.ts';
import type { PlaneOptions } from '../proxy/messages.ts';
import { parseBodyRules } from '../redaction/body-rules.ts';
import {
  DEFAULT_RECORDING_POLICY,
  type RecordingPolicy,
  recordingParts,
} from '../redaction/recording-policy.ts';
import { RECORD_OPTIONS, type RecordFlags } from './record-flags.ts';
import { planeOf, targetsOf } from './record-plane.ts';

/** What a recording does, every flag read. */
export interface RecordOptions {
  readonly plane: PlaneOptions;
  readonly recorder: RecorderSettings;
  /** Null: no probes and no metrics. */
  readonly probeListen: ProbeAddress | null;
  readonly drainDelayMs: number;
  readonly drainDeadlineMs: number;
  readonly estimate: boolean;
}

/**
 * Reads every option and says all that is wrong with them at once.
 * @throws AppError OPTION_INVALID
 */
export function readRecordOptions(asked: Asked<typeof RECORD_OPTIONS>): RecordOptions {
  const problems = new Problems();
  const flags = readOptions(RECORD_OPTIONS, asked, problems);
  const given = (flag: keyof RecordFlags) => asked.originOf(flag) !== null;
  const plane = planeOf(flags, given, problems);
  const optional = <Value>(text: string | null, parse: (text: string) => Value) =>
    problems.optional(text, parse);
  const options = {
    policy: policyOf(flags, problems),
    maxDiskBytes: optional(flags.maxDisk, maxDiskOf),
    retainMs: optional(flags.retain, (text) => parsePositiveMs(text, '--retain')),
    fleetSize: optional(flags.fleetSize, (text) => parseCount(text, '--fleet-size')),
    probeListen: problems.attempt(() => probeAddressOf(flags.probeListen), null),
    drainDelayMs: problems.attempt(
      () => parseWaitMs(flags.drainDelay, '--drain-delay'),
      SUPERVISION.drainDelayMs,
    ),
    drainDeadlineMs: problems.attempt(
      () => parseWaitMs(flags.drainDeadline, '--drain-deadline'),
      SUPERVISION.drainDeadlineMs,
    ),
  };
  problems.throwIfAny();
  const { policy, maxDiskBytes, retainMs, fleetSize, ...rest } = options;
  return {
    ...rest,
    plane,
    estimate: flags.estimate,
    recorder: {
      dir: flags.dir,
      targets: targetsOf(plane),
      policy,
      hashKeyFile: flags.hashKeyFile,
      encryptionKeyFile: flags.encryptionKeyFile,
      maxDiskBytes,
      retainMs,
      fleetSize,
      onSeal: flags.onSeal,
    },
  };
}

function maxDiskOf(text: string): number {
  const bytes = parseBytes(text, '--max-disk');
  if (bytes >= LIMITS.leastDiskBytes) return bytes;
  throw new AppError('OPTION_INVALID', `--max-disk: ${JSON.stringify(text)} is too little for a capture`, {
    hint: `Allow at least ${formatBytes(LIMITS.leastDiskBytes)}.`,
  });
}

/** Null for none. @throws AppError OPTION_INVALID */
export function probeAddressOf(text: string): ProbeAddress | null {
  if (text === 'off') return null;
  const endpoint = parseEndpoint(text, '--probe-listen', { anyPort: true });
  if (endpoint.kind === 'tcp' && !endpoint.tls) return endpoint;
  throw new AppError('OPTION_INVALID', `--probe-listen: ${JSON.stringify(text)} is not a plain port`, {
    hint: 'Give an address such as :9464 or 127.0.0.1:9464, or off.',
  });
}

function policyOf(flags: RecordFlags, problems: Problems): RecordingPolicy {
  const rules = flags.redact;
  const presets = flags.redactPreset;
  problems.attempt(() => parseBodyRules(rules, presets), null);
  const policy: RecordingPolicy = {
    bodies: flags.bodies,
    requestBodyBytes: problems.attempt(() => parseBytes(flags.maxRequestBody, '--max-request-body'), 0),
    responseBodyBytes: problems.attempt(() => parseBytes(flags.maxResponseBody, '--max-response-body'), 0),
    sample: problems.attempt(() => parseShare(flags.sample, '--sample'), 1),
    session: flags.session,
    client: flags.client,
    skip: flags.skip,
    redact: {
      rules: [],
      presets: [],
      headers: flags.redactHeader,
      queryKeys: flags.redactQuery,
    },
  };
  // Read once here, so that a rule that cannot be meant stops the command and not the recorder.
  problems.attempt(() => recordingParts(policy, new KeyedHash(new Uint8Array(32)), ''), null);
  return { ...DEFAULT_RECORDING_POLICY, ...policy, redact: { ...policy.redact, rules, presets } };
}
