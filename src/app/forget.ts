import { setImmediate as nextTurn } from 'node:timers/promises';
import { systemClock } from '../core/clock.ts';
import { AppError } from '../core/errors.ts';
import { IDENTITY_HASH_BYTES, KeyedHash } from '../core/keyed-hash.ts';
import { type ResolvedOptions, text, toggle, value } from '../core/options.ts';
import { parseInstantUs, refused } from '../core/units.ts';
import { identityTexts } from '../redaction/identities.ts';
import { resolveCaptureDirectory } from '../storage/capture/directory.ts';
import type { EncryptionKey } from '../storage/capture/encryption.ts';
import { type ForgetDocument, type ForgetSelection, forgetExchanges } from '../storage/capture/forget.ts';
import { readHashKey } from '../storage/capture/keys.ts';
import { encryptionKeyOf, encryptionKeyOption } from './open-capture.ts';

export const FORGET_OPTIONS = {
  sessionName: text('--session-name <text>', 'session name, as in the requests'),
  clientName: text('--client-name <text>', 'client name, as in the requests'),
  sessionHash: value(
    '--session-hash <hex>',
    `session hash, as in the capture (${IDENTITY_HASH_BYTES * 2} hexadecimal digits)`,
    parseSessionHash,
  ),
  from: value('--from <time>', 'arrivals from this instant on, ISO 8601', parseInstantUs),
  to: value('--to <time>', 'arrivals before this instant', parseInstantUs),
  before: value(
    '--before <time>',
    'everything older; cannot be combined with --from and --to',
    parseInstantUs,
  ),
  dryRun: toggle('--dry-run', 'print what would be removed; change nothing'),
  hashKeyFile: text('--hash-key-file <file>', "key for the hashes (default: the capture's own)"),
  encryptionKeyFile: encryptionKeyOption('file with the key of an encrypted capture'),
};
type ForgetOptions = ResolvedOptions<typeof FORGET_OPTIONS>;

interface ForgetDeps {
  /** After an abort, no further segment is begun. */
  readonly signal: AbortSignal;
  /** Called before a segment is rewritten. */
  readonly onSegment?: (file: string) => void;
}

/**
 * Removes the exchanges of a session, a client or a time range from a capture. Null if aborted: exchanges that were
 * forgotten before stay forgotten.
 * @throws AppError OPTION_INVALID if the selection is unclear; otherwise as opening a capture does
 */
export async function forget(
  named: string,
  options: ForgetOptions,
  deps: ForgetDeps,
): Promise<ForgetDocument | null> {
  const directory = resolveCaptureDirectory(named, 'read');
  const encryptionKey = encryptionKeyOf(options);
  const hash = hashKeyOf(directory, options, encryptionKey);
  const steps = forgetExchanges(directory, {
    selection: selectionOf(options, hash),
    hashKeyFingerprint: hash?.fingerprint() ?? null,
    encryptionKey,
    dryRun: options.dryRun,
    clock: systemClock,
  });
  return carriedOut(steps, deps);
}

/** Runs the steps. Null if aborted: the current segment was completed first, so nothing half-written remains. */
export async function carriedOut(
  steps: Generator<string, ForgetDocument | null, undefined>,
  { signal, onSegment }: ForgetDeps,
): Promise<ForgetDocument | null> {
  for (let step = steps.next(); ; step = steps.next()) {
    if (step.done) return step.value;
    onSegment?.(step.value);
    // Lets signals arrive between segments.
    await nextTurn();
    if (!signal.aborted) continue;
    steps.return(null);
    return null;
  }
}

/** The key of the hashes of names; null if none is needed. It is never created here: a new key would match nothing. */
function hashKeyOf(
  directory: string,
  { sessionName: session, clientName: client, sessionHash, hashKeyFile }: ForgetOptions,
  encryption: EncryptionKey | null,
): KeyedHash | null {
  if ([session, client, sessionHash].filter((given) => given !== null).length > 1) {
    throw new AppError(
      'OPTION_INVALID',
      '--session-name, --session-hash and --client-name cannot be combined',
    );
  }
  if (session === null && client === null) return null;
  if ((session ?? client)?.trim() === '') {
    throw new AppError('OPTION_INVALID', 'the session or client to forget is empty');
  }
  return new KeyedHash(readHashKey(directory, hashKeyFile, encryption));
}

function selectionOf(flags: ForgetOptions, hash: KeyedHash | null): ForgetSelection {
  const { before, from, to } = flags;
  if (before !== null && (from !== null || to !== null)) {
    throw new AppError('OPTION_INVALID', '--before cannot be combined with --from or --to', {
      hint: 'Give --before for everything older, or --from and --to for a time range.',
    });
  }
  const selection = {
    identity: identityOf(flags, hash),
    fromUs: from,
    toUs: before ?? to,
  };
  if (selection.identity === null && selection.fromUs === null && selection.toUs === null) {
    throw new AppError('OPTION_INVALID', 'no session, client or time to forget is given', {
      hint: 'Give a session, a client or a time: --session-name, --session-hash, --client-name, --from and --to, --before.',
    });
  }
  if (selection.fromUs !== null && selection.toUs !== null && selection.fromUs >= selection.toUs) {
    throw new AppError('OPTION_INVALID', '--to is not after --from');
  }
  return selection;
}

function identityOf(
  { sessionName: session, clientName: client, sessionHash }: ForgetOptions,
  hash: KeyedHash | null,
): ForgetSelection['identity'] {
  if (sessionHash !== null) return { kind: 'session', hashes: [sessionHash] };
  const kind = session === null ? 'client' : 'session';
  const name = session ?? client;
  if (name === null || hash === null) return null;
  return { kind, hashes: identityTexts(name).map((each) => hash.ofIdentity(kind, each)) };
}

function parseSessionHash(given: string, what: string): Buffer {
  if (new RegExp(`^[0-9a-f]{${IDENTITY_HASH_BYTES * 2}}$`, 'i').test(given)) return Buffer.from(given, 'hex');
  throw refused(
    what,
    given,
    `is not a hash of ${IDENTITY_HASH_BYTES * 2} hexadecimal digits`,
    'The view exchanges of a segment lists the hashes (column session). --session-name takes the plain name.',
  );
}
