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
import { formatEndpoint, parseEndpoint } from '../proxy/endpoint.ts';
import type { ForwarderOptions } from '../proxy/messages.ts';
import type { ProbeAddress } from '../proxy/probe-server.ts';
import { parseBodyRules } from '../redaction/body-rules.ts';
import {
  DEFAULT_RECORDING_POLICY,
  type RecordingPolicy,
  recordingParts,
} from '../redaction/recording-policy.ts';
import { RECORD_OPTIONS, type RecordFlags } from './record-flags.ts';
import { planeOf, targetsOf } from './record-plane.ts';
import type { RecorderSettings } from './recording.ts';

/** What a recording does, every flag read. */
export interface RecordOptions {
  readonly plane: ForwarderOptions;
  readonly forwarders: number;
  readonly recorder: RecorderSettings;
  /** Null: no probes and no metrics. */
  readonly probeListen: ProbeAddress | null;
  readonly drainDelayMs: number;
  readonly drainDeadlineMs: number;
  /** Run for each sealed segment; null for nothing. */
  readonly onSeal: string | null;
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
    forwarders: problems.attempt(() => forwardersOf(flags.forwarders), 1),
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
  problems.attempt(() => mustShare(plane, options.forwarders), undefined);
  problems.throwIfAny();
  const { policy, maxDiskBytes, retainMs, fleetSize, ...rest } = options;
  return {
    ...rest,
    plane,
    onSeal: flags.onSeal,
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
    },
  };
}

/** @throws AppError OPTION_INVALID */
export function forwardersOf(text: string): number {
  const forwarders = parseCount(text, '--forwarders');
  if (forwarders <= LIMITS.forwarders) return forwarders;
  throw new AppError('OPTION_INVALID', `--forwarders: ${forwarders} are more than ${LIMITS.forwarders}`, {
    hint: 'One for each core that is to carry traffic; one carries some ten thousand requests a second.',
  });
}

/** Several processes can listen on one port, and not on one socket file. */
function mustShare(plane: ForwarderOptions, forwarders: number): void {
  const unshared = plane.pairs.find(({ listen }) => listen.kind === 'unix');
  if (forwarders === 1 || unshared === undefined) return;
  const where = formatEndpoint(unshared.listen);
  throw new AppError('OPTION_INVALID', `--forwarders: ${forwarders} processes cannot share ${where}`, {
    hint: 'Give a port to listen on, or one forwarder.',
  });
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
