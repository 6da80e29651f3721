import { setImmediate as nextTurn } from 'node:timers/promises';
import { Command } from 'commander';
import { encryptionKeyOf, encryptionKeyOption } from '../app/open-capture.ts';
import { systemClock } from '../core/clock.ts';
import { AppError } from '../core/errors.ts';
import { IDENTITY_HASH_BYTES, KeyedHash } from '../core/keyed-hash.ts';
import { type ResolvedOptions, text, toggle, value } from '../core/options.ts';
import { formatBytes, parseInstantUs } from '../core/units.ts';
import { identityTexts } from '../redaction/identities.ts';
import { resolveCaptureDirectory } from '../storage/capture-directory.ts';
import type { EncryptionKey } from '../storage/encryption-key.ts';
import { type ForgetDocument, forgetExchanges, type RemainReason } from '../storage/forget.ts';
import type { ForgetSelection } from '../storage/forget-selection.ts';
import { readHashKey } from '../storage/hash-key.ts';
import { EXIT } from './exit.ts';
import { addOptions } from './flags.ts';
import { Interruption } from './interruption.ts';
import { optionsOf } from './options.ts';
import { terminal } from './terminal.ts';

const OPTIONS = {
  session: text('--session <text>', 'the session, as its requests named it'),
  client: text('--client <text>', 'the client, as its requests named it'),
  sessionHash: value(
    '--session-hash <hex>',
    `the session, as the capture names it (${IDENTITY_HASH_BYTES * 2} hexadecimal digits)`,
    parseSessionHash,
  ),
  from: value('--from <time>', 'arrivals from this instant on, ISO 8601', parseInstantUs),
  to: value('--to <time>', 'arrivals before this instant', parseInstantUs),
  before: value('--before <time>', 'the same as --to, and nothing else: everything older', parseInstantUs),
  dryRun: toggle('--dry-run', 'say what would go; change nothing'),
  hashKeyFile: text('--hash-key-file <file>', "key of the hashes (default: the capture's own)"),
  encryptionKeyFile: encryptionKeyOption('file with the key of an encrypted capture'),
  json: toggle('--json', 'print one JSON document'),
};
type ForgetOptions = ResolvedOptions<typeof OPTIONS>;

const REMAINS: Readonly<Record<RemainReason, string>> = {
  expiring: 'is just being taken away by retention; run this again to be sure that it is gone',
  open: 'is still being written; run this again when it is sealed',
  nobody_named:
    'was recorded without a key for that (record --session, --client), so that nobody can say whose they are',
  other_hash_key: 'was hashed under another key; run this again with --hash-key-file',
  damaged: 'is damaged and was left as it is; reprise verify says how',
  set_aside: 'was set aside as damaged and is not read; remove it if it may hold what is to go',
};

/** `reprise forget DIR`: removes what a session, a client or a stretch of time left in a capture. */
export function forgetCommand(): Command {
  const command = new Command('forget')
    .description('Remove what a session, a client or a stretch of time left in a capture; bytes and all.')
    .argument('<dir>', 'a capture')
    .action(async (named: string, _: object, command: Command) => {
      await forget(named, optionsOf(command, OPTIONS));
    });
  return addOptions(command, OPTIONS);
}

async function forget(named: string, flags: ForgetOptions): Promise<void> {
  const directory = resolveCaptureDirectory(named, 'read');
  const encryptionKey = encryptionKeyOf(flags);
  const hash = hashKeyOf(directory, flags, encryptionKey);
  const steps = forgetExchanges(directory, {
    selection: selectionOf(flags, hash),
    hashKeyFingerprint: hash?.fingerprint() ?? null,
    encryptionKey,
    dryRun: flags.dryRun,
    clock: systemClock,
  });
  const document = await carriedOut(steps);
  if (document === null) {
    terminal.note('Interrupted. What was forgotten until here stays forgotten; run this again for the rest.');
    return;
  }
  if (flags.json) terminal.json(document);
  else terminal.print(...linesOf(document));
  if (!document.dryRun && document.exchanges > 0) {
    terminal.note('Copies elsewhere (shipped segments, backups, snapshots) still hold it.');
  }
  if (!document.complete) process.exitCode = EXIT.inconclusive;
}

/**
 * Null when a signal came: no segment is begun any more, and the one at hand was ended, so that nothing half written
 * stays behind. The process then ends as the signal asks.
 */
export async function carriedOut(
  steps: Generator<string, ForgetDocument | null, undefined>,
): Promise<ForgetDocument | null> {
  const interruption = new Interruption();
  try {
    for (let step = steps.next(); ; step = steps.next()) {
      if (step.done) return step.value;
      terminal.progress(`writing ${step.value} anew`);
      // Signals are heard in between.
      await nextTurn();
      if (interruption.status === null) continue;
      process.exitCode = interruption.status;
      steps.return(null);
      return null;
    }
  } finally {
    interruption.end();
  }
}

/** The key that names are looked up under; null where none is needed. Never makes one: nothing would match it. */
function hashKeyOf(
  directory: string,
  { session, client, sessionHash, hashKeyFile }: ForgetOptions,
  encryption: EncryptionKey | null,
): KeyedHash | null {
  if ([session, client, sessionHash].filter((given) => given !== null).length > 1) {
    throw new AppError('OPTION_INVALID', '--session, --session-hash and --client are one at a time');
  }
  if (session === null && client === null) return null;
  if ((session ?? client)?.trim() === '') {
    throw new AppError('OPTION_INVALID', 'the name of who is to be forgotten is empty');
  }
  return new KeyedHash(readHashKey(directory, hashKeyFile, encryption));
}

function selectionOf(flags: ForgetOptions, hash: KeyedHash | null): ForgetSelection {
  const { before, from, to } = flags;
  if (before !== null && (from !== null || to !== null)) {
    throw new AppError('OPTION_INVALID', '--before stands alone, without --from and --to', {
      hint: 'Give --before for everything older, or --from and --to for a stretch.',
    });
  }
  const selection = {
    identity: identityOf(flags, hash),
    fromUs: from,
    toUs: before ?? to,
  };
  if (selection.identity === null && selection.fromUs === null && selection.toUs === null) {
    throw new AppError('OPTION_INVALID', 'nothing says what is to be forgotten', {
      hint: 'Name a session, a client or a time: --session, --session-hash, --client, --from and --to, --before.',
    });
  }
  if (selection.fromUs !== null && selection.toUs !== null && selection.fromUs >= selection.toUs) {
    throw new AppError('OPTION_INVALID', '--to is not after --from');
  }
  return selection;
}

function identityOf(
  { session, client, sessionHash }: ForgetOptions,
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
  throw new AppError(
    'OPTION_INVALID',
    `${what} ${JSON.stringify(given)} is no hash: it has ${IDENTITY_HASH_BYTES * 2} hexadecimal digits`,
    {
      hint: 'The view exchanges of a segment shows them (column session); --session takes the name itself.',
    },
  );
}

function linesOf({ dryRun, exchanges, bytes, segments, remaining }: ForgetDocument): string[] {
  const amount = `${exchanges} exchanges (${formatBytes(bytes)} of bodies)`;
  return [
    `${dryRun ? 'would be forgotten' : 'forgotten'}: ${amount} in ${segments.length} segments`,
    ...segments.map((segment) => `  ${segment.file}: ${segment.exchanges} exchanges`),
    ...remaining.map(
      ({ file, why, exchanges: left }) =>
        `  ${file}${left === null ? '' : ` (${left} exchanges)`} ${REMAINS[why]}`,
    ),
  ];
}
